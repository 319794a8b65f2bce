"""What a precision needs of a GPU, and what is known about a model on it."""

from typing import Any

from infra.data import shipped_table
from infra.hardware import Gpu


def refusal(gpu: Gpu, precision: str) -> str | None:
    """Why a GPU cannot run a precision, with the numbers; None when it can."""
    needed = data()["precision"][precision]["capability"]
    if gpu.compute_capability >= needed:
        return None
    return (
        f"{precision} needs compute capability {needed} or newer; "
        f"{gpu.name} has {gpu.compute_capability}, without BF16 arithmetic."
    )


def notes(gpu: Gpu, precision: str, kv_cache_dtype: str, owned: bool) -> tuple[str, ...]:
    """What a user should know about that GPU and precision."""
    row = data()["precision"][precision]
    said = []
    if gpu.compute_capability < row["native"] and row["below_native"]:
        said.append(row["below_native"].format(capability=gpu.compute_capability))
    if kv_cache_dtype.startswith("fp8") and gpu.compute_capability not in data()["kv_fp8"]["native"]:
        said.append(data()["kv_fp8"]["warning"].format(capability=gpu.compute_capability))
    return (*said, *(note["text"] for note in data()["note"] if applies(note, gpu, precision, owned)))


def applies(note: dict[str, Any], gpu: Gpu, precision: str, owned: bool) -> bool:
    """Whether a note is about this GPU and precision, and this kind of machine."""
    said = {"precision": precision, "gpu": gpu.name, "owned": owned}
    return all(said[key] == value for key, value in note.items() if key in said)


def image_limit() -> int:
    """Images a prompt may carry unless the user says otherwise."""
    return int(data()["images"]["limit"])


def data() -> dict[str, Any]:
    """What recipes.toml holds."""
    return shipped_table("serving.model", "recipes.toml")
