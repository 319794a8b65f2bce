"""Why a server died: from its log, how its process ended, and what the kernel said. The table is diagnosis.toml.

What counts is the exception that a traceback ends with, the root of those it was raised from, and the first process
that had one; never a line that only contains known words, which may be a prompt.
"""

import re
from collections.abc import Iterable
from functools import cache
from itertools import islice

from infra.data import shipped_table
from infra.record import Record
from infra.xids import BROKEN
from serving.vllm import endings, kernel_log, log_lines, tracebacks
from serving.vllm.kernel_log import Fault, Victim
from serving.vllm.log_lines import COMPLAINTS, Line
from serving.vllm.tracebacks import AFTERMATH_TYPES, Raised

# Types that stand before a message: `InductorError: RuntimeError: ...`.
BEFORE = r"(?:[\w.]+(?:\(\w+\))?: ){0,4}?"
MOST_EXCEPTIONS = 200
"""Different ones, the first of a log: an engine in trouble may raise the same for every request."""
# No frame of a traceback, nor what goes on under a line; but what a C++ exception says.
STATEMENT = re.compile(r"\S| +what\(\): ")
GPU_CAUSES = ("gpu-fault", "driver-error", "nccl", "no-device", "engine-hung")
"""What a failing GPU looks like to its program."""


class Cause(Record):
    """One known way to die. Its pattern must match from the beginning; {0}, {1} are groups of it."""

    name: str
    raised: str = ""
    """Pattern of an exception: its type without the module, and its message; the type may be left out."""
    within: str = ""
    """Pattern of a line of that exception's traceback."""
    line: str = ""
    """Pattern of a line that no exception is; of what no logger wrote, or a logger as an error."""
    is_warning: bool = False
    """Whether that line may be a warning."""
    is_last: bool = False
    """Whether what kills the server otherwise explains its death better."""
    only_without_exception: bool = False
    """Of what is last: whether any exception that says something explains it better, known or not."""
    is_first: bool = False
    """Whether it explains it better than anything else."""
    cause: str
    next: str
    elsewhere: str = ""
    """What is to be done in place of `next` where the server is on another machine."""
    look: str = ""
    """A command that shows more, on the machine where the server is."""
    source: str


class Diagnosis(Record):
    """What killed a server, and what to do about it. NAME stands for the deployment's."""

    name: str
    cause: str
    next: str


class Evidence(Record):
    """Something that was printed, which a cause may explain: an exception or a line."""

    text: str
    frames: tuple[str, ...] = ()
    is_raised: bool = True
    is_warning: bool = False


@cache
def causes() -> tuple[Cause, ...]:
    """The table, in the order it is searched."""
    rows = shipped_table("serving.vllm", "diagnosis.toml")["cause"]
    return tuple(Cause(**row) for row in rows)


def explain(log: str, exit_code: int | None = None, kernel: str | None = None, shell: str = "") -> Diagnosis:
    """Explain a death.

    `exit_code` is the leader's, negative or beyond 128 for a signal; None where it is not known. By itself it shows
    little: vLLM ends with 0 when its engine died. `kernel` is the kernel's own log while the server ran; None where it
    cannot be read. `shell` opens a shell on the server's machine; "" where that is this one.
    """
    lines = tuple(log_lines.lines(log))
    said = (*kernel_log.kernel_lines(each.text for each in lines if not each.level), *kernel_of(kernel))
    ends = tracebacks.exceptions(lines)
    fault = kernel_log.worst_fault(said)
    found = evidence(lines, ends)
    if first := known(found, [row for row in causes() if row.is_first]):
        return told(*first, shell)
    if fault and fault.action in BROKEN:
        return of_fault(fault, shell)
    if victim := ours(kernel_log.victims(said, pids(lines))):
        return of_victim(victim, shell)
    if certain := known(found, [row for row in causes() if not (row.is_last or row.is_first)]):
        return of_fault(fault, shell) if fault and certain[0].name in GPU_CAUSES else told(*certain, shell)
    signal = endings.signal_of(lines, exit_code)
    if signal in endings.TELLING:
        return of_signal(signal, kernel, shell)
    raised = telling(ends)
    rows = [row for row in causes() if row.is_last and not (raised and row.only_without_exception)]
    if likely := next((one for row in rows if (one := known(found, [row]))), None):
        return of_fault(fault, shell) if fault and likely[0].name in GPU_CAUSES else told(*likely, shell)
    if fault:
        return of_fault(fault, shell)
    return unknown(
        f"its log says: {raised}" if raised else last_words(lines), None if raised else signal, shell
    )


def kernel_of(kernel: str | None) -> Iterable[str]:
    """The lines of the kernel's own log that say something of an end."""
    return kernel_log.kernel_lines((kernel or "").splitlines())


