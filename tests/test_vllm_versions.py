"""What changes with vLLM's version, against the matrix read from its wheels."""

import pytest

from infra.errors import UsageError
from serving.kv import layout
from serving.models import model
from serving.vllm_versions import rules, version_note
from serving.weights import Split

SCOUT = model("scout").architecture


@pytest.mark.parametrize(
    ("version", "hybrid", "utilization", "graphs"),
    [
        ("0.8.3", False, 0.90, False),
        ("0.8.5", False, 0.90, False),
        ("0.10.0", True, 0.90, False),
        ("0.10.1.1", False, 0.90, False),
        ("0.13.0", False, 0.90, False),
        ("0.14.0", True, 0.90, False),
        ("0.19.0", True, 0.90, False),
        ("0.20.0", True, 0.92, True),
        ("0.24.0", True, 0.92, True),
        ("0.33.0", True, 0.92, True),
        ("v0.34.1rc1", True, 0.92, True),
    ],
)
def test_defaults(version: str, hybrid: bool, utilization: float, graphs: bool) -> None:
    found = rules(version)
    assert (found.hybrid, found.gpu_memory_utilization, found.cuda_graphs_in_budget) == (
        hybrid,
        utilization,
        graphs,
    )


@pytest.mark.parametrize(
    ("version", "pipeline", "cpu", "batches"),
    [("0.24.0", 1, False, 1), ("0.24.0", 2, False, 1), ("0.28.0", 1, False, 2), ("0.28.0", 2, False, 2),
     ("0.33.0", 1, False, 2), ("0.33.0", 2, False, 3), ("0.32.0", 1, True, 1), ("0.32.0", 2, True, 2)],
)  # fmt: skip
def test_batches_in_flight(version: str, pipeline: int, cpu: bool, batches: int) -> None:
    assert rules(version).batches_in_flight(pipeline, cpu) == batches


def test_the_log_line_counts_differently() -> None:
    """20 GiB, TP8, 131,072 tokens: blocks x 16; a quarter of them; concurrency x length."""

    def tokens(version: str) -> int:
        found = rules(version)
        plan = layout(
            SCOUT, found, Split(8), hybrid=found.hybrid, bytes_per_value=2, max_num_batched_tokens=8192
        )
        return plan.tokens(131072, plan.blocks(20 << 30))

    assert [tokens(version) for version in ("0.8.5", "0.14.0", "0.33.0")] == [873_808, 873_808, 2_236_958]


def test_a_version_says_what_is_wrong_with_it() -> None:
    assert "security advisories" in str(version_note("0.12.0"))
    assert "newer than the newest" in str(version_note("0.40.0"))
    assert version_note("0.33.0") is None


@pytest.mark.parametrize("version", ["0.8.2", "0.7.0", "latest", "", "0.8.3; rm"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(UsageError):
        rules(version or "x")
