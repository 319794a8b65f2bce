"""What changes with vLLM's version, against the matrix read from its wheels."""

import pytest

from infra.errors import UsageError
from serving.kv import layout
from serving.models import model
from serving.vllm_versions import Rules, number, rules, version_note
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


def test_the_rules_of_a_version_are_those_of_the_last_row_before_it() -> None:
    assert rules("0.13.9") == Rules(
        version="0.13.9",
        from_version="0.10.1",
        hybrid=False,
        gpu_memory_utilization=0.90,
        cuda_graphs_in_budget=False,
        reserve="one",
        log="blocks-per-group",
    )
    assert rules() == Rules(
        version="0.33.0",
        from_version="0.33.0",
        hybrid=True,
        gpu_memory_utilization=0.92,
        cuda_graphs_in_budget=True,
        reserve="batches",
        log="concurrency",
        second_runner=True,
    )


@pytest.mark.parametrize(
    ("version", "note"),
    [
        ("0.32.9", "vLLM 0.32.9 has published security advisories; serve with 0.33.0 or newer."),
        ("0.33.0", None),
        (
            "0.33.1",
            "vLLM 0.33.1 is newer than the newest corral has examined (0.33.0), whose rules are used.",
        ),
    ],
)
def test_what_must_be_known_of_a_version(version: str, note: str | None) -> None:
    assert version_note(version) == note


def test_a_version_is_its_three_numbers() -> None:
    assert [number(text) for text in ("0.33", "v0.33.1", "0.33.1.2", "0.33.1rc1", "0.33.1+cpu")] == [
        (0, 33, 0), (0, 33, 1), (0, 33, 1), (0, 33, 1), (0, 33, 1),
    ]  # fmt: skip


def test_a_version_from_before_llama_4_and_none_at_all() -> None:
    with pytest.raises(UsageError) as caught:
        rules("0.8.2")
    assert caught.value.message == "vLLM 0.8.2 has no Llama 4; it came with 0.8.3."
    assert caught.value.hint == "Leave out --vllm-version to plan for 0.33.0."
    with pytest.raises(UsageError) as caught:
        rules("latest")
    assert (caught.value.message, caught.value.hint) == (
        "'latest' is not a vLLM version.",
        "Write it as 0.33.0.",
    )


@pytest.mark.parametrize("version", ["0.8.2", "0.7.0", "latest", "", "0.8.3; rm"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(UsageError):
        rules(version or "x")
