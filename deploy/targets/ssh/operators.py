"""Whose a deployment on an owned host is: several people may have root there, and all call theirs by the same name.

A host keeps who began one in /opt/corral/NAME/owners, a line each: an id of that home, USER@MACHINE for people, and
since when. It is ours where our id is there, or where the host's record is of the document that is kept here; one that
names nobody, as corral once made them, is ours where a document of it is kept here. It is told, and taken, under a lock
on the host. Who has root there can change all of that: it keeps people out of each other's way, and no intruder.
"""

import getpass
import os
import re
import secrets
import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from deploy.targets import deployment as deployments
from deploy.targets.deployment import Deployment
from infra.errors import DocumentError, HostError, UsageError
from infra.home import home, make_folder
from infra.record import Document, Record, refused
from infra.ssh import Host

BUSY_AFTER_S = 60

# NAME ID WHO CREATED KNOWN ORDER. It says whose that is: "other WHO SINCE", "ours", "free"; "busy" where the lock is
# held for too long. `look` changes nothing; `claim` makes ours what is free; `adopt` makes it ours too, whosever it is;
# after `end` goes on what follows the script, unless it is another's. The lock's file is root's alone: whoever could
# open it could hold it. What looks or ends goes on where the disk takes no such file.
SCRIPT = """\
set -u
name=$1 id=$2 who=$3 created=$4 known=$5 order=$6
root=/opt/corral/$name
if (umask 077 && : >>"/run/corral-$name.lock") 2>/dev/null; then
    exec 9<"/run/corral-$name.lock"
    flock -w 60 9 || { echo busy; exit 0; }
else
    case $order in claim | adopt) echo "no lock can be made there" >&2 ; exit 1 ;; esac
fi
is_named() { [ -n "$id" ] && grep -qs "^$id " "$root/owners"; }
is_ours() {
    is_named && return
    [ -n "$created" ] && grep -qsF "\\"created_at\\": \\"$created\\"" "$root/record.json" && return
    [ "$known" = yes ] && [ ! -s "$root/owners" ]
}
whose() {
    if [ -s "$root/owners" ]; then
        sed -n '1s/^[^ ]* //p' "$root/owners"
    else
        printf 'somebody %s\\n' "$(date -u -r "$root/record.json" +%Y-%m-%dT%H:%M:%SZ)"
    fi
}
if [ ! -s "$root/owners" ] && [ ! -e "$root/record.json" ]; then
    state=free
elif [ "$order" = adopt ] || is_ours; then
    state=ours
else
    state="other $(whose)"
fi
case $order:$state in
*:other* | look:*) echo "$state" ; exit 0 ;;
claim:* | adopt:ours)
    umask 022
    mkdir -p /opt/corral && chmod a+rx /opt/corral && mkdir -p "$root" && chmod a+rx "$root" || exit
    line="$id $who $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    is_named || (umask 077 && echo "$line" >>"$root/owners") || exit
    echo ours
    exit 0
    ;;
adopt:*) echo "$state" ; exit 0 ;;
esac
set -- "$name"
"""

# The same of many names, six words each; it waits for nobody who is at work.
EACH = f"""\
script={shlex.quote(SCRIPT.replace("flock -w 60", "flock -n"))}
while [ $# -gt 0 ]; do
    sh -c "$script" sh "$1" "$2" "$3" "$4" "$5" "$6" </dev/null
    shift 6
done
"""
# A host may name any number.
MOST_NAMES = 100

Order = Literal["look", "claim", "adopt", "end"]
OTHER = re.compile(r"other ([A-Za-z0-9._@-]{1,200}) ([0-9TZ:-]{1,30})")


class Operator(Document):
    """Who this is to the owned hosts. The id is random, and says nothing of anybody."""

    kind: ClassVar[str] = "operator"
    document: Literal["operator"] = "operator"
    schema_version: Literal[1] = 1

    id: str = Field(pattern="^[0-9a-f]{32}$")
    """Random, made once for this home."""


class Owner(Record):
    """Another operator."""

    who: str
    """As the host's record names the other."""
    since: str
    """When that was written."""

    def __str__(self) -> str:
        return f"{self.who}'s, since {self.since}"


def operator() -> Operator:
    """Ours, made at the first call. Raises HostError where the disk takes none, DocumentError for a broken one."""
    path = home() / "operator.json"
    if not path.exists():
        keep_first(Operator(id=secrets.token_hex(16)), path)
    return Operator.read(path)