def evidence(lines: Iterable[Line], ends: Iterable[Raised]) -> list[Evidence]:
    """Everything that may be a cause: the exceptions first, then the lines, each as they came."""
    raised = dict.fromkeys(
        Evidence(text=each.text[: log_lines.LONGEST_LINE], frames=tuple(each.frames))
        for each in tracebacks.by_age(ends)
        if not each.is_wrapper
    )
    printed = [
        Evidence(text=each.text, is_raised=False, is_warning=each.level == "WARNING")
        for each in lines
        if each.level in (*COMPLAINTS, "WARNING")
        and STATEMENT.match(each.text)
        and any_line().match(each.text)
    ]
    return [*islice(raised, MOST_EXCEPTIONS), *printed]


@cache
def any_line() -> re.Pattern[str]:
    """What some row explains: a log has many lines, and each row would be tried on each."""
    return re.compile("|".join(f"(?:{row.line})" for row in causes() if row.line))


def known(found: Iterable[Evidence], rows: list[Cause]) -> tuple[Cause, tuple[str, ...]] | None:
    """The first of what was found that a row explains, and the groups of its pattern."""
    for each in found:
        for row in rows:
            match = matching(row, each)
            if match:
                return row, tuple(group or "?" for group in match.groups())
    return None


def matching(row: Cause, found: Evidence) -> re.Match[str] | None:
    """How a row explains it, if it does."""
    if not found.is_raised:
        return (
            re.match(row.line, found.text) if row.line and (row.is_warning or not found.is_warning) else None
        )
    if not row.raised or (row.within and not any(re.search(row.within, frame) for frame in found.frames)):
        return None
    return re.match(BEFORE + f"(?:{row.raised})", found.text)


def told(row: Cause, groups: tuple[str, ...], shell: str) -> Diagnosis:
    """A row of the table with what was found put in."""
    cause = row.cause.format(*(one_line(group) for group in groups))
    step = (row.elsewhere if shell and row.elsewhere else row.next).format(*map(one_line, groups))
    return Diagnosis(name=row.name, cause=cause, next=looking(step, row.look, shell))


def one_line(text: str) -> str:
    """A piece of a message as a sentence has it."""
    return " ".join(text.split())[:300]


def looking(step: str, look: str, shell: str) -> str:
    """A next step with the command that shows more, and how to give it there."""
    if not look:
        return step
    return f"{step} See there ({shell}): {look}" if shell else f"{step} See: {look}"


def pids(lines: Iterable[Line]) -> frozenset[int]:
    """The processes of the server that its log names."""
    return frozenset(
        int(found[1]) for each in lines if (found := re.search(r"\bpid=(\d{1,9})\b", each.process))
    )


def ours(victims: tuple[Victim, ...]) -> Victim | None:
    """The last of the server's own processes that the kernel killed."""
    return next((each for each in reversed(victims) if each.is_ours), None)


def of_victim(victim: Victim, shell: str) -> Diagnosis:
    """The machine's memory, or what its group was given of it, was full."""
    name = "memory-limit" if victim.of_limit else "host-out-of-memory"
    return by_name(name, (victim.command, str(victim.pid)), shell)


def of_fault(fault: Fault, shell: str) -> Diagnosis:
    """A GPU failed, and the kernel says how."""
    return by_name(f"gpu-{fault.action}", (str(fault.number), fault.what, fault.bus or "?"), shell)


def of_signal(signal: int, kernel: str | None, shell: str) -> Diagnosis:
    """A process was ended by a signal; whose SIGKILL it was is known where the kernel's log was read."""
    name = endings.TELLING[signal]
    return by_name("killed-by-somebody" if name == "killed" and kernel is not None else name, (), shell)


def by_name(name: str, groups: tuple[str, ...], shell: str) -> Diagnosis:
    """A row that is found by no pattern."""
    return told(next(row for row in causes() if row.name == name), groups, shell)


def unknown(words: str, signal: int | None, shell: str) -> Diagnosis:
    """The diagnosis where nothing known was found: the signal, else what is said of the log."""
    if signal in endings.OTHERS:
        return by_name(endings.OTHERS[signal], (), shell)
    return Diagnosis(name="unknown", cause=words, next="Read the whole log: corral logs NAME")


def telling(ends: list[Raised]) -> str:
    """The exception that says most, as one line; "" where there is none.

    The first one, since others follow from it: the root where it was raised from another, else the last of those that
    were raised while one was handled.
    """
    own = [each for each in ends if not each.is_wrapper] or [
        each for end in ends for each in end.chain() if not each.is_wrapper
    ]
    own = [each for each in own if each.kind not in AFTERMATH_TYPES] or own
    if not own:
        return ""
    root = own[0]
    while root.is_explicit and root.earlier:
        root = root.earlier
    return root.text.split("\n")[0][:300]


def last_words(lines: tuple[Line, ...]) -> str:
    """What its log ends with; a line of everyday business is no reason, and told to be none."""
    last = next((each for each in reversed(lines) if each.text.strip()), Line("nothing at all"))
    is_reason = last.level in (*COMPLAINTS, "WARNING")
    said = last.text.strip()[:300]
    return f"its log says: {said}" if is_reason else f"its log gives no reason; its last line: {said}"
