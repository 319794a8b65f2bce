"""What is often repeated about these costs and does not hold: the fact, its source, and the command that shows it."""

from datetime import date
from functools import cache
from typing import Literal

from infra.columns import wrapped
from infra.data import shipped_table
from infra.record import Record


class Claim(Record):
    """One of them."""

    says: str
    """The claim, as it is made."""
    who: str
    """Where it is repeated."""
    standing: Literal["wrong", "outdated", "misleading", "incomplete"]
    """What is the matter with it."""
    fact: str
    """What holds instead, with its figures."""
    source: str
    """Where the fact is from."""
    checked_on: date
    """When that was looked up."""
    commands: tuple[str, ...]
    """What to give to corral, one after the other in one folder; the last one shows the fact."""
    shows: tuple[str, ...]
    """What that prints, blanks made one."""


class Claims(Record):
    """All of them."""

    claims: tuple[Claim, ...]
    """Each by itself; their order has no meaning."""


@cache
def claims() -> Claims:
    """Parse claims.toml once."""
    return Claims(
        claims=tuple(
            Claim.model_validate(row) for row in shipped_table("deploy.costs", "claims.toml")["claim"]
        )
    )


def claims_text(all_of_them: Claims) -> str:
    """The claims for a person, one paragraph each."""
    return "\n\n".join(claim_text(each) for each in all_of_them.claims)


def claim_text(claim: Claim) -> str:
    """One claim: what is said, what holds, where it is from, how to see it."""
    commands = [f"    corral {command}" for command in claim.commands]
    return "\n".join(
        (
            wrapped(f'{claim.standing.upper()}: "{claim.says}" ({claim.who})', ""),
            wrapped(claim.fact),
            wrapped(f"[{claim.source}; checked {claim.checked_on}]"),
            *commands,
        )
    )
