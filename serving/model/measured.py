"""What others measured of whole servers: data with its source, which the speed model is fitted to (measured.toml)."""

from collections import Counter, defaultdict
from functools import cache
from typing import Annotated

from pydantic import Field

from infra.catalog import machine
from infra.data import shipped_table
from infra.hardware import Gpu, Link, Machine
from infra.record import Record
from serving.model.models import Precision, model

Positive = Annotated[float, Field(gt=0)]


class Cell(Record):
    """One load on one server, means over its requests."""

    source: str
    """Where it was read: a `source` of measured.toml."""
    model: str
    precision: Precision
    on: str
    """COUNTxGPU; tensor parallel over all of them."""
    vllm: str
    max_num_batched_tokens: int
    input_tokens: int
    output_tokens: int
    concurrency: int | None = None
    rate_per_s: Positive | None = None
    """Requests that were served, of an endless open loop."""
    e2e_s: Positive | None = None
    held: bool = False
    """The model is not fitted to it, and is held against it."""
    tpot_ms: Positive
    ttft_ms: Positive | None = None

    @property
    def machine(self) -> Machine:
        """The server's machine."""
        return machine(self.on)

    @property
    def running(self) -> int:
        """Requests at once, as one of them sees it: as said, or the others by Little's law and itself."""
        if self.concurrency is not None:
            return self.concurrency
        assert self.rate_per_s is not None
        assert self.e2e_s is not None
        return 1 + round(self.rate_per_s * self.e2e_s)

    @property
    def requests_per_s(self) -> float:
        """Requests that were served in a second; of so many at once, as its TPOT was made of them."""
        return self.rate_per_s or self.running / (self.output_tokens * self.tpot_ms / 1e3)


@cache
def every() -> tuple[Cell, ...]:
    """All of them."""
    return tuple(map(Cell.model_validate, shipped_table("serving.model", "measured.toml")["cell"]))


@cache
def cells() -> tuple[Cell, ...]:
    """Those that the model is fitted to."""
    return tuple(cell for cell in every() if not cell.held)


@cache
def held() -> tuple[Cell, ...]:
    """Those that it was never given."""
    return tuple(cell for cell in every() if cell.held)


@cache
def counts() -> defaultdict[tuple[str, Link], Counter[str]]:
    """GPU family and the link of its GPUs -> how many of each way to store the weights, such as w4a16.

    A card with PCIe alone is no SXM module of the same name.
    """
    found: defaultdict[tuple[str, Link], Counter[str]] = defaultdict(Counter)
    for cell in cells():
        found[family_of(cell), gpu_of(cell).link][stored_as(cell)] += 1
    return found


def family_of(cell: Cell) -> str:
    """The family of its GPU."""
    return gpu_of(cell).family


def gpu_of(cell: Cell) -> Gpu:
    """Its GPU: nobody measured a server without one."""
    gpu = cell.machine.gpu
    assert gpu is not None
    return gpu


def stored_as(cell: Cell) -> str:
    """How its weights are stored, as the scheme of the checkpoint begins."""
    return model(cell.model).checkpoints[cell.precision].scheme.name.split("-")[0]
