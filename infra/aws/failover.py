"""Launch an order: zone by zone, type by type, region by region, way of buying by way of buying, until it runs."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from infra import wait
from infra.aws import quotas, region_offer, supporting_resources
from infra.aws.account_preflight import Survey
from infra.aws.api import Aws
from infra.aws.failures import TRANSLATIONS, Refused, kind_of, plain_words, translated
from infra.aws.order import Order
from infra.aws.request import Site, Spot, ec2, is_grouped, run_instances, status_request
from infra.errors import CapacityError, CloudError, HostError
from infra.quantity import counted
from infra.record import Record, write_text_atomically

POLL_S = 15.0
# EC2's own checks take two to five minutes; a metal type needs longer to start.
READY_WITHIN_S = 1500.0
MOST_GENERATIONS = 20
# EC2 gives no reason for what it launches fewer of, above the least that was asked for.
FEWER = "InsufficientInstanceCapacity"
# How EC2 answers the client token of a launch that is gone (EC2 API reference, error codes). A token holds for a day or
# more after that, and of a replica that is put back twice in a zone it is the same.
TOKEN_OF_GONE = "IdempotentInstanceTerminated"
# What was launched longer ago, and is not shown, EC2 has forgotten.
SHOWN_WITHIN = timedelta(minutes=10)

State = Literal["ready", "died", "late"]
Status = dict[str, Any]
"""One row of DescribeInstanceStatus."""


class Attempt(Record):
    """One try, and why it came to nothing."""

    spot: Spot
    code: str
    reason: str


class Launched(Record):
    """The machines of a deployment."""

    spot: Spot
    instance_ids: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    """What was tried before."""


class Outcome(NamedTuple):
    """What one try came to."""

    ids: tuple[str, ...]
    """The machines that are healthy there now."""
    lacks: Attempt | None
    """Why it is not all that was asked for."""


class Launch(NamedTuple):
    """What of an order is there by now."""

    ids: tuple[str, ...]
    end: datetime
    """When all of it ends."""
    spot: Spot | None = None
    """Where the last was launched; None before."""

    def and_there(self, spot: Spot, ids: tuple[str, ...]) -> "Launch":
        """With these."""
        return Launch((*self.ids, *ids), self.end, spot)

    def done(self, tried: list[Attempt]) -> Launched:
        """As it is told."""
        assert self.spot
        return Launched(spot=self.spot, instance_ids=self.ids, attempts=tuple(tried))


def launch(
    aws: Aws, order: Order, survey: Survey, there: tuple[str, ...] = (), end: datetime | None = None
) -> Launched:
    """Launch all nodes in the first place that has them, and return when EC2 says they are healthy.

    Replicas stand in as many zones of one region as it takes, beside those that are `there`; all of them end together.
    Raises CapacityError when nowhere has enough, with the reason of every attempt; Refused for what no other place
    would cure (credentials, parameters, an AWS that does not answer).
    """
    supporting_resources.roles(aws, order, survey.account)
    tried: list[Attempt] = []
    spots, launched = list(survey.spots), Launch(there, end or order.expires_at)
    groups: dict[str, str] = {}
    while spots:
        spot, spots = spots[0], spots[1:]
        here = next(place for place in survey.sites if place.region == spot.region)
        if (
            launched.spot and launched.spot.region != spot.region
        ):  # what ends and extends them is of one region
            if len(launched.ids) >= order.least:
                break
            terminate(aws, launched.spot.region, list(launched.ids))
            launched = Launch((), launched.end)
        outcome: Outcome
        try:
            if spot.region not in groups:
                groups[spot.region] = prepared(aws, order, here, spots_in(survey, spot.region))
            outcome = attempt(aws, order, here, spot, groups[spot.region], launched)
        except Refused as refused:
            if refused.kind != "auth" or all(other.region == spot.region for other in spots):
                raise
            denied = Attempt(spot=spot, code=refused.code, reason=plain_words(refused.message))
            outcome = Outcome((), denied)
        if outcome.ids:
            launched = launched.and_there(spot, outcome.ids)
            spots.sort(key=lambda other: other.region != spot.region)
        if why := outcome.lacks:
            aws.say(f"{where(spot)}: {why.code}: {why.reason}")
            tried.append(why)
            spots = [other for other in spots if not hopeless(other, why)]
        elif launched.spot:
            return launched.done(tried)
    if launched.spot and len(launched.ids) >= order.least:
        aws.say(f"{len(launched.ids)} of {order.machines} machines are kept: EC2 has no more now")
        return launched.done(tried)
    raise nowhere(order, tried, len(launched.ids))


def spots_in(survey: Survey, region: str) -> list[Spot]:
    """What is tried in a region."""
    return [spot for spot in survey.spots if spot.region == region]


def prepared(aws: Aws, order: Order, here: Site, spots: list[Spot]) -> str:
    """Make what a region needs before a machine; the id of the security group."""
    if any(is_grouped(order, spot) for spot in spots):
        supporting_resources.placement_group(aws, order, here.region)
    supporting_resources.schedule_group(aws, order, here.region)
    return supporting_resources.security_group(aws, order, here)


def attempt(aws: Aws, order: Order, here: Site, spot: Spot, group_id: str, before: Launch) -> Outcome:
    """Launch what is missing in one place, and wait until EC2 says that it is healthy."""
    started, wanted = aws.now(), order.machines - len(before.ids)
    for generation in range(MOST_GENERATIONS):
        try:
            asked = run_instances(order, here, spot, group_id, generation, len(before.ids))
            answer = aws.call(asked)
        except Refused as refused:
            if refused.kind in ("capacity", "quota"):
                return Outcome((), Attempt(spot=spot, code=refused.code, reason=refused.message))
            if refused.code == TOKEN_OF_GONE:
                continue
            raise
        ids = [each for each in known(aws, spot.region, answer["Instances"]) if each not in before.ids]
        if not ids:
            continue  # The client token brought back machines that are counted, or long gone: ask for new ones.
        aws.say(f"{where(spot)}: launched {', '.join(ids)}")
        try:
            supporting_resources.schedule(aws, order, spot.region, here.account, ids, before.end)
            well, dead = settled(aws, order, spot.region, ids)
        except Refused as refused:  # not for another place to cure: what was launched here would be left
            raise translated(refused) from None
        launched_at = [instance["LaunchTime"] for instance in dead if "LaunchTime" in instance]
        is_new = not launched_at or min(launched_at) >= started
        if dead and is_new:
            refuse_own_fault(dead, spot)
            return Outcome(tuple(well), Attempt(spot=spot, code=died_of(dead), reason=reasons(dead)))
        if len(well) < wanted and (well or is_new):
            reason = f"EC2 has launched {len(well)} of {wanted}"
            return Outcome(tuple(well), Attempt(spot=spot, code=FEWER, reason=reason))
        if well:
            return Outcome(tuple(well), None)
        # The client token brought back machines of an earlier run that are gone: ask for new ones.
    raise CloudError(
        f"EC2 answers every launch of {order.name!r} with machines that are gone.",
        f"Take it away and begin anew: corral down {order.name}",
    )


def known(aws: Aws, region: str, answered: list[dict[str, Any]]) -> list[str]:
    """The ids in the answer to a launch, without those of an earlier one that EC2 has forgotten."""
    young = aws.now() - SHOWN_WITHIN
    ids = [str(row["InstanceId"]) for row in answered]
    old = [str(row["InstanceId"]) for row in answered if row.get("LaunchTime", young) < young]
    shown = {row["InstanceId"] for row in described(aws, region, old)} if old else set()
    return [each for each in ids if each not in old or each in shown]


def settled(
    aws: Aws, order: Order, region: str, instance_ids: list[str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Wait until all are healthy or dead: the ids of those, and the dead, which are ended for certain.

    Where one node of a server died the others go too. Raises CloudError for one that never gets healthy.
    """
    well, dead = instance_ids, list[dict[str, Any]]()
    while well and (state := awaited(aws, region, well)) != "ready":
        if state == "late":
            raise late(aws, region, well)
        rows = described(aws, region, well)
        alive = {row["InstanceId"] for row in rows if row["State"]["Name"] in ("pending", "running")}
        ended = [each for each in well if order.nodes > 1 or each not in alive] or well
        terminate(aws, region, ended)
        dead += [row for row in rows if row["InstanceId"] in ended]
        well = [each for each in well if each not in ended]
    return well, dead


