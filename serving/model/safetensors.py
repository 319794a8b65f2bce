"""PURE: the safetensors header: names, dtypes and shapes, checked against the length of the file it heads."""

from dataclasses import dataclass
from math import prod
from typing import Any

from infra import bounded_json
from infra.errors import DocumentError
from serving.model.loaders import check_writer

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
LONGEST_NAME = 512
"""Of a tensor; what its name says is looked for in time that grows with its square."""
MOST_DIMENSIONS = 32
MOST_TENSORS = 100_000
"""Of a file: one of 128 experts and three matrices a layer, each with scales, has less than half of them."""
MOST = 2**63 - 1
"""Of a size or a place in a file."""
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint as its header says it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def params(self) -> int:
        """Values, unpacked: eight 4-bit values live in one int32 of a `weight_packed`, two in a byte.

        ModelOpt's bytes are of 4-bit values too, under the weight's own name.
        """
        if self.dtype == "I32" and self.name.endswith("_packed"):
            return prod(self.shape) * 8
        of_two = self.dtype == "U8" and self.name.endswith(("_packed", ".weight", "_proj"))
        return prod(self.shape) * (2 if of_two else 1)


def header_length(first_bytes: bytes, file_bytes: int, where: str) -> int:
    """The length of the header from a file's first eight bytes. Raises DocumentError for an impossible one."""
    if len(first_bytes) < LENGTH_BYTES:
        raise broken(where, f"it is {file_bytes} bytes long, shorter than a safetensors header")
    length = int.from_bytes(first_bytes[:LENGTH_BYTES], "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, file_bytes - LENGTH_BYTES):
        raise broken(where, f"its header claims {length:,} bytes in a file of {file_bytes:,}")
    return length


def parse(header: bytes, file_bytes: int, where: str) -> tuple[Tensor, ...]:
    """The tensors of a header. Raises DocumentError when it is not one, or promises bytes the file does not have.

    The tensors lie one after the other, without a gap and none over another, as the format asks.
    """
    try:
        rows = bounded_json.load(header)
        if not isinstance(rows, dict):
            raise TypeError("no object")
        if len(rows) > MOST_TENSORS:
            raise broken(where, f"its header names more than {MOST_TENSORS:,} tensors")
        tensors = {name: tensor(name, row) for name, row in rows.items() if name != "__metadata__"}
        spans = sorted(tuple(rows[name]["data_offsets"]) for name in tensors)
    except (ValueError, KeyError, TypeError):
        raise broken(where, "its header is not readable JSON of tensors") from None
    check_writer(rows.get("__metadata__"))
    end = 0
    for begin, after in spans:
        if begin != end:
            raise broken(where, f"its header leaves a gap, or has two tensors in one place, at byte {end:,}")
        end = after
    if end + len(header) + LENGTH_BYTES != file_bytes:
        raise broken(
            where, f"its header promises {end + len(header) + LENGTH_BYTES:,} bytes and it has {file_bytes:,}"
        )
    return tuple(tensors.values())


def tensor(name: str, row: Any) -> Tensor:
    """One entry of a header; its bytes must be what its shape takes. Raises ValueError, KeyError or TypeError."""
    start, end = row["data_offsets"]
    shape = tuple(row["shape"])
    if len(name) > LONGEST_NAME or len(shape) > MOST_DIMENSIONS:
        raise ValueError(name[:LONGEST_NAME])
    numbers = (start, end, *shape)
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > MOST:
        raise ValueError(name)
    if start > end or prod(shape) * BITS[row["dtype"]] != (end - start) * 8:
        raise ValueError(name)
    return Tensor(name, row["dtype"], shape, end - start)


def broken(where: str, why: str) -> DocumentError:
    """The error for a file that lies or was cut off."""
    return DocumentError(
        f"{where} is not a complete safetensors file: {why}.", "Download it again, or copy it again."
    )
