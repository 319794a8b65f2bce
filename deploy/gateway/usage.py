"""Tokens by key and month, from the audit of a gateway."""

from pathlib import Path

from deploy.gateway import haproxy, key_store, keys, on_host
from deploy.gateway.haproxy_config import SPENT
from infra.errors import HostError
from infra.onhost import audit
from infra.onhost.audit import Sums
from infra.record import Record, write_text_atomically

SUMMED = "audit.sums"
"""What was summed up of the audit, in the gateway's folder."""


class KeyUsage(Record):
    """What came of one key in one month (UTC)."""

    month: str
    """YYYY-MM."""
    key: str
    """Its id; what came without one is left out."""
    person: str
    """Whose it is."""
    requests: int = 0
    """Answered or refused."""
    refused: int = 0
    """Of them, those that no engine answered: by a limit, or for want of a server."""
    input_tokens: int = 0
    """As the server's usage says; 0 where it does not."""
    output_tokens: int = 0
    """As the server's usage says; 0 where it does not."""
    estimated_output_tokens: int = 0
    """Of streams that did not tell their usage: an event is taken for a token."""
    bytes_in: int = 0
    """Of the requests."""
    bytes_out: int = 0
    """Of the answers."""


class Usage(Record):
    """What `corral keys usage` prints."""

    usage: tuple[KeyUsage, ...]
    """A row a key and month."""


def summed(folder: Path) -> Sums:
    """What the audit of that gateway comes to. Raises HostError where it cannot be read."""
    if there := on_host.of(folder):
        return on_host.used(there)
    file = haproxy.audit(folder)
    try:
        return audit.sums(file, folder / SUMMED)
    except OSError as error:
        raise HostError(
            f"{file} cannot be read: {error.strerror or error}.", "Look at its owner: ls -l"
        ) from None


def usage(folder: Path, month: str | None) -> tuple[KeyUsage, ...]:
    """Each key's, of all months or of one ("2026-11"), the newest last. What came without a key is left out."""
    persons = {key.id: key.person for key in key_store.read(folder).keys}
    return tuple(each for each in of_persons(summed(folder), persons) if month in (None, each.month))


def of_persons(found: Sums, persons: dict[str, str]) -> tuple[KeyUsage, ...]:
    """PURE: the same of all months; `persons` has each key's."""
    return tuple(
        KeyUsage(month=of, key=key, person=persons[key], **found[of][key])
        for of in sorted(found)
        for key in sorted(found[of])
        if key in persons
    )


def write_spent(folder: Path) -> None:
    """What the budgets of this month start from."""
    write_text_atomically(folder / SPENT, audit.spent(summed(folder), keys.now_utc().strftime("%Y-%m")))


def table(found: tuple[KeyUsage, ...]) -> str:
    """A line each."""
    if not found:
        return "Nothing has come through this gateway with a key."
    rows = [
        f"{each.month}  {each.key}: {each.input_tokens:,} tokens in, "
        f"{each.output_tokens + each.estimated_output_tokens:,} out"
        + (f" ({each.estimated_output_tokens:,} of them estimated)" if each.estimated_output_tokens else "")
        + f", {each.requests:,} requests"
        + (f" ({each.refused:,} refused)" if each.refused else "")
        for each in found
    ]
    return "\n".join(rows)
