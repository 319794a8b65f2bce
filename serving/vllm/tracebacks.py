"""PURE: the exceptions of a server's log: each with the frames of its traceback and those that it was raised from."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from serving.vllm.log_lines import COMPLAINTS, Line

HEAD = "Traceback (most recent call last):"
CAUSED = "The above exception was the direct cause of the following exception:"
HANDLING = "During handling of the above exception, another exception occurred:"
# At the end of a traceback any name is an exception's; alone only one that says so.
NAME = re.compile(r"((?:[^\W\d]\w*\.)*)([^\W\d]\w*(?:\(\w+\))?)(?:: ?(.*))?")
ALONE = re.compile(r"(?:[^\W\d]\w*\.)*\w*(?:Error|Exception|Interrupt)(?:_\w+)?(?:: .+)?")
MOST_LINES = 40
"""Of one message: what follows are other things that were printed."""

# What stands for an exception that was told before, or only follows from one.
WRAPPERS = re.compile(
    r"Engine core initialization failed|EngineCore encountered an issue|Executor failed|"
    r"WorkerProc initialization failed|Engine process failed to start|Engine loop (?:has died|is not running)|"
    r"Background loop has errored|Process \S+ \(PID: \d+\) died|Engine core process \S+ died|cancelled$"
)
WRAPPER_TYPES = {
    "EngineDeadError", "KeyboardInterrupt", "SystemExit", "CancelledError", "GeneratorExit", "EngineGenerateError",
    "ActorDiedError",
}  # fmt: skip
# What the other processes see of one that died.
AFTERMATH_TYPES = {"BrokenPipeError", "ConnectionResetError", "EOFError", "ConnectionRefusedError"}
# vLLM's words around the message of a worker.
CARRIED = re.compile(
    r"(?:Worker failed with error|Call to \w+ method failed:|Failed to run autotuning code block:|"
    r"backend=\S+ raised:)\s*"
    r"['\"]?(.+?)(?:['\"]?, please check the stack trace above.*)?",
    re.DOTALL,
)
VALIDATION = re.compile(
    r"\d+ validation errors? for \w+\n\s*(?:[\w.]+\n\s+)?(?:(?:Value error|Assertion failed), )?"
)

# What a request brings up is answered, and kills nothing; but for what the server does while it starts.
OF_A_REQUEST = re.compile(
    r"/(?:starlette|fastapi)/|/uvicorn/protocols/|/entrypoints/\S*serving\w*\.py\", line \d+, in (?!__init__)"
)
STARTING = re.compile(r"\", line \d+, in lifespan")
# What a destructor raises, and Python's own clearing up.
IGNORED = re.compile("Exception ignored in")
AT_THE_END = "multiprocessing/resource_tracker.py"
# vLLM says each ten seconds how many tokens it makes. That a request was answered with 200 shows nothing: a stream
# begins so before its first token.
LIVES = re.compile(
    r"(?:Engine \d+: )?Avg prompt throughput: \S+ tokens/s, Avg generation throughput: (?!0\.0 )"
)
LIVED_ON_S = 20
"""Of a server that still works so long after an exception, it is not the end."""


@dataclass
class Raised:
    """One exception: `kind` without its module, and all that it says."""

    kind: str
    said: str
    time_s: int | None = None
    frames: list[str] = field(default_factory=list)
    earlier: "Raised | None" = None
    """The one that it was raised from, or while that was handled."""
    is_explicit: bool = False
    """Whether it was raised from the earlier one, which is then the cause."""
    has_traceback: bool = True
    was_survived: bool = False
    """Whether the server worked well after it."""

    @property
    def text(self) -> str:
        """As Python prints it, but for the module; the words of a wrapper around it are left out."""
        message = VALIDATION.sub("", self.said, count=1)
        if self.kind == "KeyError":  # which quotes its message
            message = message.strip("'\"")
        if self.kind.startswith("RayTaskError"):
            return next((each for each in reversed(message.split("\n")) if ALONE.fullmatch(each)), self.kind)
        if found := CARRIED.fullmatch(message):
            message = found[1]
        return f"{self.kind}: {message}" if message else self.kind

    @property
    def is_wrapper(self) -> bool:
        """Whether it says nothing of its own."""
        return self.kind in WRAPPER_TYPES or WRAPPERS.match(self.said) is not None

    @property
    def kills(self) -> bool:
        """Whether it may end the server: it is no request's, and not Python's at the end."""
        frames = "\n".join(self.frames)
        if AT_THE_END in frames:
            return False
        return not OF_A_REQUEST.search(frames) or STARTING.search(frames) is not None

    def chain(self) -> list["Raised"]:
        """Itself and those before it, the root first."""
        found: list[Raised] = []
        each: Raised | None = self
        while each is not None:
            found.append(each)
            each = each.earlier
        return found[::-1]


@dataclass
class Reader:
    """What one process is saying: the traceback that is not at its end, or the message that may go on."""

    open: list[str] | None = None
    last: Raised | None = None
    since: int = 0
    link: str = ""
    place: str = ""
    is_ignored: bool = False
    """Python prints what a destructor raises, and goes on."""

    def read(self, line: Line, now_s: int | None) -> Raised | None:
        """The exception that this line is, if it is one."""
        text = line.text
        if line.level not in COMPLAINTS:
            self.since = MOST_LINES
            return None
        if text.startswith(HEAD):
            self.open, self.place = [], line.place
            return None
        if self.open is not None:
            return self.in_frames(line, now_s)
        if text in (CAUSED, HANDLING):
            self.link = text
            return None
        if IGNORED.match(text):
            self.is_ignored = True
        elif ALONE.fullmatch(text) and not (self.last and self.last.has_traceback and self.goes_on(line)):
            self.place = line.place
            return self.raised(text, [], now_s, has_traceback=False)
        elif self.last and text.strip() and self.goes_on(line):
            self.last.said += f"\n{text}"
            self.since += 1
        elif line.place != self.place:
            self.last = None
        return None

    def in_frames(self, line: Line, now_s: int | None) -> Raised | None:
        """A frame, or the exception that ends them."""
        assert self.open is not None
        if not line.text or line.text[0].isspace():
            self.open.append(line.text)
            return None
        frames, self.open = self.open, None
        return self.raised(line.text, frames, now_s) if NAME.fullmatch(line.text) else None

    def goes_on(self, line: Line) -> bool:
        """Whether a line belongs to the message before it: of the same logger's, or a few of none."""
        return self.last is not None and line.place == self.place and self.since < MOST_LINES

    def raised(
        self, text: str, frames: list[str], now_s: int | None, has_traceback: bool = True
    ) -> Raised | None:
        """The exception, which the next one may be raised from."""
        found = NAME.fullmatch(text)
        if not found:
            return None
        earlier = self.last if self.link else None
        exception = Raised(
            kind=found[2],
            said=found[3] or "",
            time_s=now_s,
            frames=frames,
            earlier=earlier,
            is_explicit=self.link == CAUSED,
            has_traceback=has_traceback,
        )
        self.last, self.link, self.since = exception, "", 0
        ignored, self.is_ignored = self.is_ignored, False
        return None if ignored else exception


