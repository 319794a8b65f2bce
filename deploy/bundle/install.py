"""Install a bundle on the machine behind the gap: verified first, made beside, and there in one step or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.bundle.destination import (
    check_room,
    current_of,
    half_of,
    in_the_way,
    place_of,
    refused,
    size_bytes,
    wanted,
)
from deploy.bundle.manifest import ADAPTERS, CHAT_TEMPLATE, DRAFT, ENGINE, MODEL, PLAN, Bundle, read
from deploy.bundle.media import Meter, blocks, joined
from deploy.bundle.signer import ANYBODY, signer
from deploy.bundle.verify import other_machine, other_manifest, verify
from deploy.targets import adapters
from deploy.targets.deployment import home
from infra.argument import pasted
from infra.beneath import Beneath
from infra.errors import DocumentError, HostError
from infra.home import make_folder
from infra.record import Record
from infra.signed import Signers
from serving.sizing.plan import Plan
from serving.vllm.engine import bundled, check_home, lock
from serving.vllm.unpack import unpack


class Installed(Record):
    """Where the parts of a bundle are now."""

    name: str
    """The plan's, under which it was installed."""
    folder: Path
    """Where its engine, its model and its plan lie now."""
    plan: Path
    """For corral serve and corral provision."""
    engine: Path
    """Found by corral serve; corral provision --target ssh takes it as --engine."""
    signature: str
    """Of the bundle, as corral bundle verify says it."""


def install(
    folder: Path,
    manifest_sha256: str | None,
    progress: Callable[[str], None],
    signers: Signers = ANYBODY,
) -> Installed:
    """Put engine and model where serve and provision find them; returns at once when they are there.

    Raises HostError for a bundle of another machine or a disk that is too small, DocumentError for one that is not
    whole, or not signed by who must have; nothing is left then.
    """
    opened = read(folder)
    bundle, sha256, _ = opened
    for why in other_machine(bundle):
        raise HostError(f"This bundle cannot be installed here: {why}.", "Make one for this machine.")
    for why in other_manifest(sha256, manifest_sha256):
        raise DocumentError(f"This is not the bundle you were told of: {why}.", "Copy it again, and ask.")
    signed = signer(folder, opened, signers)
    current, place = current_of(bundle), place_of(bundle, sha256)
    for hindrance in in_the_way(bundle, sha256):
        raise hindrance
    try:
        with lock(home(), progress):
            if not place.exists():
                check_room(place, bundle)
                check_home(home())
                require_whole(folder, sha256, progress)
                make(folder, bundle, place, progress)
            point(current, place)
            point(bundled(home()), place / "engine")
    except OSError as error:
        raise refused(error) from None
    return Installed(
        name=bundle.name, folder=place, plan=current / PLAN, engine=bundled(home()), signature=signed
    )


def require_whole(folder: Path, sha256: str, progress: Callable[[str], None]) -> None:
    """Raise DocumentError with the first of what is wrong."""
    problems = verify(folder, sha256, progress).problems
    if problems:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DocumentError(
            f"The bundle is not as it was made: {problems[0]}{others}.",
            f"See all of it: corral bundle verify {pasted(folder)}",
        )


def make(folder: Path, bundle: Bundle, place: Path, progress: Callable[[str], None]) -> None:
    """Make the installed folder under another name, which becomes its own in one step; on failure it is removed."""
    half = half_of(place)
    take_away(half)  # of an install that was killed
    meter = Meter("installed", size_bytes(bundle), progress)
    try:
        make_folder(half)
        half.chmod(0o755)
        with Beneath(half) as below:
            for name, parts in wanted(bundle):
                if name == ENGINE:
                    progress(f"bundle: unpacking vLLM {bundle.vllm_version}")
                    with joined(folder, parts, meter) as stream:
                        unpack(stream, half / "engine", bundle.python, progress)
                else:
                    copy(blocks(folder, parts, meter), below, name)
        installed_plan(bundle, place).write(half / PLAN)
        half.rename(place)
    finally:
        take_away(half)


def take_away(half: Path) -> None:
    """Remove half of an install."""
    if half.is_symlink():
        half.unlink()
    shutil.rmtree(half, ignore_errors=True)


def copy(content: Iterator[bytes], below: Beneath, path: str) -> None:
    """Write one file, and have it on the disk."""
    with below.create(path) as file:
        for block in content:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def installed_plan(bundle: Bundle, place: Path) -> Plan:
    """The plan with the paths of this machine."""
    update: dict[str, object] = {"model": str(place / MODEL)}
    if bundle.plan.serve.chat_template:
        update["chat_template"] = str(place / CHAT_TEMPLATE)
    serve = bundle.plan.serve
    if serve.lora_modules:
        update["lora_modules"] = adapters.there(serve, str(place / ADAPTERS))
    there = serve.model_copy(update=update).with_draft(str(place / DRAFT))
    return bundle.plan.model_copy(update={"serve": there})


def point(link: Path, target: Path) -> None:
    """Make a link lead to another place, in one step."""
    half = link.with_name(f".{link.name}.half")
    half.unlink(missing_ok=True)
    half.symlink_to(target)
    half.replace(link)
