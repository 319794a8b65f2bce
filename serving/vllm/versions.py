"""What changes with vLLM's version: the rules by which it counts memory."""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any, Literal

from infra import day
from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record
from serving.vllm import extra_args
from serving.vllm.serve_options import ServeOptions, refuse_unsafe

ADVISORIES_OLD_AFTER_DAYS = 42
"""A choice, not a figure of anybody's: shorter than for prices, since a server is attacked by what is new."""


class Rules(Record):
    """The rules of one range of versions; the fields are explained in versions.toml."""

    version: str
    from_version: str
    hybrid: bool
    gpu_memory_utilization: float
    cuda_graphs_in_budget: bool
    reserve: Literal["one", "batches"]
    log: Literal["blocks", "blocks-per-group", "concurrency"]
    second_runner: bool = False
    sampler_sorts: bool = False

    def batches_in_flight(self, pipeline: int, cpu: bool = False) -> int:
        """max_concurrent_batches: with async scheduling on a GPU one more than without, which is the CPU's case."""
        if self.reserve == "one":
            return 1
        if cpu:
            return pipeline
        return pipeline + 1 if self.second_runner or pipeline == 1 else pipeline


def rules(version: str | None = None) -> Rules:
    """The rules of a version; without one, of the newest we opened. Raises UsageError for one older than all."""
    table = data()
    asked, oldest = version or str(table["newest"]), table["version"][0]["from"]
    if number(asked) < number(oldest):
        raise UsageError(
            f"vLLM {asked} is older than the oldest corral has examined, {oldest}.",
            f"Leave out --vllm-version to plan for {table['newest']}.",
        )
    row = [row for row in table["version"] if number(row["from"]) <= number(asked)][-1]
    return Rules(version=asked, from_version=row["from"], **{key: row[key] for key in row if key != "from"})


def check(version: str, warn: Callable[[str], None], given: tuple[str, ...] = ()) -> None:
    """Raise UsageError for a vLLM that is not served with, or that lacks one of the extra arguments `given`.

    What must be known of one that is served with is told; also of one that nothing is known of.
    """
    numbers = release(version)
    refused = next((each for each in advisories(numbers) if each["refused"]), None)
    if refused:
        raise UsageError(
            f"vLLM {version} is not started: {refused['what']}.", f"Use {data()['safe_from']} or newer."
        )
    for note in version_notes(version, day.today()):
        warn(f"warning: {note}")
    extra_args.refuse_unknown(given, numbers)


def check_planned(version: str, warn: Callable[[str], None], options: ServeOptions) -> None:
    """`check`, of what a plan says: a version, which an engine may lack, and options. Raises UsageError."""
    number(version)
    refuse_unsafe(options)
    check(version, warn, options.extra_args)


def version_notes(version: str, on: date) -> tuple[str, ...]:
    """What a user must know of that version on that day, and of what we know of it."""
    return tuple(filter(None, (version_note(version), advisories_age(version, on))))


def advisories_age(version: str, on: date) -> str | None:
    """That the table of advisories is old; not for what is no version, of which it is silent anyway."""
    table = data()
    days = (on - table["advisories_of"]).days
    if days <= ADVISORIES_OLD_AFTER_DAYS or not release(version):
        return None
    return (
        f"The advisories that corral knows are of {table['advisories_of']}, {days} days old: "
        f"look for newer ones of vLLM {version} at {table['advisories_at']}."
    )


def version_note(version: str) -> str | None:
    """What a user must know of that version, if anything."""
    table, numbers = data(), release(version)
    if not numbers:
        return f"Nothing is known of vLLM {version!r}: neither its advisories nor its options were checked."
    if numbers > number(table["newest"]):
        return f"vLLM {version} is newer than the newest corral has examined ({table['newest']}), whose rules are used."
    if numbers < number(table["safe_from"]):
        worst = "".join(f" ({each['what']})" for each in advisories(numbers)[:1])
        served = f"serve with {table['safe_from']} or newer (advisories of {table['advisories_of']})"
        return f"vLLM {version} has published security advisories{worst}; {served}."
    return None


def advisories(numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    """The named advisories of a version, the worst first; none for one that is unknown."""
    return [each for each in data()["advisory"] if numbers and numbers < number(each["below"])]


def number(version: str) -> tuple[int, ...]:
    """A version as numbers. Raises UsageError when it is none."""
    numbers = release(version)
    if not numbers:
        raise UsageError(f"{version!r} is not a vLLM version.", "Write it as 0.33.0.")
    return numbers


@lru_cache(maxsize=256)
def release(version: str) -> tuple[int, ...]:
    """The three numbers of a version; () for what is none, such as "unknown"."""
    match = re.fullmatch(
        r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:[.+a-z][a-z0-9.+]{0,79})?", version, re.ASCII
    )
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def data() -> dict[str, Any]:
    """What versions.toml holds."""
    return shipped_table("serving.vllm", "versions.toml")
