"""PURE: one class of a traffic and where it is served, as it is typed: law=30%,20k/800,at=claude,claude=opus-4.5.

What `corral capacity` says of a class, and beside it the Claude model that is good enough for it, what is asked again
there, and the team it is of.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from deploy.costs.claude_names import named
from deploy.costs.claude_prices import claude
from deploy.costs.request_mix import Mix, mean_tokens, mix_of_classes
from infra import quantity
from infra.asked import Flag
from infra.errors import UsageError
from infra.money import exact
from infra.record import Line
from serving.sizing.traffic_class import LONGEST_TYPED, TrafficClass, check_whole, class_typed, mean

Place = Literal["here", "claude"]
SERVED = re.compile(r"[\s,]+(at|claude|escalation|fallback|team)\s*=\s*([^\s,=]*)")
TEAM = re.compile(r"[\w.-]{1,40}")
EXAMPLE = (
    "Write it as --class chat=70%,2k/300,claude=claude-haiku-4-5,escalation=5%,team=care "
    "--class law=30%,20k/800,at=claude,claude=claude-opus-4-5,team=legal"
)


class ServedClass(TrafficClass):
    """Requests of one kind among others, where they are answered, and for whom."""

    at: Place = "here"
    claude: str | None = None
    """The model that is good enough for it, as --claude-model names one; None is the one that is compared with."""
    escalation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of what is answered here, the share that is asked again at Claude."""
    fallback: bool = False
    """Whether Claude answers where no server of ours does; else nothing of it leaves but what is asked again."""
    team: Line = ""
    """Whose requests they are; empty is nobody's in particular."""

    def __str__(self) -> str:
        """As it is typed."""
        said = {
            "at": "" if self.at == "here" else self.at,
            "claude": self.claude,
            "escalation": f"{100 * self.escalation:.10g}%" if self.escalation else "",
            "fallback": "yes" if self.fallback else "",
            "team": self.team,
        }
        return super().__str__() + "".join(f",{name}={value}" for name, value in said.items() if value)

    @property
    def reaches_claude(self) -> float:
        """The share of its requests that Claude is asked."""
        return 1.0 if self.at == "claude" else self.escalation


def served_typed(typed: Any) -> Any:
    """The class that a text says. Raises UsageError."""
    if isinstance(typed, TrafficClass) and not isinstance(typed, ServedClass):
        return ServedClass.model_validate(typed.model_dump())
    if not isinstance(typed, str):
        return typed
    text = typed.strip()
    said = SERVED.findall(text) if len(text) <= LONGEST_TYPED else []
    rest = SERVED.sub("", text) if said else text
    try:
        asked: TrafficClass = class_typed(rest)
    except UsageError as error:
        raise UsageError(error.message, EXAMPLE) from None
    if len(said) > len(dict(said)):
        raise UsageError(f"--class {asked.name} says one thing twice.", EXAMPLE)
    return checked(ServedClass(**asked.model_dump(), **served(asked.name, dict(said))))


def served(name: str, said: dict[str, str]) -> dict[str, Any]:
    """Each of the further words, read. Raises UsageError."""
    readers = {"at": place, "claude": model, "escalation": share, "fallback": yes, "team": team}
    return {word: readers[word](name, text) for word, text in said.items()}


def place(name: str, text: str) -> str:
    """Where a class is answered. Raises UsageError."""
    if text not in ("here", "claude"):
        raise UsageError(f"--class {name} cannot be at {text!r}.", "It is at=here or at=claude.")
    return text


def model(name: str, text: str) -> str:
    """The id of a Claude model, or the name of one at a platform. Raises UsageError."""
    if not text:
        raise UsageError(f"--class {name} names no Claude model.", EXAMPLE)
    said = named(text)
    known = claude(said.model, text)
    return text if said.platform else known.id


