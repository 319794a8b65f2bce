"""The vCPU quotas: what one launch needs, what is used, and what the account is allowed."""

from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.request import Request
from infra.data import shipped_table
from infra.record import Record
from infra.rented import Purchase


class Quota(Record):
    """One quota of Service Quotas; the code is empty where nobody verified it."""

    code: str
    name: str


def quota_of(instance_type: str, purchase: Purchase) -> Quota | None:
    """The vCPU quota a launch counts against; None where there is none (capacity blocks) or none is known."""
    listed = quotas().get(purchase, {})
    generation = instance_type.partition(".")[0][:2]
    row = listed.get(generation) or listed.get(generation[0])
    return Quota(**row) if row else None


def page(region: str, quota: Quota | None) -> str:
    """Where more of a quota is asked for."""
    code = f"/{quota.code}" if quota and quota.code else ""
    return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas{code}"


def value(aws: Aws, region: str, quota: Quota) -> float | None:
    """What the account is allowed there. None where AWS knows no such quota. Raises Refused without permission."""
    try:
        if quota.code:
            answer = aws.ask(get_quota(region, quota))
            return float(answer["Quota"]["Value"])
        return next(
            (float(row["Value"]) for row in every(aws, region) if row["QuotaName"] == quota.name), None
        )
    except Refused as refused:
        if refused.kind == "auth":
            raise
        return None


def get_quota(region: str, quota: Quota) -> Request:
    """Ask for one quota."""
    return Request(
        service="service-quotas",
        operation="GetServiceQuota",
        region=region,
        parameters={"ServiceCode": "ec2", "QuotaCode": quota.code},
    )


def every(aws: Aws, region: str) -> list[dict[str, Any]]:
    """All quotas of EC2 there."""
    listing = Request(
        service="service-quotas",
        operation="ListServiceQuotas",
        region=region,
        parameters={"ServiceCode": "ec2"},
    )
    return list(aws.pages(listing, "Quotas"))


def vcpus_used(instances: list[dict[str, Any]], instance_type: str, purchase: Purchase) -> int:
    """The vCPUs that running instances already count against the same quota."""
    quota = quota_of(instance_type, purchase)
    return sum(
        vcpus(instance)
        for instance in instances
        if instance["State"]["Name"] in ("pending", "running")
        and quota_of(instance["InstanceType"], bought(instance)) == quota
    )


def bought(instance: dict[str, Any]) -> Purchase:
    """How a running instance was bought."""
    lifecycles: dict[str, Purchase] = {"spot": "spot", "capacity-block": "capacity-block"}
    return lifecycles.get(instance.get("InstanceLifecycle", ""), "on-demand")


def vcpus(instance: dict[str, Any]) -> int:
    """The vCPUs of one instance, from its description."""
    options = instance.get("CpuOptions", {})
    return int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))


def quotas() -> dict[str, dict[str, dict[str, str]]]:
    """What quotas.toml holds."""
    return shipped_table("infra.aws", "quotas.toml")
