"""What a precision needs of a GPU, and what is known about a family on it."""

from typing import Any

from infra.data import shipped_table
from infra.hardware import Gpu
from infra.own_gpus import OWN
from serving.model.families import Family


def refusal(gpu: Gpu, precision: str) -> str | None:
    """Why a GPU cannot run a precision, with the numbers; None when it can."""
    if why := data()["refused"].get(gpu.vendor, {}).get(precision):
        return f"{gpu.name} cannot run {precision}: {why}."
    needed = data()["precision"][precision]["capability"]
    if gpu.compute_capability >= needed:
        return None
    return (
        f"{precision} needs compute capability {needed} or newer; "
        f"{gpu.name} has {gpu.compute_capability}, without BF16 arithmetic."
    )


def notes(gpu: Gpu, family: Family, precision: str, kv_cache_dtype: str, owned: bool) -> tuple[str, ...]:
    """What a user should know about that GPU, family and precision, on a machine that is their own or rented."""
    row, kv_fp8 = data()["precision"][precision], data()["kv_fp8"]
    told = (
        [data()["described"]["text"].format(gpu=gpu.name, error=gpu.torch_gib_error)]
        if is_described(gpu)
        else []
    )
    if gpu.compute_capability < row["native"] and row["below_native"]:
        told.append(row["below_native"].format(capability=gpu.compute_capability))
    by_flashinfer = gpu.vendor == "nvidia" and gpu.compute_capability not in kv_fp8["native"]
    crashes = by_flashinfer and family.name == kv_fp8["family"]
    if kv_cache_dtype.startswith("fp8") and crashes:
        told.append(kv_fp8["warning"].format(capability=gpu.compute_capability))
    here = {
        "precision": precision,
        "gpu": gpu.name,
        "family": family.name,
        "owned": owned,
        "vendor": gpu.vendor,
    }
    return (*told, *(note["text"] for note in data()["note"] if applies(note, here)))


def of_weights(family: str, precision: str) -> tuple[str, ...]:
    """What of it is known of a family in a precision on any GPU."""
    here = {"family": family, "precision": precision}
    return tuple(
        note["text"]
        for note in data()["note"]
        if here.items() <= note.items() and note.keys() <= {*here, "text"}
    )


def is_described(gpu: Gpu) -> bool:
    """Whether it is the user's own description, and no row of the catalogue."""
    return gpu.source == OWN


def applies(note: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether all that a note names is so here."""
    return all(here[key] == value for key, value in note.items() if key in here)


def data() -> dict[str, Any]:
    """What gpu_support.toml holds."""
    return shipped_table("serving.model", "gpu_support.toml")
