"""PURE: prices as a person reads them: a group for each source and day."""

from itertools import groupby

from infra.aws.stored_prices import PriceTable, StoredPrice
from infra.columns import more_rows, table
from infra.quantity import counted

SHOWN = 8
"""Of each group."""


def text(listed: PriceTable, is_whole: bool = True, region: str | None = None) -> str:
    """The table, then what AWS was asked for in vain; not the whole of it is the first few of each group.

    Of that region, where only its prices were asked for.
    """
    ask = f"corral prices --refresh --region {region}" if region else "corral prices --refresh"
    most = None if is_whole else SHOWN
    groups = [group(list(rows), most) for _, rows in groupby(sorted(listed.prices, key=origin), key=origin)]
    refused = [f"- {price.instance_type} in {price.region}: {price.reason}" for price in listed.refused]
    if refused:
        groups.append(
            "\n".join(["AWS named no price that may be used; what is stored stays in use", *refused])
        )
    return "\n\n".join(groups) or f"No price is stored for that. Ask AWS: {ask}"


def origin(price: StoredPrice) -> tuple[str, str, str, str]:
    """What a group has in common: the region, the purchase, the newest first, whose it is."""
    return (
        price.region,
        "" if price.purchase == "on-demand" else price.purchase,
        f"{price.age_in_days:06}",
        price.source,
    )


def group(rows: list[StoredPrice], most: int | None) -> str:
    """The prices of one source and day, the first so many; None: each."""
    first = rows[0]
    days = first.age_in_days
    old = "today" if days < 1 else f"{counted(days, 'day')} ago"
    return "\n".join(
        [
            f"{first.region}, {first.purchase}, USD per hour, checked {first.checked_on} ({old})",
            f"  {first.source}",
            table((row.instance_type, f"{row.usd_per_hour:>10f}", was(row)) for row in rows[:most])
            + more_rows(len(rows), most),
        ]
    )


def was(row: StoredPrice) -> str:
    """What it was before it was asked for."""
    return f"was {row.was_usd_per_hour:f}" if row.was_usd_per_hour is not None else ""
