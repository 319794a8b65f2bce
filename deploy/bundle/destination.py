"""Where a bundle is installed here, and what of this machine stands in its way: verify and install judge it alike."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.bundle.manifest import (
    ADAPTERS,
    CHAT_TEMPLATE,
    DRAFT,
    ENGINE,
    MODEL,
    Bundle,
    Stored,
    whole_files,
)
from deploy.bundle.media import require_space, require_writable
from deploy.targets.deployment import home
from infra.argument import pasted
from infra.errors import CorralError, HostError
from infra.home import check_owner, stays_open
from serving.vllm.engine import bundled, check_home


def current_of(bundle: Bundle) -> Path:
    """The link to the newest bundle of that name."""
    return home() / "bundles" / bundle.name


def place_of(bundle: Bundle, sha256: str) -> Path:
    """The folder this very bundle is installed into."""
    return current_of(bundle).with_name(f"{bundle.name}-{sha256[:12]}")


def half_of(place: Path) -> Path:
    """What that folder is called until it is whole."""
    return place.with_name(f".{place.name}.half")


def wanted(bundle: Bundle) -> list[tuple[str, tuple[Stored, ...]]]:
    """The files that are installed, and what each is made of: engine, model, draft, adapters and chat template."""
    folders = tuple(f"{folder}/" for folder in (MODEL, DRAFT, ADAPTERS))
    whole = whole_files(bundle.files).items()
    return [
        (name, parts) for name, parts in whole if name in (ENGINE, CHAT_TEMPLATE) or name.startswith(folders)
    ]


def size_bytes(bundle: Bundle) -> int:
    """The size of all that is installed."""
    return sum(part.size_bytes for _, parts in wanted(bundle) for part in parts)


def in_the_way(bundle: Bundle, sha256: str) -> Iterator[CorralError]:
    """Why the bundle cannot be installed here, whole as it may be; nothing is made to find out."""
    place = place_of(bundle, sha256)
    yield from told(lambda: check_names(place, current_of(bundle), bundled(home())))
    yield from told(lambda: check_writable(home()))
    if not os.path.exists(place):
        yield from told(lambda: check_room(place, bundle))
        yield from told(lambda: check_stays_ours(home()))


def told(check: Callable[[], None]) -> Iterator[CorralError]:
    """What a check refuses."""
    try:
        check()
    except CorralError as error:
        yield error
    except OSError as error:
        yield refused(error)


def check_names(place: Path, *links: Path) -> None:
    """Raise HostError where something else has the name of the installed folder, or of a link that leads to it."""
    other = [link for link in links if os.path.lexists(link) and not link.is_symlink()]
    if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
        other.append(place)
    if other:
        raise HostError(
            f"{other[0]} is there and was not made by corral.",
            f"Look at it: ls -ld {pasted(other[0])}",
        )


def check_writable(home: Path) -> None:
    """Raise an OSError where this user can make nothing in the home's folders, or where they will be made."""
    if os.path.exists(home):
        check_owner(home)
    for folder in (home / "bundles", home / "engine"):
        require_writable(folder)


def check_stays_ours(home: Path) -> None:
    """Raise HostError where others could change what is put there, and it is no home that is closed to them then."""
    if home.is_dir() and stays_open(home):
        check_home(home)


def check_room(place: Path, bundle: Bundle) -> None:
    """Raise HostError for a disk that cannot hold it; what an install that was killed left is taken away before."""
    left = (path.lstat().st_size for path in half_of(place).rglob("*"))
    require_space(place, size_bytes(bundle), sum(left))


def refused(error: OSError) -> HostError:
    """The disk does not let it be installed."""
    return HostError(
        f"The bundle cannot be installed: {error.filename or home()}: {error.strerror}.",
        "Check the free space and the owner of that place (df -h, ls -ld), and run it again.",
    )
