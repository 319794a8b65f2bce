"""Tokens by key and month, from the audit of a gateway."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.gateway import haproxy, key_store, keys
from deploy.gateway.haproxy_config import SPENT
from infra import bounded_json
from infra.errors import HostError
from infra.record import Record, write_text_atomically


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

    @property
    def tokens(self) -> int:
        """What counts against a budget."""
        return self.input_tokens + self.output_tokens + self.estimated_output_tokens


class Usage(Record):
    """What `corral keys usage` prints."""

    usage: tuple[KeyUsage, ...]
    """A row a key and month."""


def lines(audit: Path) -> Iterator[dict[str, object]]:
    """The lines of an audit; what is cut off or none of them is passed over. Raises HostError."""
    try:
        with audit.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    said = bounded_json.load(line.encode())
                except ValueError:
                    continue
                if isinstance(said, dict) and isinstance(said.get("time"), str):
                    yield said
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(
            f"{audit} cannot be read: {error.strerror or error}.", "Look at its owner: ls -l"
        ) from None


def reckoned(said: Iterable[dict[str, object]], persons: dict[str, str]) -> tuple[KeyUsage, ...]:
    """PURE: requests and tokens by month and key, the newest month last. What came without a key is left out."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for line in said:
        key, month = str(line.get("key", "-")), str(line["time"])[:7]
        if key not in persons:
            continue
        of_key = sums.setdefault((month, key), dict.fromkeys(COUNTED, 0))
        output = number(line, "output_tokens")
        for name, value in (
            ("requests", 1),
            ("refused", int(line.get("server") == "<NOSRV>")),
            ("input_tokens", number(line, "input_tokens")),
            ("output_tokens", output),
            ("estimated_output_tokens", 0 if output else number(line, "events")),
            ("bytes_in", number(line, "bytes_in")),
            ("bytes_out", number(line, "bytes_out")),
        ):
            of_key[name] += value
    return tuple(
        KeyUsage(month=month, key=key, person=persons[key], **sums[month, key]) for month, key in sorted(sums)
    )


COUNTED = (
    "requests",
    "refused",
    "input_tokens",
    "output_tokens",
    "estimated_output_tokens",
    "bytes_in",
    "bytes_out",
)


def number(line: dict[str, object], name: str) -> int:
    """A count of a line; 0 where it has none."""
    value = line.get(name)
    return value if isinstance(value, int) else 0


def usage(folder: Path, month: str | None) -> tuple[KeyUsage, ...]:
    """Each key's, of all months or of one ("2026-11")."""
    persons = {key.id: key.person for key in key_store.read(folder).keys}
    found = reckoned(lines(haproxy.audit(folder)), persons)
    return tuple(each for each in found if month in (None, each.month))


def write_spent(folder: Path) -> None:
    """What the budgets of this month start from."""
    month = keys.now_utc().strftime("%Y-%m")
    spent = "".join(f"{each.key} {each.month} {each.tokens}\n" for each in usage(folder, month))
    write_text_atomically(folder / SPENT, spent)


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
