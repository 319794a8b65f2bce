"""The comparison: break-even or never, what would change it, what it rests on, and what is refused."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Comparison
from deploy.costs.measured_load import Measured
from deploy.report.comparison_text import comparison_text
from deploy.report.markdown import markdown
from deploy.report.sections import title
from infra.errors import ProbeInvalid, UsageError
from serving.probe.report import Interval, ProbeReport, Steady
from serving.sizing.plan import Plan, PlanMachine
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

DATA = Path(__file__).parent / "data" / "compare"
DAY = date(2026, 11, 24)
PLAN = Plan.read(DATA / "plan.json")  # Scout INT4 on g5.12xlarge at $5.672/h
PROBE = ProbeReport.read(DATA / "probe.json")  # 1,500 output tokens/s, 750 in and 250 out a request
SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
ALONE = {"storage_gb": Decimal(0), "public_addresses": Decimal(0)}
"""The machine alone: what EC2 bills beside it is test_beside_hours's."""


def compared(plan: Plan = PLAN, probe: ProbeReport | None = PROBE, **question: Any) -> Comparison:
    asked = {"claude_models": (SONNET,), "token_ratio": Decimal(1)} | ALONE | question
    return compare(plan, Measured(probe) if probe else None, Question.model_validate(asked), DAY)


def near(found: Decimal, wanted: str) -> bool:
    return round(found, len(wanted.partition(".")[2])) == Decimal(wanted)


def changed(document: Any, **values: Any) -> Any:
    return document.model_copy(update=values)


def side(found: Comparison, model: str) -> ClaudeSide:
    return next(each for each in found.claude if each.model == model)


def test_break_even_against_sonnet() -> None:
    found = compared()
    assert near(found.break_even.mtok_per_month, "1035.14")
    assert near(found.break_even.required_utilisation, "0.06565")
    assert (found.break_even.feasible, found.answer, found.what_would_change_it[1:]) == (True, "cheaper", ())
    assert found.verdict == (
        "Cheaper than Claude Sonnet 5.5, counting nobody's time (--ops-fte): at 30% utilisation a million tokens in "
        "and out costs $0.8753 here and $4.00 there; it stays so above 6.6%. It is the cheaper one with a probability "
        "of over 99% (ranges of speed, price). Capacity: 1,500 output tokens/s a machine, measured, 64 at once, where "
        "it is saturated."
    )


def test_people_double_what_break_even_takes() -> None:
    found = compared(ops_fte=Decimal("0.25"))
    assert near(found.break_even.mtok_per_month, "2076.81")
    assert near(found.break_even.required_utilisation, "0.13171")


def test_never_against_haiku_and_what_would_change_it() -> None:
    found = compared(claude_models=(HAIKU, SONNET))
    assert near(found.break_even.mtok_per_month, "20702.8")
    assert near(found.self_hosted.capacity_mtok_per_month, "15768")
    assert (found.break_even.feasible, found.answer) == (False, "never")
    assert found.verdict == (
        "NEVER against Claude Haiku 5.5, counting nobody's time (--ops-fte): at 30% utilisation a million tokens in "
        "and out costs $0.8753 here, even fully busy all month $0.2626, and $0.20 there. It is the cheaper one with a "
        "probability of under 1% (ranges of speed, price). Capacity: 1,500 output tokens/s a machine, measured, "
        "64 at once, where it is saturated."
    )
    assert found.what_would_change_it == (
        "Speed: 6,565 output tokens/s a machine at 30% utilisation, or 1,969 (7,878 with input) fully busy; "
        "now 1,500.",
        "Price: at most $1.30 an hour for everything at 30% utilisation, $4.32 fully busy; now $5.67.",
        "More such machines do not help: each costs more than the most it can serve is worth there.",
        "Another Claude, were Claude Haiku 5.5 not good enough for the work: Claude Sonnet 5.5 (above 6.6%).",
        "The same model at AWS Bedrock (live, read 2026-11-23, never called) costs $0.2925 a million tokens: cheaper "
        "than here at 30%; Nscale (through Hugging Face) (listed, read 2026-11-23, never called) asks $0.14. Prompts "
        "leave your building for it.",
    )


