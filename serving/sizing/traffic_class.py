"""PURE: one class of a traffic, as it is typed: chat=70%,2k/300,ttft=2,tpot=50ms is its share, lengths and promises."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from infra import quantity
from infra.asked import Flag
from infra.errors import UsageError
from infra.record import Line, Record
from serving.probe.lengths import MOST_TOKENS, Lengths, parse
from serving.sizing.size_options import LONGEST

LEAST_SHARE = 0.005
"""Of fewer requests no percentile is told."""
MOST_PROMISED_S = 10**15
TYPED = re.compile(
    r"(?P<name>[\w.-]{1,40})\s*[=:]\s*(?P<share>[^\s,/]+)[\s,]+(?P<input>[^/]+)/(?P<output>.+?)"
    r"(?P<promises>(?:[\s,]+(?:ttft|tpot)\s*=\s*[^\s,=]+)*)"
)
PROMISED = re.compile(r"(ttft|tpot)\s*=\s*([^\s,=]+)")
LONGEST_TYPED = 500
"""Characters: the pattern above takes the square of their number."""
EXAMPLE = "Write it as --class chat=70%,2k/300 --class rag=30%,12k/500,ttft=5,tpot=60ms"


def countable(lengths: Lengths) -> Lengths:
    """The lengths, where they are some. Raises ValueError for what a document alone can say."""
    if lengths.low < 1 or lengths.high < 0 or lengths.largest > MOST_TOKENS:
        raise ValueError(f"lengths are 1 to {MOST_TOKENS:,} tokens")
    if lengths.form == "uniform" and lengths.high < lengths.low:
        raise ValueError("the smaller length comes first")
    return lengths


LONGEST_WAIT_S = {"ttft": 600.0, "tpot": 10.0}
"""Beyond it milliseconds are meant: a million tokens of prompt are answered in three minutes on old GPUs."""


def check_promised(which: str, seconds: float | None, said: str = "", flag: str = "--") -> None:
    """Raise UsageError for a promise of a time that nobody waits: milliseconds, typed as seconds, are asked about."""
    if seconds is None or seconds <= LONGEST_WAIT_S[which]:
        return
    is_milliseconds = seconds <= 1000 * LONGEST_WAIT_S[which]
    option = f"{flag}{which}{' ' if flag else '='}"
    raise UsageError(
        f"{said or f'{option}{seconds:g}'} is {seconds:,.0f} seconds, longer than anybody waits.",
        f"Did you mean {option}{seconds:g}ms?" if is_milliseconds else f"For example: {option}500ms",
    )


SomeLengths = Annotated[Lengths, AfterValidator(countable)]
Promised = Annotated[float, Field(gt=0, le=MOST_PROMISED_S)]


class TrafficClass(Record):
    """Requests of one kind among others."""

    name: Line
    """As it was named."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Of all requests."""
    input_tokens: SomeLengths
    """Lengths of prompts, in tokens."""
    output_tokens: SomeLengths
    """Lengths of answers, in tokens."""
    ttft_s: Promised | None = None
    """Promised to them; None is what is promised to all."""
    tpot_s: Promised | None = None
    """Between two tokens of an answer, at most; null for what is promised to all."""

    def __str__(self) -> str:
        """As it is typed."""
        promises = {"ttft": self.ttft_s, "tpot": self.tpot_s}
        said = "".join(f",{name}={value:.10g}" for name, value in promises.items() if value is not None)
        return f"{self.name}={100 * self.share:.10g}%,{self.input_tokens}/{self.output_tokens}{said}"

    @property
    def lengths(self) -> str:
        """What its requests are, in words; with their name and share where they have one."""
        words = f"{self.input_tokens} tokens in, {self.output_tokens} out"
        return f"{100 * self.share:.3g}% {self.name} ({words})" if self.name else words


def mean(lengths: Lengths) -> int:
    """The average length."""
    return round((lengths.low + lengths.high) / 2) if lengths.form == "uniform" else lengths.low


