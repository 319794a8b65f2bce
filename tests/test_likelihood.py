"""The verdict from all ranges: what is drawn, the same each time, and where an answer turns."""

from decimal import Decimal
from statistics import mean, median
from typing import Any

import pytest
from test_compare import HAIKU, PLAN, SONNET, changed, compared

from deploy.costs.compare_options import Question
from deploy.costs.likelihood import (
    DRAWS,
    between,
    chances,
    draws,
    further_machine_usd,
    people_range,
    places,
    speed_factor,
)
from deploy.costs.machine_price import machine_price
from deploy.costs.self_hosted import OurSide
from deploy.costs.token_ratio import TokenRatio
from deploy.costs.verdict import answer_of, rough
from infra.money import count, percent


def our_side(**question: Any) -> OurSide:
    found = compared(**question)
    return OurSide(found.speed, found.knobs, machine_price(PLAN, Question()), found.self_hosted)


def test_the_same_is_drawn_each_time() -> None:
    assert draws(our_side(), is_volume=False) == draws(our_side(), is_volume=False)


def test_each_part_of_each_range_is_drawn_from_once() -> None:
    for of_one in zip(*places(), strict=True):
        assert sorted(int(DRAWS * place) for place in of_one) == list(range(DRAWS))


@pytest.mark.parametrize("share", ["0.3", "0.6", "0.9"])
def test_the_draws_tell_what_the_ranges_themselves_say(share: str) -> None:
    """Speed and price alone, reckoned on a grid of both: to a percent."""
    ours = our_side(probe=None)
    drawn = draws(ours, is_volume=False).as_compared
    price = sorted(drawn)[int(Decimal(share) * DRAWS)]
    middles = [(2 * part + 1) / 1000 for part in range(500)]
    usd = float(ours.figures.usd_per_mtok_blended)
    slower = [1 / speed_factor(ours.speed, place) for place in middles]
    dearer = [between(place, 0.8, 1.0, 1.2) for place in middles]
    cheaper = sum(usd * one * other < price for one in slower for other in dearer)
    assert cheaper / len(middles) ** 2 == pytest.approx(float(share), abs=0.01)


def test_a_triangular_range_has_its_ends_its_middle_value_and_its_mean() -> None:
    places = [(2 * n + 1) / 2000 for n in range(1000)]
    found = [between(place, 1.2, 1.5, 1.7) for place in places]
    assert found == sorted(found)
    assert (round(found[0], 2), round(found[-1], 2), round(mean(found), 4)) == (1.21, 1.69, round(4.4 / 3, 4))
    assert between(0.6, 1.2, 1.5, 1.7) == pytest.approx(1.5)  # the share of the range below the middle value
    assert between(0.3, 2.0, 2.0, 2.0) == 2.0


def test_a_modelled_speed_is_in_its_band_nine_times_of_ten_and_a_measured_one_nineteen_of_twenty() -> None:
    modelled, measured = compared(probe=None).speed, compared().speed
    assert speed_factor(modelled, 0.5) == speed_factor(measured, 0.5) == 1.0
    assert [round(speed_factor(modelled, place), 3) for place in (0.05, 0.95)] == [0.5, 2.0]
    assert [round(1500 * speed_factor(measured, place)) for place in (0.025, 0.975)] == [1450, 1550]


def test_a_slower_machine_costs_more_a_token_at_a_utilisation_and_not_at_a_volume() -> None:
    busy = draws(our_side(probe=None), is_volume=False).as_compared
    asked = draws(our_side(probe=None, mtok_per_month=Decimal(100)), is_volume=True).as_compared
    assert max(busy) / min(busy) > 5
    # A volume that each of the draws can serve costs what the price makes it.
    assert 1.39 < max(asked) / min(asked) <= 1.5
    assert median(asked) == pytest.approx(float(Decimal("41.4056")), rel=0.01)


def test_of_a_volume_that_a_slower_machine_cannot_serve_more_machines_are_paid() -> None:
    nearly_full = draws(our_side(probe=None, mtok_per_month=Decimal(2500)), is_volume=True).as_compared
    paid = sorted({round(each * 2500 / 4140.56) for each in nearly_full})
    assert paid[0] == 1
    assert paid[-1] >= 3


def test_no_draw_works_a_machine_above_what_the_peak_leaves_of_it() -> None:
    """A volume that may take half of a machine needs as many of them as twice that volume without a peak."""
    ours, twice = (our_side(probe=None, mtok_per_month=Decimal(mtok)) for mtok in (1250, 2500))
    peaked = ours._replace(figures=changed(ours.figures, most_utilisation=Decimal("0.5")))
    paid = [cost * 1250 for cost in draws(peaked, is_volume=True).as_compared]
    assert paid == pytest.approx([cost * 2500 for cost in draws(twice, is_volume=True).as_compared])


@pytest.mark.parametrize("replicas", [1, 3])
def test_one_more_machine_costs_its_own_month(replicas: int) -> None:
    assert further_machine_usd(our_side(replicas=replicas)) == Decimal("5.672") * 730


