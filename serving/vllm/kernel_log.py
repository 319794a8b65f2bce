"""PURE: what the kernel says of a server's end: a process that it killed for want of memory, a GPU that failed."""

import re
from collections.abc import Collection, Iterable, Iterator

from infra.onhost import xid
from infra.record import Record
from infra.xids import ACTIONS, Action, broken_xids, xids

# As the journal's `cat`, dmesg and syslog print them.
PRINTED = re.compile(
    r"\s*(?:\[[^\]]{1,40}\] ?|\w{3} +\d+ [\d:]{8} \S{1,64} )?(?:kernel: )?(?:\[ *\d+\.\d+\] ?)?"
    r"(?=NVRM: |Out of memory: |Memory cgroup out of memory: |oom-kill:)"
)
KILLED = re.compile(r"(?:Out of memory|(Memory cgroup) out of memory): Kill(?:ed)? process (\d+) \(([^)]*)\)")
VICTIM = re.compile(r"oom-kill:.*task_memcg=([^,]*),task=([^,]*),pid=(\d+)")
OURS = re.compile(r"/corral-[a-z0-9-]+\.service|/app-corral-|^vllm$|^VLLM::", re.IGNORECASE)


class Fault(Record):
    """An Xid of the kernel's log."""

    number: int
    bus: str
    """The GPU's PCI address; "" where it is not said."""
    what: str
    """NVIDIA's description."""
    action: Action


class Victim(Record):
    """A process that the kernel killed for want of memory."""

    pid: int
    command: str
    is_ours: bool
    """Whether it was of a vLLM server, by its name or the unit that it was in."""
    of_limit: bool
    """Whether a limit of its own group was reached, and not the machine's memory."""


def kernel_lines(text: Iterable[str]) -> Iterator[str]:
    """What is the kernel's in a text, without the time and the name before it."""
    for line in text:
        if found := PRINTED.match(line[:1024]):
            yield line[found.end() : 1024]


def worst_fault(lines: Iterable[str]) -> Fault | None:
    """The Xid that asks for most; None where none asks for anything."""
    return worst(each for each in map(fault, lines) if each and each.action != "ignore")


def barring_fault(lines: Iterable[str], buses: Collection[str] | None) -> Fault | None:
    """The worst that no start mends, of a GPU at one of these addresses (None: of any); None where there is none."""
    return worst(known(*each) for each in xid.barring(lines, broken_xids(), buses))


def worst(faults: Iterable[Fault]) -> Fault | None:
    """The one that asks for most."""
    return min(faults, key=lambda each: ACTIONS.index(each.action), default=None)


def fault(line: str) -> Fault | None:
    """The Xid that a line says; None for a line that is none."""
    said = xid.of_line(line)
    return known(*said) if said else None


def known(number: int, bus: str) -> Fault:
    """What NVIDIA's catalogue says of an Xid; of one that it does not have, support is to be asked."""
    what, action = xids().get(number, ("an Xid that NVIDIA's catalogue does not explain", "support"))
    return Fault.model_validate({"number": number, "bus": bus, "what": what, "action": action})


def victims(lines: Iterable[str], pids: frozenset[int]) -> tuple[Victim, ...]:
    """Who was killed for want of memory; `pids` are the server's own, as far as they are known."""
    groups: dict[int, str] = {}
    found = {}
    for line in lines:
        if group := VICTIM.match(line):
            groups[int(group[3])] = group[1]
        if killed := KILLED.match(line):
            pid, command = int(killed[2]), killed[3]
            ours = pid in pids or any(OURS.search(name) for name in (command, groups.get(pid, "")))
            found[pid] = Victim(pid=pid, command=command, is_ours=bool(ours), of_limit=killed[1] is not None)
    return tuple(found.values())