def share(name: str, text: str) -> float:
    """What is asked again. Raises UsageError."""
    try:
        value = float(quantity.read(text, "share", whole=False))
    except ValueError as error:
        raise UsageError(f"The escalation of --class {name}, {text!r}, {error}.", EXAMPLE) from None
    if not 0 <= value <= 1:
        raise UsageError(f"The escalation of --class {name}, {text}, is not between 0% and 100%.", EXAMPLE)
    return value


def yes(name: str, text: str) -> bool:
    """Whether Claude stands in. Raises UsageError."""
    if text not in ("yes", "no"):
        raise UsageError(
            f"The fallback of --class {name} cannot be {text!r}.", "It is fallback=yes or fallback=no."
        )
    return text == "yes"


def team(name: str, text: str) -> str:
    """A team's name. Raises UsageError."""
    if not TEAM.fullmatch(text):
        raise UsageError(
            f"The team of --class {name} cannot be {text!r}.",
            "A name has up to 40 letters, digits, dots, dashes and underscores: team=care",
        )
    return text


def checked(asked: ServedClass) -> ServedClass:
    """The class. Raises UsageError for one that is at Claude and asks for what is done here."""
    if asked.at == "claude" and (asked.escalation or asked.fallback):
        word = "escalation" if asked.escalation else "fallback"
        raise UsageError(
            f"--class {asked.name} is at Claude, so it has no {word}.", f"Leave out {word}, or at=claude."
        )
    return asked


def teams_of(classes: Sequence[ServedClass]) -> tuple[str, ...]:
    """The teams, in the order in which they are named, and the classes of none as one; nothing where none is named."""
    teams = tuple(dict.fromkeys(each.team for each in classes))
    return teams if any(teams) else ()


def staying(classes: Sequence[ServedClass]) -> tuple[ServedClass, ...]:
    """Those that are answered here, as a whole of their own."""
    here = [each for each in classes if each.at == "here"]
    whole = sum(each.share for each in here)
    return tuple(each.model_copy(update={"share": each.share / whole}) for each in here)


def asked_again(classes: Sequence[ServedClass]) -> Mix:
    """The requests that Claude is asked after an answer from here, by their share as those of all of the classes."""
    return tuple(
        kind._replace(weight=kind.weight * exact(each.escalation))
        for each in classes
        if each.escalation
        for kind in mix_of_classes((each,))
    )


def here_share(classes: Sequence[ServedClass]) -> Decimal:
    """The share of all tokens that are answered here; all without classes."""
    tokens = {each.name: class_tokens(each) for each in classes}
    here = sum((tokens[each.name] for each in classes if each.at == "here"), Decimal(0))
    return here / sum(tokens.values(), Decimal(0)) if classes else Decimal(1)


def class_tokens(asked: TrafficClass) -> Decimal:
    """Input and output tokens of a class for each request of all of them."""
    return exact(asked.share) * mean_tokens(mix_of_classes((asked,)))


def check_served(classes: Sequence[ServedClass]) -> None:
    """Raise UsageError unless the classes are a whole, and an answer from here is enough for something of them."""
    check_whole(classes)
    if classes and not staying(classes):
        raise UsageError(
            "All of the classes are at Claude, so no machine serves any.",
            f"Leave out at=claude of one, or price them alone: {claude_cost_of(classes[0])}",
        )
    if classes and all(each.escalation == 1 for each in staying(classes)):
        raise UsageError(
            "All that is answered here is asked again at Claude, so nothing is spared.",
            "Say how much of it really is: escalation=5%",
        )


def claude_cost_of(asked: ServedClass) -> str:
    """The command that prices an average request of a class at Claude."""
    lengths = f"--input-tokens {mean(asked.input_tokens)} --output-tokens {mean(asked.output_tokens)}"
    return f"corral claude-cost --model {asked.claude or 'claude-sonnet-5-5'} {lengths}"


ServedClasses = Annotated[
    tuple[Annotated[ServedClass, BeforeValidator(served_typed)], ...],
    Flag(
        "--class",
        metavar="<NAME=SHARE,IN/OUT[,at=here|claude][,claude=MODEL][,escalation=SHARE][,fallback=yes][,team=NAME]>",
    ),
]
