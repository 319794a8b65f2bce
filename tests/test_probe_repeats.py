"""Runs of one load in turns: whose turn it is, what is kept, what is said of them, and how they end."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probing import a_report, on_any_machine

from deploy.cli.main import run as corral
from deploy.cli.probe import all_judged
from infra.errors import EndpointError, HostError, UsageError
from serving.probe import repeats
from serving.probe.lengths import Lengths
from serving.probe.repeats import Repeats, newest_folders, repeated, repeats_text, spread
from serving.probe.report import ProbeReport
from serving.probe.spec import Load, Slo, Target, Workload

Fake = Callable[..., str]
A, B = Target(base_url="http://a"), Target(base_url="http://b")
LOAD = Load(shape="concurrency", concurrency=2, requests=4, seed=6)
WORKLOAD = Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=5), seed=3)


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on_any_machine(monkeypatch)


def test_two_endpoints_are_probed_in_turns(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [fake_llm(ttft_ms=1.0, itl_ms=10.0), fake_llm(ttft_ms=400.0, itl_ms=10.0)]
    load = "--repeat 3 --concurrency 8 --requests 12 --output-tokens 3 --input-tokens 16"
    words = [*urls, *load.split()]
    assert corral(["probe", *words, "--output", str(tmp_path / "out"), "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [Path(each["folder"]).name for each in found["runs"]] == ["a-1", "b-1", "b-2", "a-2", "a-3", "b-3"]
    assert [(each["endpoint"], each["url"], each["runs"]) for each in found["endpoints"]] == [
        ("a", urls[0], 3),
        ("b", urls[1], 3),
    ]
    (difference,) = found["differences"]
    assert (difference["basis"], difference["warnings"]) == ("between runs", [])
    assert "ttft_s.p50" in [each["figure"] for each in difference["different"]]
    assert json.loads((tmp_path / "out" / "repeats.json").read_text()) == found
    assert re.findall(r"^run (\d) of 6: ", told.err, re.MULTILINE) == list("123456")
    groups = [[str(tmp_path / "out" / f"{letter}-{at}") for at in (1, 2, 3)] for letter in "ab"]
    assert corral(["probe", "diff", *groups[0], "--", *groups[1], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {each["figure"] for each in again["different"]} == {
        each["figure"] for each in difference["different"]
    }
    assert corral(["probe", *words, "--output", str(tmp_path / "out")]) == 2
    assert "holds an earlier repeats.json, which is not overwritten." in capsys.readouterr().err


class Runs:
    """Stands in for a probe: what each is asked, and what comes of it; their results cannot be read again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *fates: ProbeReport | BaseException) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._fates = iter(fates)
        monkeypatch.setattr(repeats, "run", self.run)
        monkeypatch.setattr(repeats, "read_run", lambda folder: folder)
        monkeypatch.setattr(repeats, "compared", lambda a, b: None)

    def run(
        self, target: Target, load: Load, workload: Workload, folder: Path, slo: Slo, watch: object
    ) -> ProbeReport:
        self.asked.append((target.base_url, folder.name, load.seed & 7, workload.seed & 7))
        self.seeds = getattr(self, "seeds", []) + [(load.seed, workload.seed)]
        fate = next(self._fates)
        if isinstance(fate, BaseException):
            raise fate
        return fate


def made(tmp_path: Path, repeat: int = 2, targets: tuple[Target, ...] = (A,)) -> Repeats:
    return repeated(targets, LOAD, WORKLOAD, tmp_path, Slo(), repeat, lambda text: None)


def test_each_run_has_prompts_and_arrivals_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs(monkeypatch, *map(a_report, (90.0, 100.0, 110.0)))
    found = made(tmp_path, 3)
    assert runs.asked == [("http://a", f"a-{at}", 6, 3) for at in (1, 2, 3)]
    assert len(set(runs.seeds)) == 3
    assert (runs.seeds[0], max(abs(seed) for each in runs.seeds for seed in each) < 2**63) == ((6, 3), True)
    (endpoint,) = found.endpoints
    spread = endpoint.figures["output_tokens_per_s"]
    # Of 90, 100 and 110: deviation 10, and t 4.303 of two degrees.
    assert spread.mean == 100.0
    assert spread.deviation == pytest.approx(0.1)
    assert (spread.low, spread.high) == pytest.approx((100 - 24.84, 100 + 24.84), abs=0.01)
    assert repeats_text(found, Path("out")).splitlines() == [
        "a: m at http://a, 3 runs",
        "                        mean  run to run  95 % of the mean",
        "output tokens/s       100.00       10.0%  75.16 to 124.84",
        "TTFT ms mean            0.00           -  0.00 to 0.00",
        "TTFT ms p50           100.00        0.0%  100.00 to 100.00",
        "TPOT ms mean            0.00           -  0.00 to 0.00",
        "TPOT ms p50            10.00        0.0%  10.00 to 10.00",
        "",
        "each run and repeats.json in out",
    ]


