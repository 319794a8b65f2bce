"""PURE: what EC2 bills beside a machine's hours, as `corral up` rents it: a volume all month, an address while up.

`up` counts the same volume and address of each host, by the same prices (deploy/targets/ec2/cost.py); for its few hours
it takes those of the shortest month.
"""

from decimal import Decimal
from typing import Any

from deploy.costs.knobs import Knobs, option
from deploy.costs.machine_price import MachinePrice
from deploy.costs.purchase_options import HowBought
from infra.aws import root_volume, stopped_costs
from infra.money import rounded
from infra.prices import DEFAULT_REGION
from serving.sizing.plan import Plan


def beside_hours(values: Knobs, plan: Plan, price: MachinePrice, asked: HowBought) -> Knobs:
    """The values with a volume and a public address for each host, but for what the user said of them."""
    return values.model_copy(update=added(plan, price, asked))


def is_of_ec2(plan: Plan, price: MachinePrice) -> bool:
    """Whether it is a machine that EC2 rents out, and none of those that are there."""
    is_there = plan.carried is not None and plan.carried.are_there
    return plan.machine.instance_type is not None and price.purchase != "owned" and not is_there


def region_of(plan: Plan) -> str:
    """The AWS region of its price, else the one that was asked for; empty for none."""
    return (plan.price.region if plan.price else plan.region) or ""


def added(plan: Plan, price: MachinePrice, asked: HowBought) -> dict[str, Decimal]:
    """The knobs that it sets; none where it is no machine of EC2's, or no price of a volume is known in its region."""
    if not is_of_ec2(plan, price):
        return {}
    made = of_hosts(region_of(plan), plan.machine.hosts, asked.storage_gb)
    return {name: value for name, value in made.items() if name not in asked.knobs}


def of_hosts(region: str, hosts: int, storage_gb: Decimal | None) -> dict[str, Decimal]:
    """The volumes of so many hosts, of so much together, the speed in the price of a GB; and their addresses."""
    gib = Decimal(hosts * root_volume.GIB) if storage_gb is None else storage_gb
    each = {"VolumeType": "gp3", "Size": gib / hosts, **root_volume.gp3_speed(root_volume.MIB_PER_S)}
    usd = stopped_costs.usd_per_month(region, [each] * hosts, addresses=0)
    if usd is None:
        return {}
    a_gb = {"usd_per_storage_gb_month": rounded(usd / gib).normalize()} if gib else {}
    return {"storage_gb": gib, **a_gb, "public_addresses": Decimal(hosts)}


def uncounted(plan: Plan, price: MachinePrice, asked: HowBought) -> str:
    """That no price of a volume is known in its region, so that none is counted; empty where it is, or was said."""
    if not is_of_ec2(plan, price) or asked.storage_gb is not None or added(plan, price, asked):
        return ""
    there = f"in {region_of(plan)}" if region_of(plan) else "in a region that nobody named"
    as_in = of_hosts(DEFAULT_REGION, plan.machine.hosts, None)
    typed = " ".join(f"{option(name)} {value:f}" for name, value in as_in.items())
    return (
        "NOT COUNTED: the volume and the public address that corral up gives each host, whose price "
        f"{there} is not known here. As in {DEFAULT_REGION}: {typed}"
    )


def told(name: str, plan: Plan, price: MachinePrice, asked: HowBought) -> dict[str, Any]:
    """Whose a knob is that it sets, and where that is from; empty for any other."""
    if name not in added(plan, price, asked):
        return {}
    table = stopped_costs.prices()
    said = {
        "storage_gb": f"corral up gives each host a volume of {root_volume.GIB} GiB",
        "usd_per_storage_gb_month": f"gp3 of {root_volume.MIB_PER_S} MiB/s: {table['source']}",
        "public_addresses": f"one of each host, ${table['address']['usd_per_hour']} an hour: {table['source']}",
    }
    if name == "storage_gb":
        return {"whose": "ours", "source": said[name]}
    whose = "list price" if "usd" in name else "ours"
    return {"whose": whose, "source": said[name], "checked_on": table["checked_on"]}
