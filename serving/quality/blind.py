"""Answers of two endpoints in pairs, for a person who does not know which is whose; and what their ratings come to."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from infra import day
from infra.columns import wrapped
from infra.errors import DocumentError
from infra.record import Document, Record
from serving.quality.bootstrap import Interval, of_share
from serving.quality.quality_report import Side
from serving.quality.quality_text import sides
from serving.quality.respondent import Respondent

Choice = Literal["left", "right", "same"]
KEY = "pairs.json"


class Pair(Record):
    """What both answered to a text, one left and one right."""

    text: str
    """What both were given."""
    left: str
    """The answer that stands left."""
    right: str
    """The answer that stands right."""
    left_is: Literal["a", "b"]
    """Whose stands left."""

    @property
    def is_alike(self) -> bool:
        """Whether there is nothing to rate."""
        return self.left.strip() == self.right.strip()


class Pairs(Document):
    """The key to a page: whoever rates must not read it."""

    kind: ClassVar[str] = "key to a page of pairs"
    document: Literal["quality-pairs"] = "quality-pairs"
    schema_version: Literal[1] = 1

    made_on: str
    """The day."""
    a: Side
    """The first endpoint."""
    b: Side
    """The second endpoint."""
    page: str
    """A digest of all pairs, which ratings repeat: so that those of another page are not taken for its own."""
    pairs: tuple[Pair, ...]
    """In the order of the page."""


class Ratings(Document):
    """What a person thought, as the page saves it: by the number of the pair, from 1."""

    kind: ClassVar[str] = "file of ratings"
    document: Literal["quality-ratings"] = "quality-ratings"
    schema_version: Literal[1] = 1

    page: str
    """Which page they are of, by its sum."""
    ratings: dict[int, Choice] = Field(max_length=10_000)
    """Number of the pair -> which answer was better, or neither."""


class WinRate(Document):
    """Which of two endpoints' answers a person preferred."""

    kind: ClassVar[str] = "win rate"
    document: Literal["quality-win-rate"] = "quality-win-rate"
    schema_version: Literal[1] = 1

    a: Side
    """The first endpoint."""
    b: Side
    """The second endpoint."""
    pairs: int
    """On the page."""
    a_won: int
    """Pairs in which A was better."""
    b_won: int
    """Pairs in which B was better."""
    same: int
    """Rated so; or with nothing to rate."""
    unrated: int
    """Pairs without a rating."""
    b_win_rate: Interval | None
    """Of the pairs that were decided; None where none was."""


def pairs_of(
    a: Respondent, b: Respondent, texts: Sequence[str], tokens: int, say: Callable[[str], None]
) -> Pairs:
    """Ask both. Raises EndpointError or AuthError."""
    answered = []
    for number, text in enumerate(texts, 1):
        answered.append((text, a.answer(text, tokens), b.answer(text, tokens)))
        say(f"text {number} of {len(texts)}")
    sides = (Side(url=each.target.base_url, model=each.model, vllm_version=each.version) for each in (a, b))
    return shuffled(answered, *sides)


def shuffled(answered: Sequence[tuple[str, str, str]], a: Side, b: Side) -> Pairs:
    """PURE: text, A's answer and B's as pairs; left and right by the answers themselves, so that nobody can know."""
    page = digest(answered)
    draw = random.Random(page)
    pairs = [
        Pair(text=text, left=of_a, right=of_b, left_is="a")
        if draw.random() < 0.5
        else Pair(text=text, left=of_b, right=of_a, left_is="b")
        for text, of_a, of_b in answered
    ]
    return Pairs(made_on=str(day.today()), a=a, b=b, page=page, pairs=tuple(pairs))


def digest(answered: Iterable[tuple[str, ...]]) -> str:
    """Of everything that was said."""
    whole = "\0".join(part for parts in answered for part in parts)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def rated(folder: Path, ratings: Path) -> WinRate:
    """What ratings of a folder's page come to. Raises DocumentError for those of another page, or of no pair of it."""
    key, said = Pairs.read(folder / KEY), Ratings.read(ratings)
    beyond = [number for number in said.ratings if not 1 <= number <= len(key.pairs)]
    if said.page != key.page or beyond:
        raise DocumentError(
            f"{ratings} rates another page than that of {folder}.",
            "Save the ratings from its own blind.html.",
        )
    return win_rate(key, said)


def win_rate(key: Pairs, said: Ratings) -> WinRate:
    """PURE: who won how often."""
    outcomes = Counter(
        "same" if pair.is_alike else winner(pair, said.ratings.get(number))
        for number, pair in enumerate(key.pairs, 1)
    )
    decided = outcomes["a"] + outcomes["b"]
    return WinRate(
        a=key.a,
        b=key.b,
        pairs=len(key.pairs),
        a_won=outcomes["a"],
        b_won=outcomes["b"],
        same=outcomes["same"],
        unrated=outcomes["unrated"],
        b_win_rate=of_share(outcomes["b"], decided) if decided else None,
    )


def winner(pair: Pair, choice: Choice | None) -> str:
    """a, b, same or unrated."""
    if choice is None or choice == "same":
        return choice or "unrated"
    return pair.left_is if choice == "left" else {"a": "b", "b": "a"}[pair.left_is]


def win_rate_text(found: WinRate) -> str:
    """What `corral quality rated` prints."""
    counts = f"{found.b_won} for B, {found.a_won} for A, {found.same} the same, {found.unrated} unrated"
    return "\n".join([wrapped(f"{verdict(found)}: {counts}", ""), sides(found.a, found.b)])


def verdict(found: WinRate) -> str:
    """Who is preferred, if that is shown."""
    rate, decided = found.b_win_rate, found.a_won + found.b_won
    if rate is None or rate.low is None or rate.high is None:
        return "NOTHING DECIDED"
    preferred = (
        "B PREFERRED" if rate.low > 0.5 else "A PREFERRED" if rate.high < 0.5 else "NO PREFERENCE SHOWN"
    )
    return f"{preferred}: B won {rate.mean:.0%} of {decided} decided pairs (95 %: {rate.low:.0%} to {rate.high:.0%})"
