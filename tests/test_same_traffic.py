"""The same traffic on both sides: the share that a prefix cache holds, and requests priced by their own lengths."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from test_compare import DATA, DAY, HAIKU, PLAN, PROBE, SONNET, changed, compared, near

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.measured_load import read_measured
from deploy.costs.operating_point import Promised
from deploy.costs.request_mix import Kind, mix_of_results
from infra.errors import UsageError
from serving.probe.report import ServerSide
from serving.sizing.plan import Plan

HIT = changed(PROBE, server=ServerSide(prefix_cache_hit_rate=0.9))


def test_a_cache_that_the_probe_hit_is_claudes_too() -> None:
    """750 in and 250 out: (675 x 0.10 + 75 x 2 + 250 x 10) / 1,000 a million tokens."""
    found = compared(probe=HIT)
    assert (found.speed.prefix_share, found.claude[0].usd_per_mtok_blended) == (
        Decimal("0.9"),
        Decimal("2.7175"),
    )
    (said,) = [each for each in found.assumptions if each.name == "cache_read"]
    assert (said.value, said.whose, said.source) == (
        "90%",
        "measured",
        "the probe: its server's own counters",
    )
    by_request = changed(PROBE, cached_input_tokens=345_600)  # of 384,000
    assert compared(probe=by_request).claude[0].usd_per_mtok_blended == Decimal("2.7175")


def test_a_share_that_contradicts_the_probe_is_refused() -> None:
    assert compared(probe=HIT, cache_read_fraction=Decimal("0.86")).speed.prefix_share == Decimal("0.9")
    for asked, prefix in (("0.5", " --prefix-tokens 500"), ("0", ""), ("1", " --prefix-tokens 990")):
        with pytest.raises(
            UsageError, match="cannot be cached: of the probe's 90% came from the server's prefix"
        ) as caught:
            compared(probe=HIT, cache_read_fraction=Decimal(asked))
        assert caught.value.hint == (
            "Leave out --cache-read-fraction, or probe with prompts that share as much: corral probe "
            f"http://127.0.0.1:8000{prefix} --input-tokens 1000"
        )


def test_of_a_probe_that_tells_of_no_cache_a_share_is_said_to_be_claudes_alone() -> None:
    """Its speed may be that of prompts which were computed whole, and cannot be made another."""
    said = (
        "ONE-SIDED: 60% of the prompts are cached at Claude as --cache-read-fraction says; what came from the probed "
        "server's cache it did not tell, and its speed is taken as it was measured. Without that option neither side "
        "has a cache; or probe with such prompts: corral probe http://127.0.0.1:8000 --prefix-tokens 600 "
        "--input-tokens 1000"
    )
    for probe, asked, is_said in (
        (PROBE, "0.6", True),
        (PROBE, "0", False),
        (PROBE, None, False),
        (HIT, "0.9", False),
    ):
        found = compared(probe=probe, cache_read_fraction=asked and Decimal(asked))
        sides = "at Claude alone: the probe tells nothing of one here" if is_said else "on both sides"
        (line,) = [each.means for each in found.assumptions if each.name == "cache_read"]
        assert (said in found.warnings, line.endswith(sides)) == (is_said, True)


def test_more_than_all_of_a_prompt_is_not_cached() -> None:
    with pytest.raises(UsageError, match="add up to more than 1"):
        compared(probe=HIT, cache_write_1h_fraction=Decimal("0.2"))


def planned(folder: Path, words: str) -> Plan:
    assert run([*f"size scout --on p5.48xlarge {words} -o".split(), str(folder / "p.json")]) == 0
    return Plan.read(folder / "p.json")


def test_a_share_that_was_said_is_of_the_planned_machine_too(tmp_path: Path) -> None:
    """As fast as a plan that was made with it."""
    cold = planned(tmp_path, "--input-tokens 20000 --output-tokens 500")
    warm = planned(tmp_path, "--input-tokens 20000 --output-tokens 500 --prefix-cache-hit-rate 0.9")
    said = compared(plan=cold, probe=None, cache_read_fraction=Decimal("0.9"))
    made = compared(plan=warm, probe=None)
    assert said.speed == made.speed
    assert said.claude == made.claude
    assert compared(
        plan=cold, probe=None, cache_read_fraction=Decimal("0.999")
    ).speed.prefix_share == Decimal("0.999")
    uncached = compared(plan=cold, probe=None)
    assert said.speed.output_tokens_per_s > 2 * uncached.speed.output_tokens_per_s
    assert compared(plan=warm, probe=None, cache_read_fraction=Decimal(0)).claude == uncached.claude


def test_an_hour_of_cache_costs_twice_the_input() -> None:
    """0.7 x 4 + 0.3 x 2 of 750 tokens, and 250 x 10."""
    found = compared(cache_write_1h_fraction=Decimal("0.7"))
    assert found.claude[0].usd_per_mtok_blended == Decimal("5.05")


def test_what_a_model_does_not_cache_is_priced_uncached() -> None:
    """Of 750 tokens half are below the 512 that Haiku 5.5 keeps, 90 % are above."""
    cold = compared(claude_models=(HAIKU,)).claude[0]
    half, most = (
        compared(claude_models=(HAIKU,), cache_read_fraction=Decimal(share)).claude[0]
        for share in ("0.5", "0.9")
    )
    assert half.usd_per_mtok_blended == cold.usd_per_mtok_blended > most.usd_per_mtok_blended
    assert half.warnings == ("Claude Haiku 5.5 caches prompts from 512 tokens on; 375 are not cached.",)


def test_of_requests_of_two_lengths_each_is_cached_by_its_own() -> None:
    """Haiku 5.5 keeps half of 1,900 tokens and not of 100: 950 x 0.10 + 950 x 0.01 + 100 x 0.10, and one out."""
    both = ("long=50%,1900/1", "short=50%,100/1")
    found = compared(probe=None, claude_models=(HAIKU,), classes=both, cache_read_fraction=Decimal("0.5"))
    assert near((found.claude[0].usd_per_request - Decimal("0.0000005")) * 2_000_000, "114.5")
    assert found.claude[0].warnings == (
        "Claude Haiku 5.5 caches prompts from 512 tokens on; of 50% of the requests 50 on average are not cached.",
    )


LONG: dict[str, Any] = {"classes": ("short=90%,20k/500", "long=10%,300k/500")}


def test_requests_of_two_lengths_are_not_their_average(tmp_path: Path) -> None:
    """900,000 x (20,000 x 0.10 + 500 x 0.50) and 100,000 x (300,000 x 0.50 + 500 x 2.50), not 48,000 tokens each."""
    plan = planned(tmp_path, "--input-tokens 48000 --output-tokens 500")
    found = compared(plan=plan, probe=None, claude_models=(HAIKU,), **LONG)
    assert near(found.claude[0].usd_per_request * 1_000_000, "17150")
    assert near(found.claude[0].usd_per_mtok_blended * 48_500, "17150")
    averaged = compared(plan=plan, probe=None, claude_models=(HAIKU,))
    assert near(averaged.claude[0].usd_per_request * 1_000_000, "5050")


def test_lengths_that_are_drawn_are_priced_along_all_of_them(tmp_path: Path) -> None:
    """Of 50,000 to 150,000 tokens half are above Haiku's step: 50,000 x (75,000 x 0.10 + 125,000 x 0.50) / 100,000."""
    plan = planned(tmp_path, "--input-tokens 100000 --output-tokens 1")
    found = compared(plan=plan, probe=None, claude_models=(HAIKU,), classes=("all=100%,50k-150k/1",))
    assert near(found.claude[0].usd_per_request, "0.0350")