def test_more_machines_spread_what_does_not_grow_with_them() -> None:
    costly: dict[str, Any] = {"ops_fte": Decimal(5), "utilisation": Decimal(1)}
    found = compared(**costly, claude_models=(SONNET,), price_per_hour=Decimal(70))
    assert found.answer == "never"
    (text,) = [text for text in found.what_would_change_it if text.startswith("Size:")]
    count = int(text.removeprefix("Size: it never pays with so few. ").split()[0])
    enough = compared(**costly, replicas=Decimal(count), price_per_hour=Decimal(70))
    too_few = compared(**costly, replicas=Decimal(count - 1), price_per_hour=Decimal(70))
    assert (enough.break_even.feasible, too_few.break_even.feasible) == (True, False)


def test_the_speed_that_is_said_to_be_needed_is_enough() -> None:
    never = compared(claude_models=(HAIKU,))
    assert not never.break_even.feasible
    needed = PROBE.output_tokens_per_s * float(never.break_even.required_utilisation) * 1.0001
    assert PROBE.steady is not None
    quicker = changed(PROBE, steady=changed(PROBE.steady, output_tokens_per_s=needed))
    assert compared(probe=quicker, claude_models=(HAIKU,)).break_even.feasible


def test_usage_cost_is_a_lower_bound_beside_three_utilisations() -> None:
    own = compared().self_hosted
    assert near(own.usage_usd_per_mtok_output, "1.05037")
    assert near(own.usd_per_mtok_output, "3.50123")
    assert [(float(each.utilisation), each.note) for each in own.at] == [
        (0.1, ""),
        (0.3, ""),
        (0.6, ""),
        (1.0, "never idle: a lower bound, no forecast"),
    ]
    assert all(each.usd_per_mtok_blended >= own.usage_usd_per_mtok_blended for each in own.at)


def test_claude_list_prices_at_the_probes_mix() -> None:
    models = (SONNET, HAIKU, "claude-opus-5-5", "claude-haiku-4-5")
    listed = [each.usd_per_mtok_list_blended for each in compared(claude_models=models).claude]
    assert listed == [Decimal("4.00"), Decimal("0.20"), Decimal("8.00"), Decimal("2.00")]


def test_the_token_ratio_scales_claudes_side_alone() -> None:
    one, half_more = compared(), compared(token_ratio=Decimal("1.5"))
    assert half_more.self_hosted == one.self_hosted
    assert half_more.claude[0].usd_per_mtok_blended == Decimal("1.5") * one.claude[0].usd_per_mtok_blended
    assert half_more.claude[0].usd_per_mtok_list_blended == one.claude[0].usd_per_mtok_list_blended


def test_the_default_ratio_is_a_range_by_tokenizer_and_said() -> None:
    found = compared(token_ratio=None, claude_models=(SONNET, "claude-haiku-4-5"))
    ranges = {
        each.model: (each.token_ratio.low, each.token_ratio.base, each.token_ratio.high)
        for each in found.claude
    }
    assert ranges == {
        SONNET: (Decimal("1.2"), Decimal("1.5"), Decimal("1.7")),
        "claude-haiku-4-5": (Decimal("1.1"), Decimal("1.23"), Decimal("1.5")),
    }
    (said,) = [each for each in found.assumptions if each.name == "token_ratio"]
    assert (said.value, said.whose, said.checked_on) == (
        "1.23 (range 1.1 to 1.5)",
        "ours",
        date(2026, 11, 23),
    )


def test_a_kind_of_text_sets_the_ratio() -> None:
    assert compared(token_ratio=None, content="python").claude[0].token_ratio.base == Decimal("1.68")


def test_where_the_range_of_ratios_turns_the_answer_it_says_so() -> None:
    found = compared(token_ratio=None, claude_models=(HAIKU,))
    assert "it pays above 87.5% (77.2% to 109% within the range of token ratios)." in found.verdict


def test_haikus_step_is_taken_by_the_prompt_as_claude_counts_it() -> None:
    """90,000 Llama tokens are below the step, and above it once they are 1.5 times as many."""
    long = changed(PROBE, input_tokens=90_000, output_tokens=100, succeeded=1)
    below = compared(probe=long, claude_models=(HAIKU,)).claude[0]
    above = compared(probe=long, claude_models=(HAIKU,), token_ratio=Decimal("1.5")).claude[0]
    assert near(above.usd_per_mtok_blended / below.usd_per_mtok_blended, "7.5000")