def awaited(aws: Aws, region: str, instance_ids: list[str]) -> State:
    """Wait until EC2's own checks pass on every node, one is gone, or the time is over."""

    def look() -> list[Status]:
        return list(aws.pages(status_request(region, instance_ids), "InstanceStatuses"))

    def tell(rows: list[Status]) -> None:
        aws.say(f"waiting for {', '.join(instance_ids)}: {', '.join(map(state_of, rows)) or 'not shown yet'}")

    pace = aws.pace(READY_WITHIN_S, POLL_S)
    rows = wait.until(look, lambda rows: verdict(rows, len(instance_ids)) != "late", pace, tell)
    return verdict(rows, len(instance_ids))


def verdict(rows: list[Status], count: int) -> State:
    """What has become of so many nodes by now."""
    if any(state_of(row) not in ("pending", "running") for row in rows):
        return "died"
    return "ready" if len(rows) == count and all(map(healthy, rows)) else "late"


def state_of(row: Status) -> str:
    """The instance's state: pending, running, ..."""
    return str(row["InstanceState"]["Name"])


class Late(CloudError):
    """Machines that did not get healthy in time."""

    def __init__(self, region: str, instance_ids: list[str], consoles: str) -> None:
        super().__init__(
            f"{', '.join(instance_ids)} did not pass EC2's checks within {READY_WITHIN_S / 60:.0f} minutes.",
            f"Read what it said: {consoles}; then try another --zone.",
        )
        self.region, self.instance_ids, self.consoles = region, instance_ids, consoles


