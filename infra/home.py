"""Where this user's documents are kept, and which folders and files are this user's alone."""

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from infra.say import progress

OWN = {
    "bundles": "Bundles that were installed: of each its engine, its model and its plan.",
    "cache": "What is made again when it is missing: the probe's compiled reader, the fonts of plots.",
    "calibrations.json": "What `calibrate` took from machines you measured.",
    "capacity-blocks.jsonl": "What was sent to buy EC2 Capacity Blocks, and what came back.",
    "comparisons": "Comparisons that were given no folder; under a deployment's name, the way to its newest.",
    "corral.toml": "What need not be typed.",
    "engine": "vLLM's CPU build, other versions for upgrades, and what a bundle brought.",
    "gpus.toml": "GPUs that corral does not know.",
    "licence-llama4.json": "Who accepted Llama 4's licence here, when, where, and the SHA-256 of its text.",
    "operator.json": "Who this is to hosts over SSH: a random number.",
    "prices.json": "What AWS answered to `prices --refresh`.",
    "probes": "Probes that were given no folder; under a deployment's name, the way to its newest.",
    "ssh": "Sockets of connections to hosts, where no place in memory takes them.",
    "weights": "No deployment may be called so; nothing is kept there now.",
}
"""What corral keeps in a home beside a folder for each deployment -> what it is."""
OF_A_DEPLOYMENT = {
    "deployment.json": "What was asked for under this name. Its state is asked from the machine, never stored here.",
    "ledger.jsonl": "Every request to EC2 that makes or ends something, before it is sent, and its answer.",
    "gateway-audit.jsonl": "A line for each request that came through its gateway; `down` leaves it.",
    ".lock": "Held by who changes the deployment.",
}
"""What tells a deployment's folder from another -> what it is."""


def home() -> Path:
    """The folder that keeps documents: $CORRAL_HOME, else ~/.corral."""
    return Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral").absolute()


def make_folder(folder: Path) -> None:
    """Make a folder and those on the way; the home, and what is below it, for this user alone.

    Raises OSError, for a home that is somebody else's too.
    """
    ours = home()
    if folder == ours or ours in folder.parents:
        for place in (*reversed(folder.parents), folder):
            if not place.exists():
                make(place, 0o755 if place in ours.parents else 0o700)
            elif ours in (place, place.parent):
                keep_private(place, is_home=place == ours)
    make(folder, 0o777)


def make(folder: Path, mode: int) -> None:
    """Make a folder. Raises PermissionError, as in somebody else's, where a file is in the way or none can be made."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:  # /proc says the first
        raise PermissionError(errno.EPERM, f"it takes no folder ({error.strerror})", str(folder)) from None


def keep_private(place: Path, is_home: bool) -> None:
    """Close to others what an older corral, or another umask, has left open. Raises OSError for another's home.

    A home that somebody shares with other things, /tmp say, is left as it is, and told of.
    """
    if is_home:
        check_owner(place)
    status = place.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o077 or status.st_uid != os.geteuid():
        return
    if is_home and stays_open(place):
        tell_once(
            f"warning: {place} is open to others (mode {mode:o}) and holds more than corral's own, so it is left so. "
            "Set CORRAL_HOME to a folder for corral alone."
        )
        return
    with suppress(OSError):  # a disk without modes
        place.chmod(0o700)
        if is_home and not place.stat().st_mode & 0o077:
            progress(f"{place} was open to others (mode {mode:o}); it is closed to them now.")


def check_owner(place: Path) -> None:
    """Raise an OSError for a home of somebody but this user and root, who could have others' documents believed."""
    owner = place.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"{place} belongs to {user(owner)}", str(place))


def stays_open(place: Path) -> bool:
    """Whether a home that others can enter is no folder for corral to close. Raises OSError."""
    mode = place.stat().st_mode
    return bool(mode & 0o077) and (bool(mode & stat.S_ISVTX) or not is_homes_alone(place))


def is_homes_alone(place: Path) -> bool:
    """Whether a folder holds nothing but what corral keeps in a home."""
    return place != Path.home() and all(
        entry.name in OWN or (entry.is_dir() and is_a_deployments(entry)) for entry in place.iterdir()
    )


def is_a_deployments(folder: Path) -> bool:
    """Whether a folder is a deployment's, or of one that was about to be or is gone."""
    names = {entry.name for entry in folder.iterdir()}
    return not names or not names.isdisjoint(OF_A_DEPLOYMENT)


@cache
def tell_once(text: str) -> None:
    """Say it, and not again."""
    progress(text)


def is_private(folder: Path) -> bool:
    """Whether a folder, made where there is none, is this user's and nobody else's, and no link. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def others_can_change(path: Path, top: Path) -> str:
    """Why somebody but this user and root can have written what is at a path, or can yet; "" when nobody can.

    Asked of the path, of what it leads to, and of the folders from there up to `top`. Raises OSError.
    """
    real, end = path.resolve(strict=True), top.resolve()
    way = [place for place in (real, *real.parents) if place == end or end in place.parents]
    for place in (path, *(way or (real, real.parent))):
        status = place.lstat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to {user(status.st_uid)}"
        if not stat.S_ISLNK(status.st_mode) and is_open_to_others(place, status):
            return f"{place} may be written by others"
    return ""


def is_open_to_others(place: Path, status: os.stat_result) -> bool:
    """Whether its mode lets others write it; in a folder such as /tmp each can only write what is theirs."""
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWGRP and not is_group_alone(place, status.st_gid):
        return True
    return bool(status.st_mode & stat.S_IWOTH)


def is_group_alone(place: Path, gid: int) -> bool:
    """Whether nobody else is in a group: many systems give each user one, and a umask of 002."""
    with suppress(OSError, AttributeError):  # a disk that has none, a Mac
        if "system.posix_acl_access" in os.listxattr(place):  # then the mode's bits are no group's
            return False
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    members |= {one.pw_name for one in pwd.getpwall() if one.pw_gid == gid}
    return members <= {user(0), user(os.geteuid())}


def user(uid: int) -> str:
    """A user's name; the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
