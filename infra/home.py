"""Where this user's documents are kept, and which folders and files are this user's alone."""

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path


def home() -> Path:
    """The folder that keeps documents: $CORRAL_HOME, else ~/.corral."""
    return Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral").absolute()


def make_folder(folder: Path) -> None:
    """Make a folder and those on the way; the home, and what is below it, for this user alone. Raises OSError."""
    ours = home()
    if folder == ours or ours in folder.parents:
        for place in (*reversed(folder.parents), folder):
            if not place.exists():
                place.mkdir(mode=0o755 if place in ours.parents else 0o700, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


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
    with suppress(OSError):  # a disk that has none
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