def test_near_the_step_the_average_prompt_is_said_to_hide_dearer_ones() -> None:
    near_it = changed(PROBE, input_tokens=60_000, output_tokens=100, succeeded=1)
    far_below = changed(PROBE, input_tokens=40_000, output_tokens=100, succeeded=1)
    said = (
        "Claude Haiku 5.5 asks more for requests above 100,000 prompt tokens. The average prompt has 60,000: where "
        "some are longer, Claude costs more than is said here."
    )
    assert said in compared(probe=near_it, claude_models=(HAIKU,)).warnings
    assert said not in compared(probe=near_it, claude_models=(SONNET,)).warnings
    assert not [
        text for text in compared(probe=far_below, claude_models=(HAIKU,)).warnings if "prompt" in text
    ]


def test_a_batch_and_a_cache_make_claude_cheaper() -> None:
    found = compared(batch=True, cache_read_fraction=Decimal("0.8"))
    # per request: (150 x 2 + 600 x 0.10 + 250 x 10) / 2
    assert found.claude[0].usd_per_request == Decimal("0.00143")


def test_what_is_too_short_for_claudes_cache_is_priced_in_full() -> None:
    """Half of 750 tokens is less than the 512 that Sonnet 5.5 keeps."""
    found = compared(batch=True, cache_read_fraction=Decimal("0.5"), claude_models=(SONNET,))
    # per request: (750 x 2 + 250 x 10) / 2
    assert found.claude[0].usd_per_request == Decimal("0.002")
    assert [text for text in found.warnings if "caches" in text] == [
        "Claude Sonnet 5.5 caches prompts from 512 tokens on; 375 are not cached."
    ]


def test_claude_in_the_eu_and_on_another_day() -> None:
    """A tenth dearer on Bedrock there; a cache read cost twice as much until 2026-10-07."""
    cached = Decimal("0.8")
    eu = compared(claude_models=(SONNET, f"eu.anthropic.{SONNET}"), cache_read_fraction=cached)
    assert [(each.model, each.name, each.usd_per_request) for each in eu.claude] == [
        (SONNET, "Claude Sonnet 5.5", Decimal("0.00286")),
        (f"bedrock/eu/{SONNET}", "Claude Sonnet 5.5 (Amazon Bedrock, eu)", Decimal("0.003146")),
    ]
    said = {each.name: each.checked_on for each in eu.assumptions if each.name.startswith("claude_prices")}
    assert said == {"claude_prices": date(2026, 11, 23), "claude_prices_bedrock": date(2026, 11, 29)}
    then = compared(claude_models=(SONNET,), cache_read_fraction=cached, at=date(2026, 10, 6))
    assert then.claude[0].usd_per_request == Decimal("0.00292")
    assert "Claude's prices are those of 2026-10-06, as --at says." in then.warnings


def test_what_corral_compares_with_of_its_own_accord_is_sold_there_and_then() -> None:
    """Haiku 5.5 was first sold on 2026-10-07; on Bedrock only some models have the price of a batch."""
    then = compared(at=date(2026, 10, 1), claude_models=())
    assert [each.model for each in then.claude] == [SONNET, "claude-opus-5-5"]
    batch = compared(
        claude_models=("claude-sonnet-4-5",),
        claude_platform="bedrock",
        batch=True,
        claude_share=Decimal("0.2"),
    )
    assert [each.claude for each in batch.hybrid] == ["Claude Sonnet 4.5 (Amazon Bedrock, global)"]
    with pytest.raises(UsageError):
        compared(at=date(2026, 9, 1), claude_models=())


def test_the_reference_is_the_cheapest_that_can_be_bought() -> None:
    found = compared(claude_models=("claude-3-haiku", SONNET, "claude-opus-5-5"))
    assert found.break_even.against == "Claude Sonnet 5.5"
    assert side(found, "claude-3-haiku").status == "retired"
    assert [text for text in found.warnings if "RETIRED" in text] == [
        "RETIRED: Claude 3 Haiku was retired on 2026-04-20; requests for it to the Claude API fail. Its successor is "
        "claude-haiku-5-5."
    ]


