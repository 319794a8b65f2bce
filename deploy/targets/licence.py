"""Licences that must be accepted before weights come: accepted once, and kept with who, when and which text."""

import getpass
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from infra.data import shipped_table
from infra.errors import CorralError, DocumentError, UsageError
from infra.home import home
from infra.printable import sentence
from infra.record import Document, Line
from infra.say import is_somebody_there, notice, progress

UNNAMED = ("", "other", "unknown")
"""What the cards of the Hub say where they name no licence."""
LARGEST_TEXT_BYTES = 1 << 20


class Terms(NamedTuple):
    """A licence, as the table has it."""

    key: str
    """What it is accepted by: llama4."""
    title: str
    names: tuple[str, ...]
    called: str
    """A pattern for the names of weights under it, in small letters."""
    families: tuple[str, ...]
    text: str
    """What its file says."""
    url: str
    sha256: str
    not_for: tuple[str, ...]
    """Countries, by two letters."""
    regions: tuple[str, ...]
    """Of AWS, in those countries."""
    currencies: tuple[str, ...]
    """Of those countries, by three letters."""
    says: tuple[str, ...]


class Acceptance(Document):
    """That somebody accepted a licence here."""

    kind: ClassVar[str] = "acceptance of a licence"
    document: Literal["licence-acceptance"] = "licence-acceptance"
    schema_version: Literal[1] = 1

    licence: Line
    """By its key in corral's table: llama4."""
    sha256: Line
    """Of the text that was accepted."""
    country: Line
    """Of the principal place of business, or the domicile, by two letters."""
    other_rights: Line = ""
    """What gives the right where the licence itself does not; empty where it does."""
    accepted_by: Line
    """Who, on which machine."""
    accepted_at: datetime
    """When (UTC)."""


@cache
def known() -> dict[str, Terms]:
    """The licences that are asked for."""
    return {key: terms_of(key, row) for key, row in shipped_table("deploy.targets", "licences.toml").items()}


def terms_of(key: str, row: dict[str, Any]) -> Terms:
    """One table of licences.toml."""
    lists = ("names", "families", "not_for", "regions", "currencies", "says")
    values: dict[str, Any] = {
        name: tuple(row[name]) if name in lists else row[name] for name in Terms._fields if name != "key"
    }
    return Terms(key=key, **values)


def terms_for(name: str) -> Terms | None:
    """What has to be accepted of weights under a licence of that name; None for nothing."""
    said = name.strip().lower()
    return next(
        (terms for terms in known().values() if said in (other.lower() for other in terms.names)), None
    )


def name_for(said: str, called: Iterable[str], family: str) -> str:
    """PURE: the name of the licence of weights: as it is said, unless what they or their origins are called says more.

    Where nobody names one it is that of their family.
    """
    names = [said, *called]
    for terms in known().values():
        is_called_so = any(re.search(terms.called, name.lower()) for name in names)
        if is_called_so or (said.strip().lower() in UNNAMED and family in terms.families):
            return terms.names[0]
    return said


def left_out(called: Iterable[str], family: str, said: Mapping[str, str | None]) -> str:
    """PURE: that a licence may give its user nothing: an option says a place or a currency of those that it leaves out.

    `said`: what was said, by option; a currency with or without its rate. "" where nothing says so. It is no refusal:
    who rents there or counts in that currency may well be at home elsewhere.
    """
    terms = terms_for(name_for("", called, family))
    if terms is None:
        return ""
    telling = [
        f"{option} {value}".strip()
        for option, value in said.items()
        if value and (value.lower() in terms.regions or value.partition("=")[0].upper() in terms.currencies)
    ]
    if not telling:
        return ""
    return f"LICENCE ({', '.join(telling)}): the {terms.title}: {terms.says[0]} Read it first: {terms.url}"


def in_folder(folder: Path) -> str:
    """The name of a licence that is asked for, whose text lies with weights; "" where none does."""
    for path in sorted(folder.glob("LICEN[CS]E*")):
        if not path.is_file():
            continue
        with suppress(OSError), path.open("rb") as file:
            text = " ".join(file.read(LARGEST_TEXT_BYTES).decode(errors="replace").upper().split())
            for terms in known().values():
                if terms.text in text:
                    return terms.names[0]
    return ""


def refusal(terms: Terms, given: Acceptance | None) -> CorralError | None:
    """PURE: why weights under those terms are not fetched; None when they may be."""
    if given is None or given.sha256 != terms.sha256:
        return UsageError(
            f"Nobody has accepted the {terms.title} here, and nothing under it is fetched before.",
            f"Read it: {terms.url}; then, with the country of your principal place of business: "
            f"corral fetch --accept-license {terms.key} --country US",
        )
    if given.country in terms.not_for and not given.other_rights:
        return UsageError(
            f"The {terms.title} gives no rights in these models where the principal place of business is in the "
            f"European Union ({given.country}).",
            "With rights of your own, an agreement with their maker say, name them: corral fetch --accept-license "
            f"{terms.key} --country {given.country} --other-rights 'agreement of ...'",
        )
    return None


def require(name: str) -> None:
    """Raise UsageError for weights under a licence that was not accepted here; ask once where somebody can answer."""
    terms = terms_for(name)
    if terms is None:
        return
    given = kept(terms)
    if (given is None or given.sha256 != terms.sha256) and is_somebody_there():
        given = asked(terms)
    if error := refusal(terms, given):
        raise error


def kept(terms: Terms) -> Acceptance | None:
    """What was accepted earlier. What cannot be read accepts nothing."""
    with suppress(DocumentError):
        return Acceptance.read(place_of(terms))
    return None


def place_of(terms: Terms) -> Path:
    """Where that is kept."""
    return home() / f"licence-{terms.key}.json"


def accept(key: str, country: str, other_rights: str) -> Acceptance:
    """Accept a licence, for good. Raises UsageError where it gives no rights, HostError where it cannot be kept."""
    terms = known()[key]
    given = Acceptance(
        licence=key,
        sha256=terms.sha256,
        country=country.upper(),
        other_rights=sentence(other_rights),
        accepted_by=sentence(f"{person()} on {platform.node() or 'this machine'}"),
        accepted_at=datetime.now(UTC),
    )
    if error := refusal(terms, given):
        raise error
    given.write(place_of(terms))
    progress(f"accepted: {terms.title} (sha256 {terms.sha256}); kept in {place_of(terms)}")
    progress(terms.says[-1])
    return given


def person() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody without a name"


def asked(terms: Terms) -> Acceptance:
    """What somebody at the terminal says. Raises UsageError for a no."""
    notice(f"These weights are under the {terms.title}: {terms.url}")
    for line in terms.says:
        notice(f"  {line}")
    if answer("Do you accept it, as or for who will use them? [y/N] ").lower() not in ("y", "yes"):
        raise UsageError(f"The {terms.title} was not accepted; nothing was fetched.", f"Read it: {terms.url}")
    country = answer("The country of your principal place of business, by two letters: ")
    if len(country) != 2 or not country.isascii() or not country.isalpha():
        raise UsageError(
            f"{country!r} is no country of two letters; nothing was fetched.", "Such as US, GB or JP."
        )
    return accept(terms.key, country, "")


def answer(question: str) -> str:
    """A line of the terminal's."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