def test_a_run_that_must_not_be_used_counts_where_no_other_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoiled = a_report(900.0, valid=False, invalid_because=("busy",))
    Runs(monkeypatch, a_report(90.0), spoiled, a_report(110.0))
    found = made(tmp_path, 3)
    (endpoint,) = found.endpoints
    assert (endpoint.runs, endpoint.figures["output_tokens_per_s"].mean, len(found.runs)) == (2, 100.0, 3)
    assert repeats_text(found, tmp_path).splitlines()[-3] == (
        f"warning  {tmp_path / 'a-2'} must not be used: busy"
    )
    Runs(monkeypatch, spoiled, spoiled)
    (endpoint,) = made(tmp_path / "b").endpoints
    assert (endpoint.runs, endpoint.figures["output_tokens_per_s"].mean) == (2, 900.0)


def test_a_spread_is_not_below_nothing_and_of_one_run_not_known() -> None:
    assert spread([1.0, 9.0]).low == 0.0
    one = spread([5.0])
    assert (one.mean, one.low, one.high, one.deviation) == (5.0, None, None, None)
    assert spread([0.0, 0.0]).deviation is None


@pytest.mark.parametrize(
    ("fate", "count", "interrupted", "ended"),
    [
        (a_report(interrupted=True), 2, True, None),
        (a_report(results_lost=True), 2, True, None),
        (KeyboardInterrupt(), 1, True, None),
        (EndpointError("gone"), 1, False, "gone"),
        (HostError("full"), 1, False, "full"),
    ],
)
def test_what_was_measured_is_kept_when_it_ends_early(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fate: ProbeReport | BaseException,
    count: int,
    interrupted: bool,
    ended: str | None,
) -> None:
    Runs(monkeypatch, a_report(), fate)
    found = made(tmp_path, 3)
    assert (len(found.runs), found.interrupted, found.ended_early, found.repeat) == (
        count, interrupted, ended, 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fate", [KeyboardInterrupt(), EndpointError("gone"), HostError("full"), UsageError("odd")]
)
def test_nothing_is_kept_where_the_first_run_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fate: BaseException
) -> None:
    Runs(monkeypatch, fate)
    with pytest.raises(type(fate)):
        made(tmp_path)


def test_no_run_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "b-2").mkdir()
    (tmp_path / "b-2" / "probe.json").touch()
    with pytest.raises(UsageError, match=r"b-2 holds an earlier probe's probe\.json"):
        made(tmp_path, targets=(A, B))
    with pytest.raises(UsageError, match="27 endpoints are more than 26"):
        made(tmp_path, targets=(A,) * 27)


@pytest.mark.parametrize(
    ("second", "changes", "code", "said"),
    [
        ({}, {}, 0, ""),
        (
            {"errors": {"a": 2}, "sent": 20},
            {},
            8,
            "error: 2 of 20 requests of {}/a-2 failed, more than 0.01 of them (--max-failed).",
        ),
        (
            {"valid": False, "invalid_because": ("busy",)},
            {},
            9,
            "error: A run must not be used, {}/a-2: busy.",
        ),
        ({}, {"interrupted": True}, 130, "error: Interrupted; the runs until then are kept."),
        ({}, {"ended_early": "gone"}, 8, "error: It ended early; the runs until then are kept: gone"),
    ],
)
def test_repeats_end_with_what_their_worst_run_says(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    second: dict[str, Any],
    changes: dict[str, Any],
    code: int,
    said: str,
) -> None:
    Runs(monkeypatch, a_report(), a_report(**second))
    found = made(tmp_path).model_copy(update=changes)
    assert all_judged(found, tmp_path / "repeats.json", 0.01) == code
    assert capsys.readouterr().err.split("\n")[0] == said.format(tmp_path)
    assert Repeats.read(tmp_path / "repeats.json") == found
    assert newest_folders(found, 2) == [tmp_path / "a-2", None]
    assert ("must not be used: busy" in repeats_text(found, tmp_path)) == (code == 9)