def test_hosted_offers_are_of_the_same_model_and_the_ended_last() -> None:
    rows = {each.host: (each.status, each.usd_per_mtok_blended) for each in compared().hosted}
    assert rows["AWS Bedrock"] == ("live", Decimal("0.2925"))
    assert list(rows.values())[-2:] == [("ended", Decimal("0.1675")), ("ended", Decimal("0.2825"))]
    assert "Databricks" not in rows  # it sells Maverick only


def test_an_offer_whose_end_has_come_is_over() -> None:
    later = compare(PLAN, Measured(PROBE), Question(token_ratio=Decimal(1)), date(2027, 3, 30))
    assert {each.host: each.status for each in later.hosted}["AWS Bedrock"] == "ended"


def test_a_volume_becomes_a_utilisation() -> None:
    found = compared(mtok_per_month=Decimal(1000), claude_share=Decimal("0.2"))
    assert near(found.self_hosted.utilisation, "0.06342")
    assert near(found.self_hosted.usd_per_mtok_blended, "4.14")
    assert found.answer == "too close to call"
    (mixed,) = found.hybrid
    assert (mixed.all_claude_usd, mixed.hybrid_usd) == (Decimal("4000"), Decimal("4940.56"))
    assert mixed.tie_mtok_per_month is not None
    assert near(mixed.tie_mtok_per_month, "1293.925")
    assert mixed.feasible


def test_a_cascade_pays_again_for_what_is_asked_again() -> None:
    found = compared(mtok_per_month=Decimal(3000), claude_share=Decimal("0.2"), escalation=Decimal("0.15"))
    assert [(each.reaches_claude, each.hybrid_usd) for each in found.hybrid] == [
        (Decimal("0.32"), Decimal("7980.56"))
    ]


def test_more_than_the_machine_can_serve_is_refused_with_the_number_that_can() -> None:
    with pytest.raises(UsageError) as caught:
        compared(mtok_per_month=Decimal(20_000))
    assert (caught.value.message, caught.value.hint) == (
        "20,000 M tokens a month are more than the 15,768 M that 1 of these machines can serve, taken at 64 at once.",
        "It takes 2 of them: --replicas 2",
    )
    with pytest.raises(UsageError) as caught:
        compared(probe=changed(PROBE, load={"concurrency": 16}), mtok_per_month=Decimal(20_000))
    assert (caught.value.message.rpartition("serve, ")[2], caught.value.hint) == (
        "taken at 16 at once.",
        "It takes 2 of them: --replicas 2; at another load they may serve more, which a sweep finds",
    )
    assert compared(mtok_per_month=Decimal(20_000), replicas=Decimal(2)).self_hosted.utilisation < 1


def test_of_more_machines_than_are_compared_no_number_is_offered() -> None:
    with pytest.raises(UsageError) as caught:
        compared(mtok_per_month=Decimal(99_999_999))
    assert caught.value.hint == (
        "It takes 6,342 of them, and no more than 1,000 are compared: say a part of the volume"
    )


def test_sensitivity_is_ordered_by_what_matters() -> None:
    rows = compared(token_ratio=None).sensitivity
    assert [row.what for row in rows] == [
        "people who run it, full-time jobs",
        "USD an hour, everything kept up",
        "Claude tokens per Llama 4 token",
        "output tokens/s of one machine (measured)",
    ]
    base = {row.required_utilisation_base for row in rows}
    assert len(base) == 1
    people = rows[0]
    more = compared(token_ratio=None, ops_fte=Decimal("0.5"))
    assert people.required_utilisation_high == more.break_even.required_utilisation


def test_a_price_of_nothing_is_none() -> None:
    """A document alone can say it: no break-even is reckoned with it."""
    assert PLAN.price is not None
    free = changed(PLAN, price=changed(PLAN.price, usd_per_hour=Decimal(0)))
    with pytest.raises(UsageError, match="Nobody said what g5.12xlarge costs"):
        compared(free)
    assert compared(free, price_per_hour=Decimal(2)).self_hosted.usd_per_month == 1460