def exceptions(lines: Iterable[Line]) -> list[Raised]:
    """What may have ended the server, in order; what it lived on after is left out, and so is what a request raised.

    One that was raised from another stands for both. Without any traceback, lines that look like an exception count.
    """
    found = told(lines)
    later = {id(each.earlier) for each in found}
    ends = [each for each in found if id(each) not in later and each.kills and not each.was_survived]
    if any(each.has_traceback and not each.is_wrapper for each in ends):
        ends = [each for each in ends if each.has_traceback]
    return ends


def told(lines: Iterable[Line]) -> list[Raised]:
    """Every exception."""
    readers: dict[str, Reader] = {}
    found: list[Raised] = []
    now_s = None
    for line in lines:
        now_s = line.time_s if line.time_s is not None else now_s
        if line.level == "INFO" and LIVES.match(line.text):
            survive(found, now_s)
        exception = readers.setdefault(line.process, Reader()).read(line, now_s)
        if exception:
            found.append(exception)
    return found


def survive(found: Iterable[Raised], now_s: int | None) -> None:
    """Mark what was raised well before the server was seen at work."""
    for each in found:
        if now_s is not None and each.time_s is not None and now_s - each.time_s >= LIVED_ON_S:
            each.was_survived = True


def by_age(found: Iterable[Raised]) -> Iterator[Raised]:
    """Each exception and those it was raised from, as they came: the root of each first."""
    for each in found:
        yield from each.chain()