def test_people_that_nobody_named_are_in_no_draw() -> None:
    assert people_range(Decimal(0)) == (Decimal(0), Decimal("0.5"))
    assert people_range(Decimal("0.5")) == (Decimal("0.25"), Decimal("0.75"))
    without, none = our_side(), our_side(ops_fte=Decimal(0))
    assert draws(without, is_volume=False) == draws(none, is_volume=False)


@pytest.mark.parametrize(
    ("chance", "fully_busy", "feasible", "is_most", "answer"),
    [
        ("0.9", "1", True, True, "cheaper"),
        ("0.899", "1", True, True, "too close to call"),
        ("0.101", "1", True, True, "too close to call"),
        ("0.1", "1", True, True, "dearer"),
        ("0", "0.101", False, True, "dearer"),
        ("0", "0.1", False, True, "never"),
        ("0", "0.1", False, False, "not at this load"),
        ("0", "0.1", True, False, "dearer"),
    ],
)
def test_an_answer_is_given_where_nine_of_ten_draws_agree(
    chance: str, fully_busy: str, feasible: bool, is_most: bool, answer: str
) -> None:
    even = changed(compared().break_even, feasible=feasible)
    assert answer_of(even, Decimal(chance), Decimal(fully_busy), is_most) == answer


def test_against_a_price_of_claudes_in_the_middle_half_of_the_draws_are_cheaper() -> None:
    """At the utilisation at which both cost the same."""
    even = compared(token_ratio=None).break_even.required_utilisation
    found = compared(token_ratio=None, utilisation=even)
    assert Decimal("0.35") < found.probability < Decimal("0.65")
    assert found.answer == "too close to call"
    assert found.verdict.startswith(
        "Too close to call against Claude Sonnet 5.5, counting nobody's time (--ops-fte):"
    )
    assert found.what_would_change_it[:2] == (
        "Token ratio: measure it on your own texts, then --token-ratio.",
        "Price: what you really pay, then --price-per-hour; a discount is no list price.",
    )


def test_the_verdict_says_that_it_counts_nobody_until_somebody_is_named() -> None:
    said = "Cheaper than Claude Sonnet 5.5, counting nobody's time (--ops-fte): "
    assert compared().verdict.startswith(said)
    assert compared(ops_fte=Decimal(0)).verdict.startswith("Cheaper than Claude Sonnet 5.5: ")
    assert "price, people)" in compared(ops_fte=Decimal("0.1")).verdict


def test_more_people_a_higher_price_and_a_leaner_claude_make_it_less_likely() -> None:
    def chance(**question: Any) -> Decimal:
        return compared(
            utilisation=Decimal("0.1"), token_ratio=None, claude_models=(HAIKU,), **question
        ).probability

    cheap = {"price_per_hour": Decimal("0.6")}
    base = chance(**cheap)
    assert Decimal(0) < base < Decimal(1)
    assert chance(price_per_hour=Decimal("0.65")) < base < chance(price_per_hour=Decimal("0.55"))
    assert chance(**cheap, ops_fte=Decimal("0.005")) < base
    assert chance(**cheap, claude_output_ratio=Decimal("0.9")) < base


def test_chances_are_shares_of_the_draws() -> None:
    drawn = draws(our_side(), is_volume=False)
    same = TokenRatio(low=Decimal(1), base=Decimal(1), high=Decimal(1), whose="yours", source="x")
    usd = Decimal(repr(median(drawn.as_compared)))
    half, all_of_them = chances(drawn, same, (usd, usd, usd))
    assert abs(half * DRAWS - DRAWS // 2) <= 1
    assert all_of_them == 1


def test_against_each_model_the_draws_are_the_same() -> None:
    found = compared(claude_models=(SONNET, HAIKU), token_ratio=None)
    alone = compared(claude_models=(HAIKU,), token_ratio=None)
    assert found.claude[1].probability == alone.probability == alone.claude[0].probability


@pytest.mark.parametrize(
    ("share", "said"),
    [("1", "over 99%"), ("0.99", "99%"), ("0.5", "50%"), ("0.01", "1%"), ("0.009", "under 1%")],
)
def test_a_probability_is_said_no_more_exactly_than_it_is_known(share: str, said: str) -> None:
    assert rough(Decimal(share)) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("50", "50"),
        ("10", "10"),
        ("90.0", "90"),
        ("99.96", "100"),
        ("20000.0", "20,000"),
        ("0.00042", "0.00042"),
    ],
)
def test_a_number_is_written_as_a_person_does(number: str, said: str) -> None:
    assert count(Decimal(number)) == said


@pytest.mark.parametrize(
    ("share", "said"), [("0.0004", "0.04%"), ("0.00004321", "0.00432%"), ("0.001", "0.1%"), ("0", "0%")]
)
def test_a_small_share_is_not_nothing(share: str, said: str) -> None:
    assert percent(Decimal(share)) == said
