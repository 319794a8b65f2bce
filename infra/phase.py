"""PURE: how far a box is with its own preparation, from the words that bin/phase says on it (onhost/phase.sh)."""

import re
from typing import Literal

from infra.record import Record

PhaseState = Literal["booting", "preparing", "prepared", "failed", "interrupted"]


class Phase(Record):
    """The last phase a box told: what it means, and the words themselves."""

    state: PhaseState = "booting"
    """`failed` where it gave up, `interrupted` where EC2 takes it back."""
    words: str = ""

    @property
    def is_prepared(self) -> bool:
        """Whether engine and weights are there, though its server may since have failed to start, or been ended."""
        return self.state == "prepared" or self.words.startswith(("failed: start: ", "failed: lock: "))


def phase_of(words: str) -> Phase:
    """What the scripts' words mean: the first of them decides, as `failed: installing the engine, line 104`."""
    if not words:
        return Phase()
    first = next(iter(words.replace(":", " ").split()), "")
    states: dict[str, PhaseState] = {word: word for word in ("prepared", "failed", "interrupted")}
    return Phase(state=states.get(first, "preparing"), words=words)


def last_phase(console: str, name: str) -> Phase:
    """The last phase of a deployment that a console tells; `booting` before the first."""
    said = re.findall(rf"^.*?corral: {re.escape(name)}: (\S.*)$", console, re.MULTILINE)
    return phase_of(said[-1].rstrip() if said else "")
