"""PURE: what machines that are there carry, as text: which of them it takes, and what would carry the rest."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from infra.argument import pasted
from infra.asked import Asked, again
from infra.columns import table, wrapped
from infra.prices import DEFAULT_REGION
from infra.quantity import counted
from serving.sizing.capacity import Capacity, Choice, Fleet, Rest
from serving.sizing.capacity_load import monthly
from serving.sizing.capacity_words import asked, cautions, dollars, further, rate, tail
from serving.sizing.plan_explained import explained
from serving.sizing.traffic_options import MachineOptions, TrafficOptions


def of_fleet(answer: Capacity, fleet: Fleet, explain: bool, is_whole: bool) -> list[str]:
    """What the machines that are there carry, which of them it takes, and what is missing."""
    idle = (
        f"  With those that it does not take: {rate(fleet.all_carry_requests_per_s)} requests/s, "
        f"{rate(fleet.all_at_worst_requests_per_s)} at worst."
    )
    titles = ("it takes", "TP", "replicas", "requests/s each", "at worst", "TPOT ms", "verdict")
    rows = [
        (
            f"{choice.machines}x {choice.machine}",
            str(choice.tensor),
            str(choice.machines * choice.replicas_per_machine),
            rate(choice.requests_per_s_each),
            rate(choice.at_worst.requests_per_s_each) if choice.at_worst else "none",
            f"{choice.tpot_s * 1000:.1f}" if choice.feasible else "-",
            choice.verdict,
        )
        for choice in answer.choices
    ]
    whys = [wrapped(f"{choice.machine}: {choice.why}") for choice in answer.choices if choice.why]
    bases = dict.fromkeys(choice.basis for choice in answer.choices if choice.basis)
    return [
        asked(answer),
        "\n".join(
            [
                *verdict(answer, fleet),
                *spareless(answer, fleet),
                *tails(answer),
                *missing(answer),
                *surer_fleet(answer),
                *([idle] if fleet.all_carry_requests_per_s > fleet.carries_requests_per_s else []),
                *(wrapped(f"Basis: {basis}.") for basis in bases),
                *(quality(fleet, answer)),
                *further(answer),
            ]
        ),
        "\n".join([table([titles, *rows]), *whys, wrapped(filling(answer), "")]),
        *([how_much(answer, fleet)] if explain else []),
        *([explained(answer.plan)] if explain and answer.plan else []),
        "(--all has no more: every machine of --have is above.)" if is_whole else "",
    ]


def verdict(answer: Capacity, fleet: Fleet) -> list[str]:
    """Whether they carry the peak, at the bad end of the band too, with both figures."""
    peak, carries = rate(answer.traffic.peak_requests_per_s), rate(fleet.carries_requests_per_s)
    worst, weights = rate(fleet.at_worst_requests_per_s), f"{answer.model} {fleet.precision}"
    known = [choice.usd_per_month for choice in answer.choices if choice.machines]
    dear = sum((usd for usd in known if usd is not None), Decimal(0)) if known and None not in known else None
    costs = f", {dollars(dear)} a month" if dear is not None else ""
    short = fleet.missing_at_worst_requests_per_s
    lacking = f", {rate(short)} are missing" if short else ""
    at_worst = f"  If the speed is at the bad end of its band: {worst} requests/s{lacking}."
    if fleet.missing_requests_per_s:
        missing = f"{rate(fleet.missing_requests_per_s)} REQUESTS/S ARE MISSING"
        return [f"{missing}: they carry {carries} of {peak} at peak, {weights}", at_worst]
    if fleet.carries_at_worst:
        return [f"THEY CARRY IT: {carries} requests/s of {peak} at peak, {weights}{costs}", at_worst]
    end = "AT THE BAD END WITH MORE OF THEM" if fleet.takes_at_worst else "BUT NOT AT THE BAD END"
    return [
        f"THEY CARRY IT, {end}: {carries} requests/s of {peak} at peak, {worst} at worst, {weights}{costs}",
        at_worst,
    ]


def spareless(answer: Capacity, fleet: Fleet) -> list[str]:
    """That none of the machines that carry it may be lost; nothing where some may, or where they do not carry it."""
    if answer.promise.spare_machines or fleet.missing_requests_per_s:
        return []
    return ["  No machine of these is spare: --spare 1 asks whether they carry it with one gone."]


def missing(answer: Capacity) -> list[str]:
    """What would carry what they do not: rented, or more of a shape that is there; nothing where nothing is missing."""
    if answer.rest is None or answer.fleet is None:
        return []
    said, worst = remedies(answer, answer.rest), answer.rest_at_worst
    at_worst = remedies(answer, worst, is_at_worst=True) if worst else []
    return [
        wrapped(
            f"For the rest, in {answer.fleet.precision}: {', or '.join(said)}."
            + (f" At worst: {', or '.join(at_worst)}." if at_worst else "")
            if said
            else "Nothing corral knows carries the rest in these weights."
        )
    ]


def remedies(answer: Capacity, rest: Rest, is_at_worst: bool = False) -> list[str]:
    """What carries that rest, at worst where that is asked: rented, or more of a shape that is there, with dollars."""
    said, rent, more = list[str](), rest.rent, rest.more
    of_rent = rent.at_worst if rent and is_at_worst else rent
    if rent and of_rent:
        spare = f", {answer.promise.spare_machines} spare" if answer.promise.spare_machines else ""
        dear = of_rent.usd_per_month
        usd = f", {dollars(dear)} a month in {DEFAULT_REGION} (machines alone)" if dear else ""
        what = f"{rent.machine} ({rent.gpus_per_machine}x {rent.gpu}{spare})"
        said.append(f"rent {of_rent.machines:,}x {what}{usd}")
    if more:
        dear = monthly(more.usd_per_hour, more.count)
        said.append(f"{more.count:,} more {more.machine}" + (f", {dollars(dear)} a month" if dear else ""))
    return said


def rest_planned(answer: Capacity, question: Sequence[Asked], written_to: Path | None) -> str:
    """The commands that plan what is to be rented for what is missing, and at worst; empty where nothing is."""
    rests = (
        ("Next: plan the rest", answer.rest, "rest"),
        ("At worst", answer.rest_at_worst, "rest-at-worst"),
    )
    return "\n".join(
        f"{what}: {planned(answer, rest.rent, rest.requests_per_s, question, written_to, name)}"
        for what, rest, name in rests
        if rest and rest.rent
    )


def planned(
    answer: Capacity,
    rent: Choice,
    requests_per_s: float,
    question: Sequence[Asked],
    written_to: Path | None,
    name: str,
) -> str:
    """The command that plans such machines for so much."""
    changes: dict[type[Asked], dict[str, object]] = {
        TrafficOptions: {
            "requests_per_s": requests_per_s,
            "requests_per_month": None,
            "tokens_per_month": None,
        },
        MachineOptions: {
            "have": (),
            "at_worst": False,
            "machines": (rent.machine,),
            "precision": rent.precision,
        },
    }
    said = [each.model_copy(update=changes.get(type(each), {})) for each in question]
    path = written_to.with_stem(f"{written_to.stem}-{name}") if written_to else Path(f"{name}.json")
    return f"corral capacity {pasted(answer.model)}{again(*said)} -o {pasted(path)}"


def how_much(answer: Capacity, fleet: Fleet) -> str:
    """How what they carry follows."""
    traffic, fill = answer.traffic, answer.promise.fill
    peak = f"{traffic.peak_requests_per_s:.4g} requests/s"
    lines = [
        "How much they carry",
        f"  peak = {traffic.requests_per_s:.4g} x {traffic.peak_factor:g} = {peak}",
    ]
    for choice in answer.choices:
        if choice.machines:
            full = choice.requests_per_s_each
            lines.append(
                f"  {choice.machines}x {choice.machine} = {choice.machines} x "
                f"{counted(choice.replicas_per_machine, 'replica')} x {choice.requests_per_s:.3f} x fill {fill:g} = "
                f"{choice.machines * full * fill:.3f} requests/s"
            )
    spare = answer.promise.spare_machines
    without = f", without the largest {spare} of them, which are spare" if spare else ""
    return "\n".join([*lines, f"  all of them{without}: {fleet.carries_requests_per_s:.3f} requests/s"])


def surer_fleet(answer: Capacity) -> list[str]:
    """What carries the peak at the bad end too: idle ones first, other weights, more machines; nothing where these do.

    What is missing already is said with what carries that.
    """
    found, fleet, rest = answer.surer_fleet, answer.fleet, answer.rest_at_worst
    if fleet and fleet.takes_at_worst:
        idle = " + ".join(f"{owned.count:,}x {owned.machine}" for owned in fleet.takes_at_worst)
        return [wrapped(f"Less at risk: {idle} of them carry it at worst too: --at-worst")]
    if found:
        return [
            wrapped(
                f"Less at risk: in {found.precision} they carry {rate(found.carries_requests_per_s)} requests/s, "
                f"{rate(found.at_worst_requests_per_s)} at worst: --precision {found.precision}"
            )
        ]
    said = remedies(answer, rest, is_at_worst=True)[::-1] if rest and not answer.rest else []
    is_idle = fleet and fleet.all_at_worst_requests_per_s > fleet.at_worst_requests_per_s
    idle = "those that it does not take (--at-worst), and " if is_idle else ""
    return (
        [wrapped(f"Less at risk: {idle}{', or '.join(said)}: then they carry it at worst too.")]
        if said
        else []
    )


def quality(fleet: Fleet, answer: Capacity) -> list[str]:
    """What is known to need care of those weights on the machines taken, and what others measured of their answers."""
    taken = [choice.machine for choice in answer.choices if choice.machines]
    told = dict.fromkeys(note for name in taken for note in cautions(answer, name, fleet.precision))
    return [wrapped(note, "  - ") for note in told]


def filling(answer: Capacity) -> str:
    """Of what a full machine carries the share that is counted on."""
    tpot = (
        "; TPOT ms: the mean at your peak, where the p95 above is of machines filled so far"
        if any_tail(answer)
        else ""
    )
    return f"(requests/s each: of a full machine, of which {answer.promise.fill:.0%} is counted on, --fill{tpot})"


def any_tail(answer: Capacity) -> bool:
    """Whether slow requests were simulated, and are said above the table."""
    return any(choice.tail and choice.machines for choice in answer.choices)


def tails(answer: Capacity) -> list[str]:
    """What slow requests wait for on each kind of machine that it takes."""
    return [
        line
        for choice in answer.choices
        if choice.tail and choice.machines
        for line in (
            f"  Each {choice.machine}, filled as far as it is to be "
            f"({rate(answer.promise.fill * choice.requests_per_s_each)} requests/s):",
            *(f"  {each}" for each in tail(choice)),
        )
    ]