def test_an_owned_machine_needs_a_price() -> None:
    mine = changed(PLAN, price=None, machine=changed(PLAN.machine, name="4xA10G", instance_type=None))
    with pytest.raises(UsageError, match="Nobody said what 4xA10G costs"):
        compared(plan=mine)
    rented = compared(plan=mine, price_per_hour=Decimal("5.672"))
    assert near(rented.break_even.mtok_per_month, "1035.14")
    bought = compared(plan=mine, capex_usd=Decimal(96_000), power_kw=Decimal(1), usd_per_kwh=Decimal("0.1"))
    assert bought.self_hosted.bill.hardware_usd == 2000
    assert bought.self_hosted.bill.rent_usd == 0
    assert {
        each.name: each.whose
        for each in bought.assumptions
        if each.name in ("capex_usd", "pue", "life_years")
    } == {
        "capex_usd": "yours",
        "pue": "ours",
        "life_years": "ours",
    }


def test_the_users_price_goes_before_the_lists_and_an_old_list_says_so() -> None:
    assert compared().warnings == (
        "The machine's price is 127 days old: check it, and give today's with --price-per-hour.",
    )
    mine = compared(price_per_hour=Decimal("4.5"))
    assert (mine.self_hosted.usd_per_hour, mine.warnings) == (Decimal("4.5"), ())
    assert mine.assumptions[0].whose == "yours"


def test_a_toy_on_a_cpu_is_said_loudly_first() -> None:
    cpu = PlanMachine(name="local", gpu="cpu", gpu_count=0)
    toy = changed(PLAN, model="tiny", weights_bytes=4_000_000, machine=cpu, price=None)
    found = compared(plan=toy, price_per_hour=Decimal(1))
    assert found.warnings[:2] == (
        "TOY MODEL: tiny is not Scout or Maverick. The speed was measured on a toy model; "
        "the dollars below mean nothing but the arithmetic.",
        "NO GPU: the machine is a CPU. Its speed says nothing about a machine you would rent.",
    )
    assert found.hosted == ()


def test_a_large_checkpoint_folder_is_no_toy() -> None:
    folder = changed(PLAN, model="Llama-4-Scout-mine", weights_bytes=65_000_000_000)
    assert not [text for text in compared(plan=folder).warnings if text.startswith("TOY")]


@pytest.mark.parametrize(
    ("model", "weights_bytes", "is_toy"),
    [
        ("scout", 0, False),  # a plan of an older corral does not say how large
        ("scout", 19_999_999_999, True),
        ("scout", 20_000_000_000, False),
        ("mine", 0, True),
    ],
)
def test_what_is_small_is_a_toy(model: str, weights_bytes: int, is_toy: bool) -> None:
    found = compared(plan=changed(PLAN, model=model, weights_bytes=weights_bytes)).warnings
    assert any(text.startswith("TOY") for text in found) == is_toy


def test_an_invalid_probe_is_refused_unless_asked_for_and_then_marked() -> None:
    invalid = changed(PROBE, valid=False, invalid_because=("the client used 98% of its core",))
    with pytest.raises(ProbeInvalid, match=r"must not be used: the client used 98% of its core\."):
        compared(probe=invalid)
    assert compared(probe=invalid, allow_invalid=True).warnings[0] == (
        "INVALID PROBE, used because of --allow-invalid: the client used 98% of its core."
    )


def test_a_probe_of_another_model_is_refused_even_when_invalid_ones_are_allowed() -> None:
    with pytest.raises(UsageError, match=r"The probe asked other, the plan serves llama-4-scout\."):
        compared(probe=changed(PROBE, model="other"), allow_invalid=True)


def test_a_probe_without_tokens_has_no_price_even_when_allowed() -> None:
    with pytest.raises(ProbeInvalid, match="no succeeded request"):
        compared(probe=changed(PROBE, succeeded=0, output_tokens=0, valid=False), allow_invalid=True)


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        (
            {"load": {"request_rate": 2.0}},
            "The probe sent requests at a fixed rate, so it measured that rate",
        ),
        ({"errors": {"http 500": 3}}, "3 of 512 requests failed; only succeeded tokens are counted."),
        ({"steady": None}, "The probe has no steady part; ramp and drain are in the speed"),
        ({"interrupted": True}, "The probe was interrupted"),
    ],
)
def test_what_the_probe_gives_to_doubt_is_said(values: dict[str, Any], starts: str) -> None:
    assert compared(probe=changed(PROBE, **values)).warnings[0].startswith(starts)