def test_classes_that_are_not_the_probes_requests_are_refused() -> None:
    with pytest.raises(UsageError, match=r"have 48,500 tokens on average, those of the probe 1,000\."):
        compared(**LONG)
    with pytest.raises(UsageError, match="What a comparison promises is promised to all"):
        compared(classes=("all=100%,750/250,ttft=1",))


def results(folder: Path, requests: list[dict[str, Any]], **report: Any) -> Path:
    """A probe.json, and beside it the results of these requests."""
    run_line = {
        "document": "probe-results", "schema_version": 1, "target": {"base_url": "http://x"},
        "model": "llama-4-scout", "load": {"shape": "concurrency", "concurrency": 64, "requests": 9},
        "workload": {"input_tokens": {"low": 9}, "output_tokens": {"low": 9}}, "slo": {}, "server": {},
        "started_at": "2026-11-24T02:00:00Z",
    }  # fmt: skip
    lines = [run_line, *({"index": n, "scheduled_us": 0, "sent_us": 0, "done_us": 9, "gaps_us": [1, 1], **each}
                         for n, each in enumerate(requests)), {"end": {"duration_us": 9, "clients": []}}]  # fmt: skip
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = [each for each in requests if "error" not in each]
    sums = {
        "succeeded": len(told),
        "input_tokens": sum(each["input_tokens"] for each in told),
        "output_tokens": sum(each.get("output_tokens", 2) for each in told),
    }
    changed(PROBE, **{**sums, **report}).write(folder / "probe.json")
    return folder / "probe.json"


ASKED: list[dict[str, Any]] = [
    *[{"input_tokens": 20_000, "output_tokens": 500}] * 9,
    {"input_tokens": 300_000, "output_tokens": 500},
    {"input_tokens": 7, "error": "timeout"},
]


