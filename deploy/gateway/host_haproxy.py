"""HAProxy as a unit of systemd on an owned host, a gateway or a listener: found, brought, tried, begun and changed."""

from collections.abc import Mapping

from deploy.gateway import haproxy, on_host
from deploy.gateway.admin_socket import WORKER
from deploy.gateway.haproxy_config import MASTER
from deploy.gateway.on_host import OnHost
from infra import host as hosts
from infra import host_gateway
from infra.argument import pasted
from infra.errors import HostError, ServerError
from infra.host import HostFile
from infra.onhost.gatekeeper import CHANGED
from infra.ssh import Host
from infra.wait import until

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}
STARTS_WITHIN_S = 30.0
PROGRAM = """\
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin
program=$(command -v haproxy) || exit
echo "$program" && exec "$program" -vv
"""
FOLDERS = """\
umask 077 && mkdir -p "$1/next" || exit
[ -z "$2" ] || { mkdir -p /var/log/corral && : >>"$2"; }
"""
START = """\
systemctl daemon-reload && systemctl reset-failed "$1" 2>/dev/null
systemctl enable "$1" && exec systemctl start "$1"
"""
CHANGE = """\
systemctl daemon-reload && systemctl enable "$1" && exec systemctl reload "$1"
"""


def asked_at(host: str) -> str:
    """PURE: where a server that listens there is asked from its own host."""
    return EVERYWHERE.get(host, host)


def found(host: Host) -> str:
    """HAProxy's path there. Raises HostError where it has none, or one that is too old or without Lua."""
    said = host.run(["sh", "-c", PROGRAM], check=False).stdout
    program, _, about = said.partition("\n")
    if not program.startswith("/"):
        raise HostError(
            f"HAProxy is not installed on {host.destination}.",
            "Debian, Ubuntu: sudo apt-get install haproxy; Fedora, RHEL 10: sudo dnf install haproxy",
        )
    return haproxy.suitable(program, about)


def bring(there: OnHost, host: Host, texts: Mapping[str, str]) -> None:
    """Put beside what is there what is to be there next, for root alone, over the input of one command."""
    here = hosts.root(there.title)
    audit = host_gateway.audit_file(there.name) if there.kind == "gateway" else ""
    host.run(["sh", "-c", FOLDERS, "folders", here, audit], as_root=True)
    secret = (HostFile(path=f"{here}/next/{name}", content=text, mode="0600") for name, text in texts.items())
    host.write((*host_gateway.scripts(there.title), *secret))


def try_out(there: OnHost, program: str, was: str) -> None:
    """Have HAProxy there read what was brought, and that replace what was there.

    Raises UsageError where HAProxy refuses it, or somebody has changed the list of keys, which `was`.
    """
    tried = on_host.told(there, "try", program, on_host.sum_of(was))
    if tried.code == CHANGED:
        raise on_host.changed(there)
    if tried.code:
        raise haproxy.not_taken(tried.stdout)


def begin(there: OnHost, host: Host) -> None:
    """Start its unit, now and at every boot. Raises ServerError with its own last words; nothing runs then."""
    unit = hosts.unit(there.title)
    done = host.run(["sh", "-c", START, "start", unit], as_root=True, check=False)
    if done.code or not is_there(there):
        said = last_words(there, host)
        on_host.stop(there, 0)
        raise ServerError(f"The {there.kind} on {there.host} did not start: {said}", journal(there))


def change(there: OnHost, host: Host) -> None:
    """Have it take the new files; the streams it has end with the old ones. Raises ServerError where it does not."""
    before = workers(there)
    unit = hosts.unit(there.title)
    done = host.run(["sh", "-c", CHANGE, "change", unit], as_root=True, check=False)

    def has_changed() -> bool:
        return next(iter(workers(there)), None) not in (None, *before) and on_host.is_running(there)

    if done.code or not until(has_changed, bool, haproxy.pace(STARTS_WITHIN_S)):
        raise ServerError(
            f"The {there.kind} on {there.host} did not take the change: {last_words(there, host)}",
            journal(there),
        )


def is_there(there: OnHost) -> bool:
    """Whether it answers, or begins to in time."""
    return until(lambda: on_host.is_running(there), bool, haproxy.pace(STARTS_WITHIN_S))


def workers(there: OnHost) -> tuple[str, ...]:
    """The processes that serve there, the newest first."""
    (answer,) = on_host.answers(there, [(MASTER, "show proc")])
    return tuple(WORKER.findall(answer or ""))


def last_words(there: OnHost, host: Host) -> str:
    """The last of its journal that is an alert, else its last line."""
    unit = hosts.unit(there.title)
    asked = ["journalctl", "--no-pager", "--lines=50", "--output=cat", f"--unit={unit}"]
    return haproxy.alert(host.run(asked, as_root=True, check=False).stdout)


def journal(there: OnHost) -> str:
    """Where to read more."""
    return f"Its log: ssh {pasted(there.host)} sudo journalctl -u {hosts.unit(there.title)}"
