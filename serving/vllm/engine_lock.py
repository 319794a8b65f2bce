"""What a rented box installs for a version of vLLM: every package at its version and by its hash, as of one day."""

from infra.data import shipped_table
from infra.host import Lock


def lock_of(vllm_version: str) -> Lock | None:
    """The lock for a version; None where there is none. `scripts/lock-engine` makes one."""
    try:
        return Lock.model_validate(shipped_table("serving.vllm", f"locks/vllm-{vllm_version}.toml"))
    except FileNotFoundError:
        return None
