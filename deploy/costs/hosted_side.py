"""PURE: the same model as other companies serve it, beside the machine and Claude."""

from datetime import date

from deploy.costs.comparison import HostedSide, SelfHosted, Speed
from deploy.costs.hosted_offers import Offer, OfferPrice, offers
from infra.money import dollars, percent, rounded
from infra.prices import OLD_AFTER_DAYS
from serving.sizing.plan import Plan


def hosted_sides(plan: Plan, speed: Speed, own: SelfHosted, on: date) -> tuple[HostedSide, ...]:
    """The same model at other hosts, by price. Its tokens are the same, so no ratio applies."""
    rows = [
        hosted_side(offer, price, speed, own, on)
        for offer in offers().offer
        if (price := offer.price.get(plan.model)) is not None
    ]
    return tuple(sorted(rows, key=lambda row: (row.status == "ended", row.usd_per_mtok_blended)))


def hosted_side(offer: Offer, price: OfferPrice, speed: Speed, own: SelfHosted, on: date) -> HostedSide:
    """One host, at the mix of the requests."""
    usd = price.output + price.input * (speed.tokens_per_output_token - 1)
    blended = usd / speed.tokens_per_output_token
    checked_on = offer.checked_on or offers().checked_on
    return HostedSide(
        host=offer.host,
        status=offer.status_on(on),
        ends_on=offer.ends_on,
        usd_per_mtok_blended=rounded(blended),
        usd_per_month=rounded(blended * own.mtok_per_month),
        checked_on=checked_on,
        days_old=max(0, (on - checked_on).days),
        called_on=offer.called_on,
        source=offers().source,
        note=offer.note,
    )


def hosted_doubts(hosted: tuple[HostedSide, ...], batch: bool) -> tuple[str, ...]:
    """What makes the hosts' prices mean less than they look."""
    sold = [side for side in hosted if side.status != "ended"]
    old = [side for side in sold if side.days_old > OLD_AFTER_DAYS]
    cases = (
        (
            old and len(old) == len(sold),
            f"The hosts' prices are {min((side.days_old for side in old), default=0)} days old or more: check them.",
        ),
        (
            batch and sold,
            "Claude is priced in a batch, the hosts of the same model are not: no batch price of theirs is known here.",
        ),
    )
    return tuple(text for holds, text in cases if holds)


def hosted_note(own: SelfHosted, hosted: tuple[HostedSide, ...]) -> str:
    """The cheapest way to have the same model served by somebody else: one known to sell it, if there is any."""
    sold = [side for side in hosted if side.status != "ended"]
    if not sold:
        return ""
    best = min(sold, key=lambda side: (side.status != "live", side.usd_per_mtok_blended))
    least = min(sold, key=lambda side: side.usd_per_mtok_blended)
    word = "cheaper" if best.usd_per_mtok_blended < own.usd_per_mtok_blended else "dearer"
    unproved = (
        f"; {offer_of(least)} asks {dollars(least.usd_per_mtok_blended)}"
        if least.usd_per_mtok_blended < best.usd_per_mtok_blended
        else ""
    )
    return (
        f"The same model at {offer_of(best)} costs {dollars(best.usd_per_mtok_blended)} a million tokens: "
        f"{word} than here at {percent(own.utilisation)}{unproved}. Prompts leave your building for it."
    )


def offer_of(side: HostedSide) -> str:
    """A host, what is known of its offer, and when."""
    called = "" if side.called_on else ", never called"
    return f"{side.host} ({side.status}, read {side.checked_on}{called})"