def test_of_a_probe_it_is_said_which_part_is_the_speed() -> None:
    said = [compared(probe=changed(PROBE, steady=steady)).speed.how for steady in (PROBE.steady, None)]
    assert [how.partition(" of ")[0] for how in said] == ["steady part", "whole run, ramp and drain included"]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"machine": "g5.12xlarge", "precision": "int4"}, ""),
        ({"machine": "g5.12xlarge"}, ", by the plan's word: the probe names neither"),
        ({"precision": "int4"}, ", by the plan's word: the probe names neither"),
        ({}, ", by the plan's word: the probe names neither"),
    ],
    ids=["both", "machine", "precision", "neither"],
)
def test_whose_word_it_is_what_was_probed(named: dict[str, str], told: str) -> None:
    found = compared(probe=changed(PROBE, **named))
    (speed,) = [each for each in found.assumptions if each.name == "output_tokens_per_s"]
    assert speed.means == f"scout int4 on g5.12xlarge{told}, 64 at once, p95 TTFT 0.600 s, p95 TPOT 0.045 s"


def test_without_a_probe_the_plans_prediction_is_used_and_labelled() -> None:
    found = compared(probe=None)
    assert (found.speed.basis, float(found.speed.output_tokens_per_s)) == ("modelled", 491.2)
    assert found.warnings[0].startswith("NOT MEASURED")
    assert [row for row in found.sensitivity if "modelled" in row.what][0].low == "246"


def test_every_assumption_says_whose_it_is() -> None:
    found = compared(utilisation=Decimal("0.5"), storage_gb=None, public_addresses=None)
    whose = {each.name: each.whose for each in found.assumptions}
    placeholder = "our placeholder, not your value"
    assert whose == {
        "price_per_hour": "list price",
        "utilisation": "yours",
        "token_ratio": "yours",
        "output_tokens_per_s": "measured",
        "tokens_per_request": "measured",
        "hours_per_month": "ours",
        "replicas": placeholder,
        "ops_fte": placeholder,
        "storage_gb": "ours",
        "egress_gb": placeholder,
        "other_usd_per_month": placeholder,
        "usd_per_storage_gb_month": "list price",
        "public_addresses": "ours",
        "claude_prices": "list price",
        "cache_read": placeholder,
        "claude_cache_write": placeholder,
        "claude_output_ratio": placeholder,
        "not_corrected": "ours",
    }


def test_a_comparison_is_read_back_equal(tmp_path: Path) -> None:
    found = compared(
        claude_models=(), token_ratio=None, claude_share=Decimal("0.3"), escalation=Decimal("0.1")
    )
    found.write(tmp_path / "comparison.json")
    assert Comparison.read(tmp_path / "comparison.json") == found


def command(*more: str) -> list[str]:
    return ["compare", "--plan", str(DATA / "plan.json"), "--probe", str(DATA / "probe.json"), *more]


