"""Why a server died: known lines of vLLM's log, each with its cause and the next step. The table is diagnosis.toml."""

import re
from functools import cache

from infra.data import shipped_table
from infra.record import Record

# Engine failures end with a line that says nothing; their cause is the first exception with such a prefix.
PREFIX = re.compile(
    r"^\((?:APIServer|EngineCore|Worker|VllmWorker)[^)]*\) (?:ERROR|INFO|WARNING) \S+ \S+ \[[^]]+\] ?"
)
EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?:: .+)?$")
LONGEST_LINE = 4096
"""What is looked for stands in less; a pattern tried on a line of megabytes takes hours."""
USELESS = ("Engine core initialization failed", "EngineCore encountered an issue", "Executor failed")


class Cause(Record):
    """One known way to die."""

    name: str
    pattern: str
    cause: str
    next: str
    source: str
    only_without_exception: bool = False
    """Whether an exception that says something else explains the death better."""


class Diagnosis(Record):
    """What killed a server, and what to do about it."""

    name: str
    cause: str
    next: str


@cache
def causes() -> tuple[Cause, ...]:
    """The table, in the order it is searched."""
    rows = shipped_table("serving.vllm", "diagnosis.toml")["cause"]
    return tuple(Cause(**row) for row in rows)


def explain(log: str, exit_code: int | None = None) -> Diagnosis:
    """Explain a death from the log; `exit_code` is negative for a signal and None where it is not known.

    The exit code alone shows nothing: vLLM ends with 0 when its engine died.
    """
    log = "\n".join(line[:LONGEST_LINE] for line in log.split("\n"))
    raised = first_exception(log)
    for known in causes():
        match = re.search(known.pattern, log)
        if match and not (known.only_without_exception and raised):
            groups = [group or "?" for group in match.groups()]
            return Diagnosis(
                name=known.name, cause=known.cause.format(*groups), next=known.next.format(*groups)
            )
    return unknown(log, raised, exit_code)


def unknown(log: str, raised: str, exit_code: int | None) -> Diagnosis:
    """The diagnosis where no known line was found: the signal, or the first exception, or the last line."""
    if exit_code == -9:
        return Diagnosis(
            name="killed",
            cause="it was killed (SIGKILL)",
            next="Was it the kernel, for memory? dmesg | grep -i 'killed process'",
        )
    return Diagnosis(
        name="unknown",
        cause=f"its log says: {raised or last_line(log)}",
        next="Read the whole log: corral logs NAME",
    )


def first_exception(log: str) -> str:
    """The first exception that says something, without vLLM's prefix; "" when there is none."""
    for line in map(stripped, log.splitlines()):
        if EXCEPTION.match(line) and not any(useless in line for useless in USELESS):
            return line[:300]
    return ""


def last_line(log: str) -> str:
    """The last line that is not empty."""
    lines = [stripped(line) for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing at all"


def stripped(line: str) -> str:
    """A line without the process, level and place vLLM puts before it."""
    return PREFIX.sub("", line).strip()