def late(aws: Aws, region: str, instance_ids: list[str]) -> Late:
    """Keep what those said on their consoles that are not healthy, and say so."""
    rows = aws.pages(status_request(region, instance_ids), "InstanceStatuses")
    well = {row["InstanceId"] for row in rows if healthy(row)}
    sick = [each for each in instance_ids if each not in well] or instance_ids
    for instance_id in sick:
        keep_console(aws, region, instance_id)
    return Late(region, sick, f"{aws.folder}/console-*.txt")


def keep_console(aws: Aws, region: str, instance_id: str) -> None:
    """Write a machine's console output beside the ledger."""
    text = console(aws, region, instance_id)
    if text:
        with suppress(HostError):  # a full disk: the machine is taken away all the same
            write_text_atomically(aws.folder / f"console-{instance_id}.txt", text)


def console(aws: Aws, region: str, instance_id: str) -> str:
    """The last 64 KiB a machine said on its console; empty when EC2 does not tell."""
    try:
        answer = aws.ask(ec2(region, "GetConsoleOutput", InstanceId=instance_id, Latest=True))
    except Refused:
        return ""
    return str(answer.get("Output", ""))


def healthy(row: Status) -> bool:
    """Running, and both of EC2's checks passed; a machine can be `running` and hang."""
    checks = (row["InstanceStatus"]["Status"], row["SystemStatus"]["Status"])
    return state_of(row) == "running" and checks == ("ok", "ok")


def described(aws: Aws, region: str, instance_ids: list[str]) -> list[dict[str, Any]]:
    """The instances, dead or alive."""
    asked = ec2(region, "DescribeInstances", Filters=[{"Name": "instance-id", "Values": instance_ids}])
    return region_offer.instances(aws, asked)


def terminate(aws: Aws, region: str, instance_ids: list[str]) -> None:
    """End them; they are gone some time after."""
    aws.call(ec2(region, "TerminateInstances", InstanceIds=instance_ids))


