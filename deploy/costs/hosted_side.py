"""PURE: the same model as other companies serve it, beside the machine and Claude."""

from datetime import date

from deploy.costs.comparison import HostedSide, Speed
from deploy.costs.hosted_offers import offers
from infra.money import rounded
from serving.sizing.plan import Plan


def hosted_sides(plan: Plan, speed: Speed, on: date) -> tuple[HostedSide, ...]:
    """The same model at other hosts, by price. Its tokens are the same, so no ratio applies."""
    rows = []
    for offer in offers().offer:
        price = offer.price.get(plan.model)
        if price is not None:
            usd = price.output + price.input * (speed.tokens_per_output_token - 1)
            rows.append(
                HostedSide(
                    host=offer.host,
                    status=offer.status_on(on),
                    ends_on=offer.ends_on,
                    usd_per_mtok_blended=rounded(usd / speed.tokens_per_output_token),
                    note=offer.note,
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.status == "ended", row.usd_per_mtok_blended)))
