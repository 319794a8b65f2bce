"""Groups of runs held against each other: what is called a difference, what is warned of, and how it is said."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from probing import a_report

from deploy.cli.main import run as corral
from infra.errors import UsageError
from serving.probe.diff import (
    Change,
    Difference,
    NotCompared,
    between,
    diff_text,
    difference,
    figures_of,
    unlike,
)
from serving.probe.lengths import Lengths
from serving.probe.report import Steady
from serving.probe.results import Writer
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.spec import Load, Slo, Target, Workload

LENGTHS: dict[str, Any] = {"input_tokens": Lengths(low=10), "output_tokens": Lengths(low=3)}
RUN = Run(
    target=Target(base_url="http://a"), model="m", load=Load(shape="concurrency", concurrency=2, requests=200),
    workload=Workload(**LENGTHS), slo=Slo(), server=ServerFacts(), started_at="2026-11-29T00:00:00+00:00",
)  # fmt: skip


def written(folder: Path, ttft_us: int, minute: int, requests: int = 200, **changes: Any) -> Path:
    """A run begun at that minute, whose first tokens come within 5 ms from `ttft_us` on."""
    rng = random.Random(f"{folder}")
    writer = Writer(folder / "results.jsonl")
    writer.run(RUN.model_copy(update={"started_at": f"2026-11-29T00:{minute:02}:00+00:00"} | changes))
    for number in range(requests):
        gaps = [ttft_us + rng.randint(0, 5000), 20_000, 20_000]
        writer.result(
            Result(
                number, number * 10_000, number * 10_000, number * 10_000 + sum(gaps) + 5, status=200, gaps_us=gaps,
                input_tokens=10, output_tokens=3, output_asked=3, finish_reason="length",
            )
        )  # fmt: skip
    writer.close(
        Ending(
            duration_us=3_000_000, clients=[ClientSide(kernel_stamps=True, wall_s=1.0, cpu_s=0.1, events=6)]
        )
    )
    return folder


def names(changes: tuple[Change, ...]) -> set[str]:
    return {each.figure for each in changes}


def test_one_run_against_one_tells_the_noise_within_them_and_says_no_more(tmp_path: Path) -> None:
    slow, again, fast = (
        written(tmp_path / name, ttft, 0)
        for name, ttft in (("a", 100_000), ("again", 100_000), ("fast", 90_000))
    )
    same, apart = difference([slow], [again]), difference([slow], [fast])
    assert (same.different, same.unlike, same.basis) == ((), (), "within runs")
    assert names(apart.different) >= {"ttft_s.p50", "e2e_s.p50"}
    assert names(apart.within_noise) >= {"tpot_s.p50"}
    assert apart.warnings == (
        "of one run nobody knows how far another would lie from it: corral probe A B --repeat 5 takes several",
    )
    said = diff_text(apart)
    assert "; more than the noise within these runs, p " in said
    assert "real" not in said
    assert "different" not in said


OF_200 = ("mean", "p50", "p90")


def test_groups_are_held_against_what_lies_between_their_runs(tmp_path: Path) -> None:
    """Each pair of runs alone lies apart by more than the noise within; the groups do not."""
    a = [written(tmp_path / f"a-{at}", ttft, 2 * at) for at, ttft in enumerate((100_000, 110_000, 90_000))]
    b = [
        written(tmp_path / f"b-{at}", ttft, 2 * at + 1) for at, ttft in enumerate((108_000, 92_000, 101_000))
    ]
    assert "ttft_s.p50" in names(difference(a[:1], b[:1]).different)
    found = difference(a, b)
    assert (found.basis, found.different, found.warnings) == ("between runs", (), ())
    assert (found.a, found.b) == (tuple(map(str, a)), tuple(map(str, b)))
    assert names(found.within_noise) == {
        "output_tokens_per_s", "steady.output_tokens_per_s",
        *(f"{name}_s.{of}" for name in ("ttft", "tpot", "e2e", "itl") for of in OF_200),
    }  # fmt: skip
    far = [written(tmp_path / f"far-{at}", 300_000 + 9_000 * at, 2 * at + 1) for at in range(3)]
    assert names(difference(a, far).different) >= {"ttft_s.p50", "ttft_s.p90"}
    assert "; different, p " in diff_text(difference(a, far))
    assert "; not told apart, p " in diff_text(found)


def test_groups_one_after_the_other_are_warned_of_and_so_is_what_was_asked_otherwise(tmp_path: Path) -> None:
    other: dict[str, Any] = {"model": "n", "load": Load(shape="concurrency", concurrency=4)}
    a = [written(tmp_path / f"a-{at}", 100_000, at) for at in range(2)]
    b = [written(tmp_path / f"b-{at}", 100_000, at + 9, **other) for at in range(2)]
    found = difference(b, a)
    assert found.warnings == (
        "one group's runs all lie before the other's, so that whatever drifted between them looks like a difference:"
        " corral probe A B --repeat 5 takes turns",
    )
    assert found.unlike == ("model: n and m", "requests: None and 200", "concurrency: 4 and 2")


def test_what_spoils_a_run_is_said(tmp_path: Path) -> None:
    bad = written(tmp_path / "bad", 100_000, 0, requests=50)
    lines = (bad / "results.jsonl").read_text().replace('"cpu_s":0.1', '"cpu_s":0.99')
    failed = '{"index":99,"scheduled_us":0,"sent_us":0,"done_us":5,"status":500,"error":"http_500"}\n'
    first, rest = lines.split("\n", 1)
    (bad / "results.jsonl").write_text(f"{first}\n{failed}{rest}")
    found = difference([bad], [written(tmp_path / "good", 100_000, 0)])
    assert found.warnings[:2] == (
        f"{bad} must not be used: the probe itself was the bottleneck: 99% of a core; use --processes",
        f"1 of 51 requests of {bad} failed",
    )


WHOLE = "ramp and drain are in it, so that no blocks of the run tell its noise; the steady one is compared"


def test_runs_too_short_to_compare_say_so(tmp_path: Path) -> None:
    a, b = (written(tmp_path / name, 1000, 0, requests=1) for name in ("a", "b"))
    found = difference([a], [b])
    assert (found.different, found.within_noise) == ((), ())
    assert {(each.figure, each.why) for each in found.not_compared if "itl" not in each.figure} == {
        ("output_tokens_per_s", WHOLE),
        *((f"{name}_s.{of}", f"too few requests: 1, and it takes {wanted}")
          for name in ("ttft", "tpot", "e2e")
          for of, wanted in (("mean", "20"), ("p50", "40"), ("p90", "200"), ("p99", "2,000"))),
    }  # fmt: skip


@pytest.mark.parametrize(("requests", "others"), [(40, 24), (24, 24), (19, 200)])
def test_every_figure_of_both_runs_has_its_row(tmp_path: Path, requests: int, others: int) -> None:
    """Fivefold the time to the first token, of few requests: compared by its mean, or the row says why not."""
    a = written(tmp_path / "a", 50_000, 0, requests=requests)
    b = written(tmp_path / "b", 255_000, 0, requests=others)
    found = difference([a], [b])
    compared = {each.figure for each in (*found.different, *found.within_noise)}
    assert compared.isdisjoint(each.figure for each in found.not_compared)
    assert (compared | {each.figure for each in found.not_compared}) - {"steady.output_tokens_per_s"} == {
        "output_tokens_per_s", *(f"{name}_s.{of}" for name in ("ttft", "tpot", "e2e", "itl") for of in OF_ALL),
    }  # fmt: skip
    assert ("ttft_s.mean" in names(found.different)) == (requests >= 20)
    left_out = {each.figure: each for each in found.not_compared}["ttft_s.p50"]
    assert (left_out.a, left_out.b) == pytest.approx((0.0525, 0.2575), rel=0.05)
    assert left_out.why == f"too few requests: {min(requests, others)}, and it takes 40"
    few = [written(tmp_path / f"few-{at}", 50_000, at, requests=8) for at in range(4)]
    groups = difference(few[:2], few[2:])
    assert {each.figure: each.why for each in groups.not_compared}["ttft_s.p50"] == (
        "too few requests: 8, and it takes 10"
    )
    assert "ttft_s.mean" in names(groups.within_noise)


OF_ALL = ("mean", "p50", "p90", "p99")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr("infra.terminal.width", lambda stream: columns)
    a, b = (written(tmp_path / name, 50_000, 0, requests=40) for name in "ab")
    made = difference([a], [b]).model_copy(
        update={"a": ("a",), "b": ("b",), "warnings": ("take care " * 20,)}
    )
    lines = diff_text(made).splitlines()
    assert max(map(len, lines)) <= columns
    assert sum("not compared" in line for line in lines) == len(made.not_compared)


def test_a_runs_figures_are_those_that_more_than_a_few_values_stand_for() -> None:
    """Of 499 requests not the p99, of 49 not the p90, of 9 no percentile, but the mean."""
    found = {count: names_of(count) for count in (500, 499, 50, 49, 10, 9)}
    assert [len(each) for each in found.values()] == [9, 7, 7, 5, 5, 3]
    assert found[49] == ["output_tokens_per_s", "ttft_s.mean", "ttft_s.p50", "tpot_s.mean", "tpot_s.p50"]
    steady = Steady(
        rule="", start_s=0, end_s=1, output_tokens_per_s=120.0, total_tokens_per_s=0, request_per_s=0
    )
    of_steady = figures_of(a_report(steady=steady))
    assert (of_steady["output_tokens_per_s"], of_steady["steady.output_tokens_per_s"]) == (100.0, 120.0)
    assert "steady.output_tokens_per_s" not in figures_of(a_report())


def names_of(succeeded: int) -> list[str]:
    return list(figures_of(a_report(succeeded=succeeded)))


def test_two_groups_in_a_table() -> None:
    far = Change(figure="ttft_s.p50", a=0.1, b=0.15, low=0.04, high=0.06, p=0.0012, could_show=0.051)
    near = Change(figure="output_tokens_per_s", a=0.0, b=5.0, low=-1.0, high=11.0, p=0.41, could_show=None)
    made = Difference(
        a=("one",), b=("two", "three"), basis="between runs", rule="a rule", unlike=("seed: 1 and 2",),
        warnings=("take care",), different=(far,), within_noise=(near,),
        not_compared=(NotCompared(figure="itl_s.p50", a=0.02, b=0.0, why="few"),),
    )  # fmt: skip
    assert diff_text(made).splitlines() == [
        "A        one",
        "B        2 runs: two three",
        "                           A            B    change  could show  B - A, 95 %; verdict",
        "TTFT ms p50           100.00       150.00    +50.0%        5.1%  +40.00 to +60.00; different, p 0.0012",
        "output tokens/s         0.00         5.00         -           -  -1.00 to +11.00; not told apart, p 0.41",
        "ITL ms p50             20.00         0.00   -100.0%           -  not compared: few",
        "unlike   seed: 1 and 2",
        "warning  take care",
        "by       a rule",
    ]


def test_throughput_over_all_is_not_held_against_the_steady_one() -> None:
    steady = Steady(
        rule="", start_s=0, end_s=1, output_tokens_per_s=130.0, total_tokens_per_s=0, request_per_s=0
    )
    found = between([figures_of(a_report(steady=steady))] * 2, [figures_of(a_report(100.0))] * 2)
    assert found["output_tokens_per_s"][:2] == (100.0, 100.0)
    assert "steady.output_tokens_per_s" not in found


def test_what_was_asked_differently() -> None:
    two = RUN.model_copy(
        update={
            "target": Target(base_url="http://b", api="chat"),
            "model": "n",
            "load": RUN.load.model_copy(update={"seed": 2, "requests": 6}),
            "workload": Workload(**LENGTHS | {"input_tokens": Lengths(low=6)}, seed=2),
        }
    )
    assert unlike(RUN, two) == (
        "model: m and n",
        "api: completions and chat",
        "requests: 200 and 6",
        "input_tokens: 10 and 6",
    )
    assert unlike(RUN, RUN) == ()


def test_groups_on_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options may stand behind the second group, as everywhere."""
    a, b, c = (str(written(tmp_path / name, 100_000, at)) for at, name in enumerate("abc"))
    for words in ([a, b, "--", c, "--json"], ["--json", a, b, "--", c]):
        assert corral(["probe", "diff", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["a"], found["b"]) == ([a, b], [c])
    assert corral(["probe", "diff", a, b, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["basis"] == "within runs"
    assert corral(["probe", "diff", a, b, c]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: 3 runs are no two groups.",
        "hint: Divide them: corral probe diff a-1 a-2 a-3 -- b-1 b-2 b-3",
    ]
    assert corral(["probe", "diff", a, b, "--"]) == 2
    assert (
        capsys.readouterr().err.splitlines()[0] == "error: Two groups of runs are compared, and one is empty."
    )
    assert corral(["probe", "diff", a, "--", str(tmp_path / "none")]) == 4
    assert corral(["probe", "diff", a, "--", b, "--", c]) == 2
    assert "and these are more" in capsys.readouterr().err
    for words in ([a, a, "--", b, c], [a, b, "--", b, c], [a, "--", f"{a}/results.jsonl"], [a, a]):
        assert corral(["probe", "diff", *words]) == 2
        assert "is named twice, and one run counts once." in capsys.readouterr().err
    with pytest.raises(UsageError, match="one is empty"):
        difference([], [tmp_path])