# Why EC2 ends a machine for a cause of the account's own, which no other place cures: all of EC2's StateReason codes
# that begin with Client (EC2 API reference, StateReason), but for limits.
OWN_FAULTS = {
    "Client.InternalError": "Most often the KMS key that the account's volumes are encrypted with may not be used by "
    "who launches: aws ec2 get-ebs-default-kms-key-id --region {region}; have kms:CreateGrant and kms:Decrypt on it "
    "allowed.",
    "Client.InvalidSnapshot.NotFound": "The image's snapshot is gone: name another image (--ami ami-...).",
    "Client.InstanceInitiatedShutdown": "It shut itself down: another image may not (--ami), or a policy of the "
    "account's for new machines does it.",
    "Client.InstanceTerminated": "Somebody ended it, or a rule of the account's that ends such machines: ask "
    "CloudTrail who called TerminateInstances in {region}.",
    "Client.UserInitiatedShutdown": "Somebody stopped it, or a rule of the account's that stops such machines: ask "
    "CloudTrail who called StopInstances in {region}.",
    "Client.UserInitiatedHibernate": "Somebody hibernated it: ask CloudTrail who called StopInstances in {region}.",
}
UNKNOWN_FAULT = "EC2 lays it to the account: look the code up among EC2's StateReason codes."


def refuse_own_fault(dead: list[dict[str, Any]], spot: Spot) -> None:
    """Raise CloudError for machines that ended at their launch for a cause no other place would cure."""
    code = died_of(dead)
    if code.startswith("Client."):
        hint = OWN_FAULTS.get(code, UNKNOWN_FAULT).format(region=spot.region)
        raise CloudError(f"{where(spot)} ended as it was launched: {reasons(dead)}.", hint)


def died_of(dead: list[dict[str, Any]]) -> str:
    """EC2's code for why they ended, that of a quota as the API says it; `died` where it says none."""
    codes = sorted({str(row.get("StateReason", {}).get("Code", "")) for row in dead} - {""})
    limits = [
        code.removeprefix("Client.") for code in codes if kind_of(code.removeprefix("Client.")) == "quota"
    ]
    return (*limits, *codes, "died")[0]


def reasons(dead: list[dict[str, Any]]) -> str:
    """Why EC2 says they ended."""
    said = {row.get("StateReason", {}).get("Message", "") for row in dead} - {""}
    return "; ".join(sorted(said)) or "it ended without a reason"


def hopeless(spot: Spot, failed: Attempt) -> bool:
    """Whether the failure of one attempt decides another: a quota holds for a region and way of buying, a denial for
    a region.
    """
    kind, same_region = kind_of(failed.code), spot.region == failed.spot.region
    return same_region and (kind == "auth" or (kind == "quota" and spot.purchase == failed.spot.purchase))


def nowhere(order: Order, tried: list[Attempt], there: int) -> CapacityError:
    """Every attempt with its reason, and how few replicas that makes."""
    said = "; ".join(f"{where(item.spot)}: {item.code}" for item in tried)
    hint = TRANSLATIONS["capacity"][1]
    if tried and all(kind_of(item.code) == "quota" for item in tried):
        hint = f"Ask for more: {quota_page(tried[-1])}"
    if order.replicas > 1 and there:
        hint = f"{hint} To keep as few as there are: --min-replicas {there}"
    few = f"Only {there} of {order.machines} machines" if order.replicas > 1 else "No machine"
    return CapacityError(f"{few} after {counted(len(tried), 'attempt')}: {said}.", hint)


def quota_page(failed: Attempt) -> str:
    """Where more is asked for: of vCPUs, or of what EBS counts."""
    if failed.code in ("VolumeLimitExceeded", "MaxIOPSLimitExceeded"):
        return f"https://{failed.spot.region}.console.aws.amazon.com/servicequotas/home/services/ebs/quotas"
    return quotas.page(failed.spot.region, quotas.quota_of(failed.spot.instance_type, failed.spot.purchase))


def where(spot: Spot) -> str:
    """A place in words."""
    return f"{spot.purchase} {spot.instance_type} in {spot.zone}"