def test_the_results_beside_a_probe_are_priced_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results(tmp_path, ASKED)
    command = ["compare", "--plan", str(DATA / "plan.json"), "--probe", str(path), "--claude-model", HAIKU]
    assert run([*command, "--token-ratio", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["claude"][0]["usd_per_request"] == pytest.approx(0.01715)
    (said,) = [each for each in found["assumptions"] if each["name"] == "tokens_per_request"]
    assert said["means"].endswith("priced one by one, of 2 lengths")


def test_results_say_what_of_each_prompt_was_cached(tmp_path: Path) -> None:
    asked = [
        {"input_tokens": 9, "cached_tokens": 4},
        {"input_tokens": 9, "output_tokens": 3, "cached_tokens": 11},
    ]
    measured = read_measured(results(tmp_path, asked), Promised(), allow_invalid=False)
    nine, two, three = Decimal(9), Decimal(2), Decimal(3)
    assert measured.mix == (
        Kind(Decimal(1), nine, two, Decimal(4)),
        Kind(Decimal(1), nine, three, nine),  # no more than there is
    )


def test_prompts_that_are_cached_stay_so_beside_others_that_are_not(tmp_path: Path) -> None:
    """Of Haiku 4.5: nine prompts of 10,000 that nobody sent before, one of which 9,000 were read, one of just 4,096.

    9 x 10,000 + (1,000 + 9,000 x 0.10) + (3 + 4,096 x 0.10) + 11 x 100 x 5 millionths of a dollar.
    """
    asked = [
        *[{"input_tokens": 10_000, "output_tokens": 100, "cached_tokens": 0}] * 9,
        {"input_tokens": 10_000, "output_tokens": 100, "cached_tokens": 9_000},
        {"input_tokens": 4_099, "output_tokens": 100, "cached_tokens": 4_096},
    ]
    measured = read_measured(results(tmp_path, asked), Promised(), allow_invalid=False)
    question = Question(claude_models=("claude-haiku-4-5",), token_ratio=Decimal(1))
    (side,) = compare(PLAN, measured, question, DAY).claude
    assert near(side.usd_per_request * 11 * 1_000_000, "97812.6")
    assert side.warnings == ()


@pytest.mark.parametrize(
    ("requests", "report"),
    [
        (ASKED, {"started_at": "2026-11-24T03:00:00Z"}),  # of another run
        (ASKED, {"input_tokens": 1}),
        (ASKED, {"output_tokens": 1}),
        (ASKED, {"succeeded": 9}),
    ],
)
def test_results_of_another_run_are_left_alone(
    requests: list[dict[str, Any]], report: dict[str, Any], tmp_path: Path
) -> None:
    path = results(tmp_path, requests, **report)
    assert read_measured(path, Promised(), allow_invalid=False).mix is None


def test_damaged_results_are_left_alone(tmp_path: Path) -> None:
    path = results(tmp_path, ASKED)
    path.with_name("results.jsonl").write_text("nothing\n")
    assert read_measured(path, Promised(), allow_invalid=False).mix is None


def test_thinking_is_output_of_claudes_alone() -> None:
    """500 tokens more of 10 dollars a million, of a request of 1,000 tokens."""
    plain, thinks = compared(), compared(thinking_tokens=Decimal(500))
    assert thinks.self_hosted == plain.self_hosted
    assert thinks.claude[0].usd_per_mtok_blended - plain.claude[0].usd_per_mtok_blended == 5


def test_what_is_asked_again_is_served_and_paid_twice() -> None:
    again = compared(retries=Decimal("0.4"), claude_retries=Decimal("0.05"))
    assert near(again.self_hosted.capacity_mtok_per_month, "11262.857")  # 15,768 / 1.4
    assert again.claude[0].usd_per_mtok_blended == Decimal("4.2")
    assert again.speed.how.endswith("; 40% of it is asked for again")


def test_a_volume_above_the_fleet_is_served_where_claude_takes_its_part() -> None:
    """Of 20,000 M here 10,000 M of the 15,768 M; all at Claude $80,000."""
    found = compared(mtok_per_month=Decimal(20_000), claude_share=Decimal("0.5"))
    (mixed,) = found.hybrid
    assert (mixed.mtok_per_month, mixed.all_claude_usd, mixed.hybrid_usd) == (
        Decimal(20_000), Decimal(80_000), Decimal("44140.56"),
    )  # fmt: skip
    assert near(found.self_hosted.utilisation, "0.634196")
    with pytest.raises(UsageError, match="16,000 M tokens a month are more than the 15,768 M"):
        compared(mtok_per_month=Decimal(20_000), claude_share=Decimal("0.2"))
    with pytest.raises(UsageError, match="20,000 M tokens a month are more"):
        compared(mtok_per_month=Decimal(20_000), claude_share=Decimal(1))


def test_a_plan_for_other_requests_is_predicted_for_these() -> None:
    """The plan of 1,000 and 1,000 tokens is asked for 750 and 250: more of them, and more tokens a second in all."""
    found = compared(probe=None, classes=("a=100%,750/250",), claude_models=(SONNET,))
    own = compared(probe=None, claude_models=(SONNET,))
    assert (found.speed.input_tokens_per_request, found.speed.output_tokens_per_request) == (
        Decimal(750),
        Decimal(250),
    )
    assert found.speed.total_tokens_per_s > own.speed.total_tokens_per_s
    assert found.claude[0].usd_per_mtok_list_blended == Decimal(4)
    assert PLAN.workload.input_tokens == 1000


def test_results_of_another_run_are_no_mix(tmp_path: Path) -> None:
    path = results(tmp_path, ASKED)
    assert mix_of_results(path.with_name("results.jsonl"), PROBE) is None