def class_typed(typed: Any) -> Any:
    """The class that a text says. Raises UsageError."""
    if not isinstance(typed, str):
        return typed
    parts = TYPED.fullmatch(typed.strip()) if len(typed) <= LONGEST_TYPED else None
    if not parts:
        raise UsageError(f"--class {typed} is not a name, a share and the lengths IN/OUT.", EXAMPLE)
    promises = PROMISED.findall(parts["promises"])
    if len(promises) > len(dict(promises)):
        raise UsageError(f"--class {parts['name']} has two promises of one kind.", EXAMPLE)
    return TrafficClass(
        name=parts["name"],
        share=share_typed(parts["name"], parts["share"]),
        input_tokens=length_typed(parts["name"], parts["input"]),
        output_tokens=length_typed(parts["name"], parts["output"]),
        **{f"{each}_s": promise_typed(parts["name"], each, text) for each, text in promises},
    )


def share_typed(name: str, text: str) -> float:
    """A share of all requests. Raises UsageError."""
    try:
        share = float(quantity.read(text, "share", whole=False))
    except ValueError as error:
        raise UsageError(f"The share of --class {name}, {text}, {error}.", EXAMPLE) from None
    if not LEAST_SHARE <= share <= 1:
        raise UsageError(f"The share of --class {name}, {text}, is not between 0.5% and 100%.", EXAMPLE)
    return share


def length_typed(name: str, text: str) -> Lengths:
    """Lengths as of --input-tokens. Raises UsageError."""
    try:
        lengths = parse(text.strip(), f"--class {name}:")
    except UsageError as error:
        raise UsageError(error.message, EXAMPLE) from None
    if lengths.largest > LONGEST:
        raise UsageError(f"--class {name}: {text} is beyond {LONGEST:,} tokens.", EXAMPLE)
    return lengths


def promise_typed(name: str, which: str, text: str) -> float:
    """A promise in seconds. Raises UsageError."""
    try:
        seconds = float(quantity.read(text, "s", whole=False))
    except ValueError as error:
        raise UsageError(f"The {which} of --class {name}, {text}, {error}.", EXAMPLE) from None
    if not 0 < seconds <= MOST_PROMISED_S:
        raise UsageError(f"The {which} of --class {name}, {text}, is not above 0.", EXAMPLE)
    check_promised(which, seconds, f"The {which} of --class {name}, {text},", flag="")
    return seconds


AskedClass = Annotated[TrafficClass, BeforeValidator(class_typed)]


AskedClasses = Annotated[
    tuple[AskedClass, ...], Flag("--class", metavar="<NAME=SHARE,IN/OUT[,ttft=S][,tpot=S]>")
]
MOST_CLASSES = 20
SHARES_OFF = 0.005
"""Three times 33.3% are meant as thirds."""


def check_whole(classes: Sequence[TrafficClass]) -> None:
    """Raise UsageError unless each class is named once, and all together are all requests."""
    names = [each.name for each in classes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--class names {twice} twice.", "Give each class a name of its own.")
    if len(names) > MOST_CLASSES:
        raise UsageError(f"There are {len(names)} classes, more than {MOST_CLASSES}.", "Put some together.")
    whole = sum(each.share for each in classes)
    if names and abs(whole - 1) > SHARES_OFF:
        raise UsageError(
            f"The shares of --class come to {whole:.4g}, not to 1.", "They are of all requests: 70% and 30%."
        )


def made_whole(classes: Sequence[TrafficClass]) -> tuple[TrafficClass, ...]:
    """The classes, their shares made to come to 1 where they were rounded."""
    whole = sum(each.share for each in classes)
    return tuple(each.model_copy(update={"share": each.share / whole}) for each in classes)


def class_means(classes: Sequence[TrafficClass]) -> tuple[Lengths, Lengths]:
    """The average prompt and answer."""
    prompt = round(sum(each.share * mean(each.input_tokens) for each in classes))
    answer = round(sum(each.share * mean(each.output_tokens) for each in classes))
    return Lengths(low=prompt), Lengths(low=answer)