def keep_first(made: Operator, path: Path) -> None:
    """Keep it unless another corral kept one meanwhile. Raises HostError."""
    try:
        make_folder(path.parent)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".operator.") as file:
            file.write(made.text())
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise refused(path, error) from None


def known_id() -> str:
    """Our id where there is one that can be read; empty where there is none. What ends a thing does not wait for it."""
    try:
        return Operator.read(home() / "operator.json").id
    except DocumentError:
        return ""


def who() -> str:
    """USER@MACHINE, for people; only what a line of words can hold."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        user = str(os.getuid())
    return re.sub("[^A-Za-z0-9._@-]", "-", f"{user}@{socket.gethostname()}")[:100]


def command(kept: Deployment | None, name: str, host: Host, order: Order, id: str) -> tuple[str, ...]:
    """The shell that is fed the script. Of the document that is kept here counts whether it is of that host."""
    is_there = kept is not None and kept.target == "ssh" and host.destination in kept.hosts
    created = kept.model_dump(mode="json")["created_at"] if kept and is_there else ""
    return ("sh", "-s", "--", name, id, who(), created, "yes" if is_there else "no", order)


def kept_here(name: str) -> Deployment | None:
    """The document of a deployment of that name which is kept here and can be read."""
    try:
        return deployments.load(name)
    except DocumentError:
        return None


def owner(deployment: Deployment, host: Host) -> Owner | None:
    """The other operator whose the deployment is; None where it is ours, or nobody's, or the host cannot tell."""
    asked = command(kept_here(deployment.name), deployment.name, host, "look", known_id())
    return other_in(host.run(asked, stdin=SCRIPT.encode(), as_root=True, check=False).stdout, host)


def owners(names: Sequence[str], host: Host) -> dict[str, Owner | None]:
    """Whose each of these is: another operator's, or None for ours. What the host cannot tell is not in it."""
    asked = [name for name in names if deployments.NAME_PATTERN.fullmatch(name)][:MOST_NAMES]
    words = [word for name in asked for word in command(kept_here(name), name, host, "look", known_id())[3:]]
    done = host.run(("sh", "-s", "--", *words), stdin=EACH.encode(), as_root=True, check=False)
    told = zip(asked, done.stdout.splitlines(), strict=False)
    return {name: other_in(line, host) for name, line in told if line == "ours" or line.startswith("other ")}


def refuse_others(deployment: Deployment, host: Host) -> None:
    """Raise UsageError where it is another operator's."""
    if other := owner(deployment, host):
        raise anothers(deployment.name, host, other)


def claim(name: str, kept: Deployment | None, host: Host) -> None:
    """Make a name ours on the host; `kept` is the document of it that was here before this deployment's own.

    Raises UsageError where another's has been there, or came first.
    """
    take(name, kept, host, "claim")


def adopt(name: str, host: Host) -> None:
    """Make what is there under a name ours too: whosever it is, they share it from now on."""
    take(name, None, host, "adopt")


def take(name: str, kept: Deployment | None, host: Host, order: Order) -> None:
    """Have it noted there. Raises HostError where the host did not do it."""
    asked = command(kept, name, host, order, operator().id)
    said = host.run(asked, stdin=SCRIPT.encode(), as_root=True).stdout
    if other := other_in(said, host):
        raise anothers(name, host, other)
    if said.strip() != "ours":
        raise HostError(f"{host.destination} did not note whose {name} is.", "Run the command again.")


def other_in(said: str, host: Host) -> Owner | None:
    """The other operator that the script's first line names. Raises HostError where somebody is at work there."""
    line = said.partition("\n")[0]
    if line == "busy":
        raise HostError(
            f"Another corral has been at work on {host.destination} for more than {BUSY_AFTER_S} s.",
            "Try again when it is done.",
        )
    told = OTHER.fullmatch(line)
    if told:
        return Owner(who=told[1], since=told[2])
    return Owner(who="somebody", since="a time it does not say") if line.startswith("other") else None


def anothers(name: str, host: Host, owner: Owner) -> UsageError:
    """What to say of what is another operator's, with the ways on."""
    path = deployments.folder(name) / "deployment.json"
    ours = f"forget yours, which is gone: rm {shlex.quote(str(path))}; " if path.exists() else ""
    return UsageError(
        f"{name} on {host.destination} is another operator's: {owner}.",
        f"Choose another --name; or, to share theirs with them: {ours}corral hosts adopt {host.destination} {name}",
    )
