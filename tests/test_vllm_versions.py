"""What changes with vLLM's version, against the matrix read from its wheels."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from deploy.cli.main import run
from deploy.targets.deployment import home
from infra.errors import DocumentError, UsageError
from serving.model.kv import layout
from serving.model.models import model
from serving.model.weights import Split
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.extra_args import records
from serving.vllm.serve_options import ServeOptions, across_nodes, argv
from serving.vllm.versions import Rules, check, check_planned, number, rules, version_note, version_notes

PLAIN = ServeOptions(model="/m", served_model_name="m")
MONO = PLAIN.model_copy(update={"extra_args": ("--monokernel",)})
SCOUT = model("scout").architecture


@pytest.fixture(autouse=True)
def advisories_are_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 2026-11-24 unless a test says otherwise."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795521600")


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
     ("0.30.0", 2, False, 3), ("0.32.0", 1, False, 2), ("0.32.0", 2, False, 3), ("0.33.0", 1, False, 2),
     ("0.33.0", 2, False, 3), ("0.32.0", 1, True, 1), ("0.32.0", 2, True, 2)],
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
        sampler_sorts=True,
    )
    assert rules() == Rules(
        version="0.33.0",
        from_version="0.30.0",
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
        (
            "0.32.9",
            "vLLM 0.32.9 has published security advisories; serve with 0.33.0 or newer (advisories of 2026-11-23).",
        ),
        (
            "0.31.0",
            "vLLM 0.31.0 has published security advisories (CVE-2026-115911 lets a request's chat template render "
            "without bound); serve with 0.33.0 or newer (advisories of 2026-11-23).",
        ),
        ("0.33.0", None),
        (
            "0.33.1",
            "vLLM 0.33.1 is newer than the newest corral has examined (0.33.0), whose rules are used.",
        ),
    ],
)
def test_what_must_be_known_of_a_version(version: str, note: str | None) -> None:
    assert version_note(version) == note


AGED = (
    "The advisories that corral knows are of 2026-11-23, 43 days old: look for newer ones of vLLM {} at "
    "https://github.com/vllm-project/vllm/security/advisories."
)
IS_OLD = date(2027, 1, 5)
ITS_EPOCH = "1799150400"  # noon of that day


@pytest.mark.parametrize(
    ("version", "on", "aged"),
    [
        ("0.33.0", date(2026, 11, 1), []),  # a clock that is behind
        ("0.33.0", date(2027, 1, 4), []),
        ("0.33.0", IS_OLD, [AGED.format("0.33.0")]),
        ("0.31.0", IS_OLD, [AGED.format("0.31.0")]),
        ("0.40.0", IS_OLD, [AGED.format("0.40.0")]),
        ("unknown", IS_OLD, []),
    ],
)
def test_advisories_that_are_old_are_told_with_their_date(version: str, on: date, aged: list[str]) -> None:
    assert list(version_notes(version, on)) == [*filter(None, [version_note(version)]), *aged]


OLDER = "has published security advisories"
OTHERS = "CVE-2026-73558 can show one user another user's output"
ENDS = "CVE-2026-105757 lets one request end the engine for all"
SAFE = "serve with 0.33.0 or newer (advisories of 2026-11-23)."


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.33.0", []),
        ("0.32.0+cpu", [f"warning: vLLM 0.32.0+cpu {OLDER}; {SAFE}"]),
        ("0.27.0", [f"warning: vLLM 0.27.0 {OLDER} ({ENDS}); {SAFE}"]),
        ("0.26.9", [f"warning: vLLM 0.26.9 {OLDER} ({OTHERS}); {SAFE}"]),
        ("0.22.0", [f"warning: vLLM 0.22.0 {OLDER} ({OTHERS}); {SAFE}"]),
        (
            "0.99.0",
            [
                "warning: vLLM 0.99.0 is newer than the newest corral has examined (0.33.0), whose rules are used."
            ],
        ),
        *(
            (
                none,
                [
                    f"warning: Nothing is known of vLLM {none!r}: neither its advisories nor its options were checked.",
                ],
            )
            for none in ("unknown", "", "dev", "main-3f1c", "0.x")
        ),
    ],
)
def test_what_is_served_with_is_told_of_where_it_is_not_the_safe_one(version: str, said: list[str]) -> None:
    told: list[str] = []
    check(version, told.append)
    assert told == said


@pytest.mark.parametrize("version", ["0.21.9", "0.10.0", "0.8.3", "0.1.0", "v0.21.9", "0.21.9.dev3+cu129"])
def test_a_version_whose_key_can_be_passed_by_is_refused(version: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(version, print)
    assert (
        caught.value.message == f"vLLM {version} is not started: CVE-2026-48746 lets anyone past --api-key."
    )
    assert caught.value.hint == "Use 0.33.0 or newer."


def test_a_plan_has_a_version_and_an_option_that_it_lacks_is_told() -> None:
    with pytest.raises(UsageError, match="'unknown' is not a vLLM version"):
        check_planned("unknown", print, PLAIN)
    with pytest.raises(UsageError, match=r"vLLM 0\.32\.0 has no option '--monokernel'"):
        check_planned("0.32.0", print, MONO)
    with pytest.raises(UsageError, match="has no option"):
        check("0.32.0+cpu", print, ("--monokernel",))
    check_planned("0.33.0", print, MONO)


def test_a_version_that_is_served_with_has_every_option_that_corral_says() -> None:
    """Whatever the plan says: all its fields, and what corral adds to them."""
    full = ServeOptions(
        model="/m",
        served_model_name="m",
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
        data_parallel_size=2,
        enable_expert_parallel=True,
        max_model_len=1,
        max_num_seqs=1,
        max_num_batched_tokens=1,
        gpu_memory_utilization=0.5,
        kv_cache_dtype="fp8",
        kv_cache_memory_bytes=1,
        disable_hybrid_kv_cache_manager=True,
        dtype="bfloat16",
        quantization="fp8",
        enforce_eager=True,
        limit_mm_per_prompt={"image": 1},
        hf_overrides={},
        generation_config="vllm",
        chat_template="/t",
    )
    said = {
        word
        for options in (full, full.model_copy(update={"language_model_only": True}))
        for word in (*argv(options), *across_nodes(2, "0", "10.0.0.5", headless=True))
        if word.startswith("--")
    }
    served = [kept for version, kept in records().items() if version >= (0, 22, 0)]
    assert [said - set(options) for options in served] == [set()] * len(served)


def test_a_version_is_its_three_numbers() -> None:
    assert [number(text) for text in ("0.33", "v0.33.1", "0.33.1.2", "0.33.1rc1", "0.33.1+cpu")] == [
        (0, 33, 0), (0, 33, 1), (0, 33, 1), (0, 33, 1), (0, 33, 1),
    ]  # fmt: skip


def test_a_version_from_before_all_that_was_examined_and_none_at_all() -> None:
    with pytest.raises(UsageError) as caught:
        rules("0.8.2")
    assert caught.value.message == "vLLM 0.8.2 is older than the oldest corral has examined, 0.8.3."
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


VERBS = [
    ["serve", "plan.json"],
    ["serve", "plan.json", "--dry-run"],
    ["provision", "plan.json", "--target", "ec2", "--name", "t1", "--yes"],
    ["provision", "plan.json", "--target", "ec2", "--name", "t1", "--dry-run"],
    ["provision", "plan.json", "--target", "ssh", "--host", "gpu-1", "--name", "t1", "--yes"],
    ["up", "plan.json", "--target", "ec2", "--name", "t1", "--yes"],
    *(
        ["export", "plan.json", "--to", to]
        for to in ("compose", "quadlet", "systemd", "kubernetes", "terraform")
    ),
]
SIZE = ["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", "plan.json"]


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Make plan.json; what `size` said of it."""
    monkeypatch.chdir(tmp_path)

    def make(*options: str, **serve: object) -> str:
        assert run([*SIZE, *options]) in (0, 3)
        made = Plan.read(Path("plan.json"))
        made.model_copy(update={"serve": made.serve.model_copy(update=serve), "fits": True}).write(
            Path("plan.json")
        )
        return " ".join(capsys.readouterr().out.split())

    return make


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_serves_with_an_old_version_and_nothing_is_done(
    verb: list[str], plan: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = plan("--vllm-version", "0.10.0")
    assert "vLLM 0.10.0 has published security advisories (CVE-2026-48746 lets anyone past --api-key)" in said
    assert run(verb) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "error: vLLM 0.10.0 is not started: CVE-2026-48746 lets anyone past --api-key.",
        "hint: Use 0.33.0 or newer.",
    ]
    assert not home().exists()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--api-ke", "--api-key (as '--api-ke') is not passed on to vLLM: "),
        ("--hf_token=hf_x", "--hf-token (as '--hf_token') is not passed on to vLLM: "),
        ("--no-enable-prefix-caching", "vLLM 0.33.0 has no option '--no-enable-prefix-caching'."),
    ],
)
def test_no_verb_passes_on_what_is_refused_or_unknown_and_nothing_is_done(
    verb: list[str], given: str, said: str, plan: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan(extra_args=(given,))
    assert run(verb) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not home().exists()


def test_a_newer_version_is_said_to_be_one(
    plan: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    newer = "vLLM 0.99.0 is newer than the newest corral has examined (0.33.0), whose rules are used."
    assert newer in plan("--vllm-version", "0.99.0")
    assert run(["export", "plan.json", "--to", "compose", "--output", "out"]) == 0
    assert f"warning: {newer}" in capsys.readouterr().err


def test_size_and_all_that_serves_or_exports_tell_that_the_advisories_are_old(
    plan: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aged = AGED.format("0.33.0")
    assert aged not in plan()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", ITS_EPOCH)
    assert aged in plan()
    assert run(["export", "plan.json", "--to", "compose", "--output", "out"]) == 0
    assert f"warning: {aged}\n" in capsys.readouterr().err
    told: list[str] = []
    check("0.33.0", told.append)  # before any start
    assert told == [f"warning: {aged}"]


@pytest.mark.parametrize(
    "version",
    [
        "0.33.0/../../../tmp/evil", "0.33.0 x", "0.33.0$(id)", "0.33.0'x", "0.33.0,==0.5.0", "0.33.0\u00a0", "-0.33.0",
        "\u0660.\u0663\u0663.\u0660", "0.33.0+" + "a" * 100, "0.33.0;python_version>'3'", "0.33.0@file:///tmp/x", "",
    ],
)  # fmt: skip
def test_a_version_in_a_plan_is_a_version(version: str, tmp_path: Path) -> None:
    """pip is asked for it by name, as root on a host: what has a slash is a folder to it, whose setup.py it runs."""
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    text = plan.model_copy(update={"vllm_version": version}).text()
    with pytest.raises(DocumentError) as refused:
        Plan.parse(text, "plan.json")
    assert refused.value.message.startswith("plan.json is not a plan this version can read: vllm_version: ")
    with pytest.raises(UsageError):
        number(version)


@pytest.mark.parametrize(
    "version", ["0.33.0", "v0.33.0", "0.33", "0.34.0rc1.dev2+gabc123.d20261128", "0.32.0+cpu"]
)
def test_a_version_that_is_built_is_one(version: str) -> None:
    plan = answer_for("scout", "int4", "g5.12xlarge", Options()).model_copy(update={"vllm_version": version})
    assert Plan.parse(plan.text(), "plan.json") == plan
    assert number(version)[:1] == (0,)


@pytest.mark.parametrize(
    ("part", "changed", "place"),
    [
        ("machine", {"hosts": 2**62}, "machine.hosts"),
        ("machine", {"gpu_count": 10**9}, "machine.gpu_count"),
        ("parallel", {"tensor": 10**9}, "parallel.tensor"),
        ("serve", {"data_parallel_size": 10**9}, "serve.data_parallel_size"),
        ("serve", {"max_model_len": 2**62}, "serve.max_model_len"),
        ("serve", {"port": True}, "serve.port"),
        ("serve", {"port": 8000.0}, "serve.port"),
        ("serve", {"extra_args": ["x"] * 1001}, "serve.extra_args"),
    ],
)
def test_a_plan_of_nonsense_is_none(part: str, changed: dict[str, object], place: str) -> None:
    plan = json.loads(answer_for("scout", "int4", "g5.12xlarge", Options()).text())
    plan[part] |= changed
    with pytest.raises(DocumentError) as refused:
        Plan.parse(json.dumps(plan), "plan.json")
    assert refused.value.message.startswith(f"plan.json is not a plan this version can read: {place}: ")
