"""PURE: how likely self-hosting is the cheaper one: everything doubtful is drawn from its range, the same each time.

The speed lies in its band nine times of ten, or a measured one in its interval nineteen times of twenty. The token
ratio, the price of what is kept up and the people's time lie between the ends of their ranges, most likely at the
middle value; people whom nobody named are in none of the draws.
"""

from decimal import Decimal
from functools import cache
from math import ceil, pow, sqrt
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from deploy.costs.comparison import Speed
from deploy.costs.monthly_bill import serving_machines
from deploy.costs.self_hosted import OurSide, bill_at
from deploy.costs.token_ratio import TokenRatio
from infra.money import exact
from serving.model.throughput import NINE_OF_TEN_SD

SEED, DRAWS = 16, 2000
RANGES = 4
"""Of the speed, the price, the people's time and the token ratio."""
NINETEEN_OF_TWENTY_SD = 1.96
NORMAL = NormalDist()
NEVER_QUITE = 1e-9
"""No draw is at the very end of a range that has none."""

# What one range is, where nothing was measured: our placeholders, and the report says so.
MORE_PEOPLE_FTE = Decimal("0.5")
PRICE_SPREAD = Decimal("0.2")


class Draws(NamedTuple):
    """USD per million tokens here in each draw, and where each draw lies in the range of the token ratio, 0 to 1."""

    as_compared: tuple[float, ...]
    fully_busy: tuple[float, ...]
    """Or as busy as the plan's peak allows."""
    ratios: tuple[float, ...]


def people_range(fte: Decimal) -> tuple[Decimal, Decimal]:
    """Full-time jobs: half as many to half as many more; up to half a job where none are counted."""
    return (fte / 2, fte * 3 / 2) if fte else (fte, MORE_PEOPLE_FTE)


def draws(ours: OurSide, is_volume: bool) -> Draws:
    """What a million tokens costs here. A volume takes more machines where slower ones cannot serve it at its peak.

    And it keeps slower ones busy for longer, which of machines of one's own is power; spares idle all the while.
    """
    own, fte = ours.figures, ours.knobs.ops_fte
    people, machines = float(own.bill.people_usd), float(own.bill.per_machine_usd)
    beside = float(own.usd_per_month) - people - machines
    of_load = float(own.usd_of_full_load)
    capacity, mtok = float(own.capacity_mtok_per_month), float(own.mtok_per_month)
    serving, busiest = float(serving_machines(ours.knobs)), float(own.most_utilisation)
    idle_usd, further_usd = machines - of_load * float(own.utilisation), float(further_machine_usd(ours))
    of_people = tuple(float(each / fte) for each in people_range(fte)) if fte else (1.0, 1.0)
    spread = float(PRICE_SPREAD)
    found = []
    for of_speed, of_price, of_time, of_ratio in places():
        faster = speed_factor(ours.speed, of_speed)
        dearer = between(of_price, 1 - spread, 1.0, 1 + spread)
        paid = people * between(of_time, of_people[0], 1.0, of_people[1])
        served = mtok if is_volume else mtok * faster
        needed = max(serving, ceil(serving * served / (capacity * faster * busiest) - NEVER_QUITE))
        kept_up = idle_usd + (needed - serving) * further_usd + of_load * served / (capacity * faster)
        as_compared = ((kept_up + beside) * dearer + paid) / served
        most = idle_usd + of_load * busiest
        full = ((most + beside) * dearer + paid) / (capacity * faster * busiest)
        found.append((as_compared, full, of_ratio))
    return Draws(*zip(*found, strict=True))


@cache
def places() -> tuple[tuple[float, ...], ...]:
    """Where each draw lies in its four ranges, 0 to 1: each part of a range is drawn from once.

    So (a Latin hypercube) they are as good as many more that fall anywhere: M. D. McKay and others, 1979.
    """
    dice = Random(SEED)

    def of_one() -> list[float]:
        parts = sorted(range(DRAWS), key=lambda _: dice.random())
        return [(part + dice.random()) / DRAWS for part in parts]

    return tuple(zip(*(of_one() for _ in range(RANGES)), strict=True))


def further_machine_usd(ours: OurSide) -> Decimal:
    """What one more machine costs a month, idle: on demand where a savings plan is of so many of them and no more.

    As the others where nobody said what that is.
    """
    price, replicas = ours.price, ours.knobs.replicas
    elsewise = price.on_demand_usd_per_hour or price.usd_per_hour
    paid = price.model_copy(update={"on_demand_usd_per_hour": elsewise})
    fleets = (ours.knobs.model_copy(update={"replicas": count}) for count in (replicas, replicas + 1))
    present, more = (bill_at(Decimal(0), fleet, paid).per_machine_usd for fleet in fleets)
    return more - present


def speed_factor(speed: Speed, place: float) -> float:
    """The speed at that place of its distribution, 0 to 1, over the speed that is said."""
    deviations = NORMAL.inv_cdf(min(max(place, NEVER_QUITE), 1 - NEVER_QUITE))
    end = speed.output_tokens_per_s_high if deviations > 0 else speed.output_tokens_per_s_low
    sd = NINE_OF_TEN_SD if speed.basis == "modelled" else NINETEEN_OF_TWENTY_SD
    times = max(NEVER_QUITE, float(end / speed.output_tokens_per_s))
    return pow(times, abs(deviations) / sd)


def between(place: float, low: float, middle: float, high: float) -> float:
    """The value at that place, 0 to 1, of a triangular distribution."""
    if high <= low:
        return middle
    rising = (middle - low) / (high - low)
    if place < rising:
        return low + sqrt(place * (high - low) * (middle - low))
    return high - sqrt((1 - place) * (high - low) * (high - middle))


def chances(
    drawn: Draws, ratio: TokenRatio, usd: tuple[Decimal, Decimal, Decimal]
) -> tuple[Decimal, Decimal]:
    """In what share of the draws a million tokens costs less here, as compared and fully busy.

    `usd` is what they cost at Claude at the low, base and high token ratio; between those it lies on lines.
    """
    low, base, high = (float(each) for each in (ratio.low, ratio.base, ratio.high))
    ends = [float(each) for each in usd]

    def there(place: float) -> float:
        drawn_ratio = between(place, low, base, high)
        if drawn_ratio <= base:
            return (
                ends[1] if base <= low else ends[0] + (ends[1] - ends[0]) * (drawn_ratio - low) / (base - low)
            )
        return ends[1] + (ends[2] - ends[1]) * (drawn_ratio - base) / (high - base)

    claude = [there(place) for place in drawn.ratios]
    as_compared, fully_busy = (
        sum(here < dollars for here, dollars in zip(each, claude, strict=True)) / DRAWS
        for each in (drawn.as_compared, drawn.fully_busy)
    )
    return exact(as_compared), exact(fully_busy)
