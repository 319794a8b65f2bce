"""Install a bundle on the machine behind the gap: verified first, made beside, and there in one step or not at all."""

import hashlib
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
from deploy.bundle.installed import keep_sums, require_as_brought
from deploy.bundle.manifest import ADAPTERS, CHAT_TEMPLATE, DRAFT, ENGINE, MODEL, PLAN, Bundle, read
from deploy.bundle.media import Meter, blocks, joined
from deploy.bundle.signer import ANYBODY, signer
from deploy.bundle.verify import other_machine, other_manifest, verify
from deploy.targets import adapters
from deploy.targets.deployment import home
from infra.argument import pasted
from infra.beneath import Beneath
from infra.errors import DocumentError, HostError
from infra.fetch.checksums import Kept
from infra.home import make_folder
from infra.record import Record
from infra.signed import Signers
from serving.sizing.plan import Plan
from serving.vllm.engine import bundled, check_home, lock
from serving.vllm.unpack import unpack


class Moved(Record):
    """A short name that leads elsewhere now."""

    link: Path
    """The name."""
    led_to: Path
    """Where it led before."""


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
    was_there: bool = False
    """Whether it was installed already: then its weights were read again, and its engine was not."""
    moved: tuple[Moved, ...] = ()
    """The short names that led to another bundle's before."""


def install(
    folder: Path,
    manifest_sha256: str | None,
    progress: Callable[[str], None],
    signers: Signers = ANYBODY,
) -> Installed:
    """Put engine and model where serve and provision find them; weights that are there already are read again.

    Raises HostError for a bundle of another machine or a disk that is too small, DocumentError for one that is not
    whole, or not signed by who must have, or that is not what is installed any more; nothing is left or changed then.
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
            if was_there := place.exists():
                require_as_brought(folder, bundle, place, progress)
            else:
                check_room(place, bundle)
                check_home(home())
                require_whole(folder, sha256, progress)
                make(folder, bundle, place, sha256, progress)
            targets = {current: place, bundled(home()): place / "engine"}
            moved = tuple(point(link, target) for link, target in targets.items())
    except OSError as error:
        raise refused(error) from None
    return Installed(
        name=bundle.name,
        folder=place,
        plan=current / PLAN,
        engine=bundled(home()),
        signature=signed,
        was_there=was_there,
        moved=tuple(filter(None, moved)),
    )


def text(made: Installed) -> str:
    """For a person: where it is, what was read, where the short names led before, and the next lines."""
    lines = [f"{made.name} is in {made.folder}; the bundle: {made.signature}"]
    if made.was_there:
        lines.append(
            "it was there already: its weights were read again and are the bundle's, its engine was not read"
        )
    for each in made.moved:
        back = f"; back: ln -sfn {pasted(each.led_to)} {pasted(each.link)}" if each.led_to.exists() else ""
        lines.append(f"before, {each.link} led to {each.led_to}{back}")
    lines += [
        f"serve it here:   corral serve {pasted(made.plan)}",
        f"or on a host:    corral up {pasted(made.plan)} --target ssh --host gpu-1 --engine {pasted(made.engine)}",
    ]
    return "\n".join(lines)


def require_whole(folder: Path, sha256: str, progress: Callable[[str], None]) -> None:
    """Raise DocumentError with the first of what is wrong."""
    problems = verify(folder, sha256, progress).problems
    if problems:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DocumentError(
            f"The bundle is not as it was made: {problems[0]}{others}.",
            f"See all of it: corral bundle verify {pasted(folder)}",
        )


def make(folder: Path, bundle: Bundle, place: Path, sha256: str, progress: Callable[[str], None]) -> None:
    """Make the installed folder under another name, which becomes its own in one step; on failure it is removed."""
    half = half_of(place)
    take_away(half)  # of an install that was killed
    meter = Meter("installed", size_bytes(bundle), progress)
    try:
        make_folder(half)
        half.chmod(0o755)
        kept: dict[str, Kept] = {}
        with Beneath(half) as below:
            for name, parts in wanted(bundle):
                if name == ENGINE:
                    progress(f"bundle: unpacking vLLM {bundle.vllm_version}")
                    with joined(folder, parts, meter) as stream:
                        unpack(stream, half / "engine", bundle.python, progress)
                else:
                    kept[name] = copy(blocks(folder, parts, meter), below, name)
        keep_sums(half, kept, sha256)
        installed_plan(bundle, place).write(half / PLAN)
        half.rename(place)
    finally:
        take_away(half)


def take_away(half: Path) -> None:
    """Remove half of an install."""
    if half.is_symlink():
        half.unlink()
    shutil.rmtree(half, ignore_errors=True)


def copy(content: Iterator[bytes], below: Beneath, path: str) -> Kept:
    """Write one file, and have it on the disk; what was written."""
    digest = hashlib.sha256()
    with below.create(path) as file:
        for block in content:
            file.write(block)
            digest.update(block)
        file.flush()
        os.fsync(file.fileno())
        status, summed = os.fstat(file.fileno()), digest.hexdigest()
        return Kept(status.st_size, summed, summed, status.st_mtime_ns)


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


def point(link: Path, target: Path) -> Moved | None:
    """Make a link lead to another place, in one step; where it led before, if elsewhere."""
    before = Path(os.readlink(link)) if link.is_symlink() else target
    half = link.with_name(f".{link.name}.half")
    half.unlink(missing_ok=True)
    half.symlink_to(target)
    half.replace(link)
    return Moved(link=link, led_to=before) if before != target else None
