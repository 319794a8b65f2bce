"""What a rented box installs for a version of vLLM: every package at its version and by its hash, as of one day."""

import tomllib
from importlib.resources import files

from infra.host import Lock


def lock_of(vllm_version: str) -> Lock | None:
    """The lock for a version; None where there is none. `scripts/lock-engine` makes one."""
    path = files("serving.vllm").joinpath("locks", f"vllm-{vllm_version}.toml")
    if not path.is_file():
        return None
    return Lock.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