def test_the_command_prints_the_machine_interface(capsys: pytest.CaptureFixture[str]) -> None:
    alone = ("--storage-gb", "0", "--public-addresses", "0")
    assert (
        run(command("--claude-model", HAIKU, "--token-ratio", "1", "--utilisation", "0.5", "--json", *alone))
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    own = {
        name: found["self_hosted"][name] for name in ("usd_per_hour", "usd_per_mtok_output", "utilisation")
    }
    assert own == {"usd_per_hour": 5.672, "usd_per_mtok_output": pytest.approx(2.10074), "utilisation": 0.5}
    (claude,) = found["claude"]
    assert (claude["model"], claude["usd_per_mtok_blended"], claude["status"]) == (HAIKU, 0.2, "live")
    assert found["break_even"]["feasible"] is False
    assert found["break_even"]["required_utilisation"] == pytest.approx(1.31296, abs=1e-5)
    assert found["verdict"].startswith("NEVER against Claude Haiku 5.5")
    assert {"name", "means", "value", "whose", "source", "checked_on"} == set(found["assumptions"][0])


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--utilisation", "nan"], 2, "--utilisation nan is no finite number."),
        (["--utilisation", "1.1"], 2, "--utilisation 1.1 is not between 0.001 and 1."),
        (["--price-per-hour", "-1"], 2, "--price-per-hour -1 is not between 0.0001 and 100,000."),
        (["--price-per-hour", "inf"], 2, "--price-per-hour inf is no finite number."),
        (["--token-ratio", "0"], 2, "--token-ratio 0 is not between 0.2 and 5."),
        (["--token-ratio", "1.5", "--content", "c"], 2, "A kind of text already sets the ratio."),
        (["--content", "klingon"], 2, "--content cannot be 'klingon'."),
        (["--claude-model", "gpt-4"], 2, "corral has no price for a Claude model called 'gpt-4'."),
        (["--claude-model", "claude-3-haiku", "--batch"], 2, "Claude 3 Haiku has no batch price."),
        (
            ["--mtok-per-month", "5", "--utilisation", "0.5"],
            2,
            "A volume already says how busy the machine is.",
        ),
        (["--escalation", "0.5"], 2, "--escalation is a part of a hybrid."),
        (
            ["--capex-usd", "9", "--price-per-hour", "9"],
            2,
            "A machine is rented or bought: both prices were given.",
        ),
        (["--probe", "nowhere.json"], 4, "There is no probe report at nowhere.json."),
        (["--plan", str(DATA / "probe.json")], 4, None),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    more: list[str],
    code: int,
    says: str | None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = command("--output", str(tmp_path / "out"), *more)
    assert run(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says is None or err.splitlines()[0] == f"error: {says}"
    assert not (tmp_path / "out").exists()
    refusals.hold(err, request, tmp_path, kept_as={str(DATA): "DATA"})


@pytest.mark.parametrize("rate", [0.0, -1.0, 5e-324, 1e300])
@pytest.mark.parametrize("of", ["run", "steady part", "interval"])
def test_a_probe_whose_speed_is_none_is_no_price(rate: float, of: str) -> None:
    steady = Steady(
        rule="", start_s=0, end_s=9, output_tokens_per_s=100, total_tokens_per_s=100, request_per_s=1
    )
    probe = {
        "run": PROBE.model_copy(update={"output_tokens_per_s": rate, "steady": None}),
        "steady part": PROBE.model_copy(update={"steady": changed(steady, output_tokens_per_s=rate)}),
        "interval": PROBE.model_copy(
            update={
                "steady": steady,
                "confidence": {"steady.output_tokens_per_s": Interval(low=1, high=rate)},
            }
        ),
    }[of]
    with pytest.raises(ProbeInvalid, match="there is no speed to put a price on"):
        compared(probe=probe)


@pytest.mark.parametrize(
    ("models", "against"),
    [
        ((SONNET,), "the Claude API"),
        ((HAIKU, "bedrock/eu/claude-sonnet-5-5"), "the Claude API"),
        (("aws/claude-sonnet-5-5", "bedrock/eu/claude-sonnet-5-5"), "Claude"),
    ],
)
def test_everything_that_shows_it_is_headed_by_who_is_compared(models: tuple[str, ...], against: str) -> None:
    """The terminal, the Markdown and the page."""
    found = compared(claude_models=models)
    what = f"scout int4 on g5.12xlarge against {against}"
    assert comparison_text(found).splitlines()[0] == f"{what}, 2026-11-24"
    assert markdown(PLAN, PROBE, found).splitlines()[0] == f"# {what}"
    assert title(found) == what


def test_a_volume_in_requests_is_that_of_their_tokens() -> None:
    """750 tokens in and 250 out, so that 3 M of them are 3,000 M tokens."""
    by_requests, by_tokens = compared(requests_per_month=3_000_000), compared(mtok_per_month=3000)
    assert by_requests.self_hosted == by_tokens.self_hosted
    assert by_requests.verdict == by_tokens.verdict
    said = {each.name: each.source for each in by_requests.assumptions}
    assert said["utilisation"] == "--requests-per-month, over the measured speed"
    for other in ({"mtok_per_month": 3000}, {"utilisation": Decimal("0.5")}):
        with pytest.raises(UsageError, match="already says how busy"):
            compared(requests_per_month=3_000_000, **other)


def test_what_pays_only_at_the_good_end_of_the_ranges_is_said_so() -> None:
    plan = answer_for("scout", "int4", "g7e.2xlarge", Options(input_tokens=2000, output_tokens=300))
    asked = {"requests_per_month": Decimal(500_000), "claude_models": (HAIKU,), "token_ratio": None}
    found = compared(plan, None, **asked)
    assert found.claude[0].answer == "dearer"
    assert (
        "it takes 153% (135% to 191% within the range of token ratios) to pay, more than there is: only at the good "
        "end of the ranges does it pay." in found.verdict
    )
