"""PURE: the signal that ended a process of a server: its leader, or one that vLLM, systemd or a shell tells of."""

import re
import signal
from collections.abc import Iterable

from serving.vllm.log_lines import COMPLAINTS, Line

# A signal that says why, and the cause's name; those that a process of a server may get for many reasons.
TELLING: dict[int, str] = {
    signal.SIGKILL: "killed",
    signal.SIGBUS: "bus-error",
    signal.SIGILL: "illegal-instruction",
    signal.SIGSEGV: "segfault",
}
OTHERS: dict[int, str] = {
    signal.SIGABRT: "aborted",
    signal.SIGTERM: "asked-to-end",
    signal.SIGINT: "asked-to-end",
}

WORKER = re.compile(
    r"Worker proc \S+ died unexpectedly \(exit code: (-?\d{1,3})\)|Worker \S+ pid \d+ died, exit code: (-?\d{1,3})|"
    r"RuntimeError: Process \S+ \(PID: \d+\) died with exit code (-?\d{1,3})|"
    r"ChildProcessError: worker died \((-?\d{1,3})\)"
)
FAILED_PROCESSES = re.compile(r"RuntimeError: Engine core initialization failed\..*\{(.*)\}")
EXITED = re.compile(r"'[\w-]+': (-\d{1,3})")
SYSTEMD = re.compile(
    r"\S+\.service: Main process exited, code=(?:killed|dumped), status=(\d{1,2})/|"
    r"\S+\.service: Main process exited, code=exited, status=(\d{1,3})/"
)
# faulthandler's, Ray's, torch's and a shell's own words.
WORDS = re.compile(
    r"(?:\S+: line \d+: +\d+ |Fatal Python error: |!{3,} )?"
    r"(Bus error|Segmentation fault|Segfault|Illegal instruction|Killed|Aborted)"
    r"(?= +\(core dumped\)| encountered !|: |\s*$| {2,})"
)
RECEIVED = re.compile(r"(?:\[.{10,60}\] \w+\.cc:\d+: )?\*\*\* SIG([A-Z]{3,4}) received at time=")
NUMBERS = {
    "Bus error": signal.SIGBUS,
    "Segmentation fault": signal.SIGSEGV,
    "Segfault": signal.SIGSEGV,
    "Illegal instruction": signal.SIGILL,
    "Killed": signal.SIGKILL,
    "Aborted": signal.SIGABRT,
}


def signal_of(lines: Iterable[Line], exit_code: int | None) -> int | None:
    """The signal that ended a process of the server; None where none is known of.

    That of a worker comes first: its leader ends of that by itself.
    """
    found = [number for line in lines if (number := said(line)) is not None]
    telling = [number for number in found if number in TELLING]
    return next(iter([*telling, *of_exit(exit_code), *found]), None)


def of_exit(exit_code: int | None) -> list[int]:
    """The signal of an exit code: negative as Python tells it, from 128 on as a shell does."""
    if exit_code is None:
        return []
    number = -exit_code if exit_code < 0 else exit_code - 128
    return [number] if 0 < number < signal.NSIG else []


def said(line: Line) -> int | None:
    """The signal that a line tells of."""
    if line.level not in COMPLAINTS:
        return None
    if found := SYSTEMD.match(line.text):
        return int(found[1]) if found[1] else next(iter(of_exit(int(found[2]))), None)
    if found := WORKER.match(line.text):
        return next(iter(of_exit(int(next(filter(None, found.groups()))))), None)
    if found := FAILED_PROCESSES.match(line.text):
        return next((-int(code) for code in EXITED.findall(found[1])), None)
    if found := WORDS.match(line.text):
        return NUMBERS[found[1]]
    if found := RECEIVED.match(line.text):
        return getattr(signal, f"SIG{found[1]}", None)
    return None
