"""What changes with vLLM's version: the rules by which it counts memory for Llama 4."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from infra.errors import UsageError
from infra.record import Record


class Rules(Record):
    """The rules of one range of versions; the fields are explained in vllm_versions.toml."""

    version: str
    from_version: str
    hybrid: bool
    gpu_memory_utilization: float
    cuda_graphs_in_budget: bool
    reserve: Literal["one", "batches"]
    log: Literal["blocks", "blocks-per-group", "concurrency"]
    second_runner: bool = False

    def batches_in_flight(self, pipeline: int, cpu: bool = False) -> int:
        """max_concurrent_batches: with async scheduling on a GPU one more than without, which is the CPU's case."""
        if self.reserve == "one":
            return 1
        if cpu:
            return pipeline
        return pipeline + 1 if self.second_runner or pipeline == 1 else pipeline


def rules(version: str | None = None) -> Rules:
    """The rules of a version; without one, of the newest we opened. Raises UsageError for one without Llama 4."""
    table = data()
    asked = version or str(table["newest"])
    if number(asked) < number(table["oldest"]):
        raise UsageError(
            f"vLLM {asked} has no Llama 4; it came with {table['oldest']}.",
            f"Leave out --vllm-version to plan for {table['newest']}.",
        )
    row = [row for row in table["version"] if number(row["from"]) <= number(asked)][-1]
    return Rules(version=asked, from_version=row["from"], **{key: row[key] for key in row if key != "from"})


def version_note(asked: str) -> str | None:
    """What a user must know about planning for that version, if anything."""
    table = data()
    if number(asked) > number(table["newest"]):
        return f"vLLM {asked} is newer than the newest corral has examined ({table['newest']}), whose rules are used."
    if number(asked) < number(table["safe_from"]):
        return f"vLLM {asked} has published security advisories; serve with {table['safe_from']} or newer."
    return None


def number(version: str) -> tuple[int, ...]:
    """A version as numbers. Raises UsageError when it is none."""
    match = re.fullmatch(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:[.+a-z].*)?", version)
    if not match:
        raise UsageError(f"{version!r} is not a vLLM version.", "Write it as 0.33.0.")
    return tuple(int(part or 0) for part in match.groups())


@cache
def data() -> dict[str, Any]:
    """Parse vllm_versions.toml once."""
    return tomllib.loads(files("serving").joinpath("vllm_versions.toml").read_text(encoding="utf-8"))
