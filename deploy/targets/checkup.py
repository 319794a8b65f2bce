"""A look at what a line needs that stops at nothing: what would end the line is one check more, with its exit code."""

from collections.abc import Callable, Iterable, Iterator

from deploy.targets.place import Check, Checkup
from infra.errors import CorralError, HostError


def checkups(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Checkup]:
    """What a look finds; where it cannot be had, why, under that name."""
    try:
        for check in look():
            code = HostError.exit_code if check.outcome == "failed" else 0
            yield Checkup(**check.model_dump(), exit_code=code)
    except CorralError as error:
        yield failure(name, error)


def tried(name: str, look: Callable[[], str]) -> Checkup:
    """What a look finds that has one answer."""
    try:
        return Checkup(name=name, outcome="ok", found=look())
    except CorralError as error:
        return failure(name, error)


def failure(name: str, error: CorralError) -> Checkup:
    """An error as the check that failed."""
    return Checkup(
        name=name,
        outcome="failed",
        found=error.message.rstrip("."),
        fix=error.hint,
        exit_code=error.exit_code,
    )
