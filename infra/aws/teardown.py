"""Take everything of a deployment away, and prove it: by tag, by name, and by what the ledger remembers."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from infra import wait
from infra.aws import push_grant, region_offer
from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import ORDER_TAG, TAG
from infra.aws.request import Request, ec2, iam, marked
from infra.aws.resource_kinds import KINDS, TYPES, Kind
from infra.aws.tag_search import is_marked, tag_types
from infra.record import Record

POLL_S = 10.0
IN_USE_FOR_S = 300.0
TERMINATED_WITHIN_S = 900.0
# EC2 shows what it made within seconds; a launch that was cut off is looked for this long.
SHOWN_WITHIN_S = 60.0
FRESH = timedelta(minutes=15)
ROUNDS = 3
GLOBAL = "every region"
KEPT = "kept, as it ends in time what is left"

# With these there is no use in going on to the next thing.
HOPELESS = ("throttle", "server", "lost", "local")


class Resource(Record):
    """One thing that exists and is ours."""

    type: str
    id: str
    region: str

    def __str__(self) -> str:
        return f"{self.type}: {self.id} in {self.region}"


class Unseen(Record):
    """What could not be looked at, so that something of it may be there."""

    what: str = ""
    """Empty for all of a region."""
    region: str

    def __str__(self) -> str:
        place = f"{self.what} in {self.region}" if self.what else self.region
        return f"{place} could not be looked at"


class Remains(Record):
    """The proof: how many of each type are still there, which, and what could not be looked at."""

    counts: dict[str, int]
    left: tuple[str, ...]
    removed: int = 0
    """How many things were taken away."""


class Teardown:
    """One teardown: the deployment's name, and what went wrong on the way."""

    def __init__(self, aws: Aws, name: str, order_id: str | None = None) -> None:
        self.aws = aws
        self.name = name
        self.mark = (ORDER_TAG, order_id) if order_id else (TAG, name)
        """The tag that makes a thing ours: of the deployment, or of one order for it."""
        self.troubles: dict[Resource | Unseen, str] = {}
        """What could not be removed or looked at -> why."""
        self.removed: set[Resource] = set()
        self.machines_stay = False
        """Whether a machine is left, so that waiting for what it uses is in vain, and what ends it in time is kept."""

    def run(self, regions: Iterable[str]) -> Remains:
        """Remove everything in these regions and in IAM; look again until nothing is found.

        What ends a machine in time, its schedule and the roles, goes last, and only when no machine is left.
        Raises Refused when AWS does not answer.
        """
        left = [resource for region in regions for resource in self.region(region)]
        return self.proof(left + (self.kept(self.of_iam()) if self.machines_stay else self.iam()))

    def proof(self, left: list[Resource]) -> Remains:
        """Counts a type, and each thing that is left with the reason."""
        counts = {kind: sum(resource.type == kind for resource in left) for kind in TYPES}
        lines = []
        for resource in left:
            why = self.troubles.pop(resource, "")
            lines.append(f"{resource} ({why})" if why else str(resource))
        unseen = (f"{what} ({why})" for what, why in self.troubles.items())
        return Remains(counts=counts, left=(*lines, *unseen), removed=len(self.removed))

    # --- one region

    def is_in(self, region: str) -> bool:
        """Whether anything there carries our tag: one call."""
        try:
            return bool(tag_types(self.aws, region, *self.mark))
        except Refused as refused:
            if stops_everything(refused):
                raise
            self.troubles[Unseen(region=region)] = refused.code
            return False

    def region(self, region: str) -> list[Resource]:
        """Remove what is in a region; return what is still there."""
        resources = self.tagged(region)
        resources += self.remembered_instances(region, resources) + self.remembered_groups(region, resources)
        for _ in range(ROUNDS):
            self.remove(region, resources)
            resources = self.everything(region)
            if not resources:
                break
        return resources

    def remembered_instances(self, region: str, tagged: list[Resource]) -> list[Resource]:
        """The instances only the ledger knows: the answer was lost, the tags were, or EC2 does not show them yet."""
        ledger, fresh = self.aws.ledger, self.aws.now() - FRESH
        if ledger is None:
            return []
        known = {resource.id for resource in tagged}
        rows = []
        for filter_name, wanted, recent in (
            ("instance-id", ledger.launched(region), ledger.launched(region, fresh)),
            ("client-token", ledger.unanswered(region), ledger.unanswered(region, fresh)),
        ):
            ids = tuple(each for each in wanted if each not in known)
            rows += self.shown(region, filter_name, ids, len(set(recent) - known)) if ids else []
        return [
            Resource(type="instances", id=row["InstanceId"], region=region)
            for row in rows
            if alive(row) and row["InstanceId"] not in known
        ]

    def shown(
        self, region: str, filter_name: str, values: tuple[str, ...], expected: int
    ) -> list[dict[str, Any]]:
        """The instances behind tokens or ids, waiting a little for EC2 to show as many as are expected."""
        asked = ec2(region, "DescribeInstances", Filters=[{"Name": filter_name, "Values": list(values)}])
        pace = self.aws.pace(SHOWN_WITHIN_S, POLL_S)
        return wait.until(
            lambda: region_offer.instances(self.aws, asked), lambda rows: len(rows) >= expected, pace
        )

    def remembered_groups(self, region: str, tagged: list[Resource]) -> list[Resource]:
        """The security groups the ledger remembers, should one have lost its tags."""
        remembered = set(self.aws.ledger.security_groups(region)) if self.aws.ledger else set()
        ids = sorted(remembered - {resource.id for resource in tagged})
        if not ids:
            return []
        filters = [
            {"Name": "group-id", "Values": ids},
            {"Name": "group-name", "Values": [f"corral-{self.name}"]},
        ]
        rows = self.aws.pages(ec2(region, "DescribeSecurityGroups", Filters=filters), "SecurityGroups")
        return [Resource(type="security_groups", id=row["GroupId"], region=region) for row in rows]

    def tagged(self, region: str) -> list[Resource]:
        """What carries our tag there: one call tells which types are worth a look."""
        present = tag_types(self.aws, region, *self.mark)
        # What belongs to a machine goes with it; looking again will show what did not.
        kinds = [kind for kind in KINDS if kind.tag_type in present and not kind.goes_with_the_machine]
        return self.of_kinds(region, kinds) + self.schedules(region)

    def everything(self, region: str) -> list[Resource]:
        """What is there, type by type."""
        return self.of_kinds(region, KINDS) + self.schedules(region)

    def of_kinds(self, region: str, kinds: Iterable[Kind]) -> list[Resource]:
        """What is there of some types."""
        return [
            resource
            for kind in kinds
            for resource in self.looked_at(kind.type, region, partial(self.of_kind, kind, region))
        ]

    def of_kind(self, kind: Kind, region: str) -> list[Resource]:
        """What is there of one type and not already on its way out."""
        rows = list(self.aws.pages(ec2(region, kind.describe, Filters=marked(*self.mark)), kind.key))
        if kind.type == "instances":
            rows = [row for reservation in rows for row in reservation["Instances"]]
        return [
            Resource(type=kind.type, id=row[kind.id_key], region=region)
            for row in rows
            if state_of(row, kind) not in kind.gone
        ]

    def schedules(self, region: str) -> list[Resource]:
        """The schedule group, which holds the schedule and carries the tag."""
        return self.looked_at("schedules", region, lambda: self.schedule_group(region))

    def schedule_group(self, region: str) -> list[Resource]:
        """The group of our name, if it carries our tag."""
        listing = scheduler(region, "ListScheduleGroups", NamePrefix=f"corral-{self.name}")
        groups = [
            group
            for group in self.aws.pages(listing, "ScheduleGroups")
            if group["Name"] == f"corral-{self.name}" and group.get("State") != "DELETING"
        ]
        tags = [
            self.aws.call(scheduler(region, "ListTagsForResource", ResourceArn=group["Arn"]))
            for group in groups
        ]
        return [
            Resource(type="schedules", id=group["Name"], region=region)
            for group, answer in zip(groups, tags, strict=True)
            if is_marked(answer.get("Tags", []), *self.mark)
        ]

    def looked_at(self, what: str, region: str, look: Callable[[], list[Resource]]) -> list[Resource]:
        """Look; what may not be looked at is a trouble, not an end."""
        try:
            return look()
        except Refused as refused:
            if stops_everything(refused):
                raise
            self.troubles[Unseen(what=what, region=region)] = refused.code
            return []

    # --- removal

    def remove(self, region: str, resources: list[Resource]) -> None:
        """Remove things in the order in which they let go of each other; a schedule after the machines it ends."""
        machines, schedules = of_type(resources, "instances"), of_type(resources, "schedules")
        self.terminate(region, [machine.id for machine in machines])
        for kind in KINDS[1:]:
            for resource in of_type(resources, kind.type):
                value = [resource.id] if kind.id_parameter.endswith("Ids") else resource.id
                self.delete(resource, ec2(region, kind.delete, **{kind.id_parameter: value}))
        if resources and self.are_left(region, machines):
            self.kept(schedules)
            return
        for resource in schedules:
            self.delete(resource, scheduler(region, "DeleteScheduleGroup", Name=resource.id))

    def are_left(self, region: str, machines: list[Resource]) -> bool:
        """Whether machines are left there, or might be: these that could not be ended, and those EC2 shows."""
        unseen = Unseen(what="instances", region=region) in self.troubles
        left = unseen or any(machine in self.troubles for machine in machines)
        left = left or bool(self.of_kinds(region, KINDS[:1]))
        self.machines_stay |= left
        return left

    def kept(self, resources: list[Resource]) -> list[Resource]:
        """The resources, said to be kept on purpose."""
        self.troubles |= {resource: KEPT for resource in resources}
        return resources

    def terminate(self, region: str, ids: list[str]) -> None:
        """End instances and wait until they are gone."""
        for instance_id in ids:
            resource = Resource(type="instances", id=instance_id, region=region)
            self.delete(resource, ec2(region, "TerminateInstances", InstanceIds=[instance_id]))
        ending = [each for each in ids if not self.in_trouble("instances", each, region)]
        self.machines_stay |= ending != ids
        if not ending:
            return
        asked = ec2(region, "DescribeInstances", Filters=[{"Name": "instance-id", "Values": ending}])
        wait.until(
            lambda: region_offer.instances(self.aws, asked),
            lambda rows: not any(map(alive, rows)),
            self.aws.pace(TERMINATED_WITHIN_S, POLL_S),
            lambda rows: self.aws.say(f"waiting until {', '.join(ending)} are terminated"),
        )

    def in_trouble(self, kind: str, resource_id: str, region: str) -> bool:
        """Whether something could not be removed."""
        return Resource(type=kind, id=resource_id, region=region) in self.troubles

    def delete(self, resource: Resource, asked: Request) -> None:
        """Remove one thing, or what it must let go of first, waiting while something that is going still uses it."""
        refused = wait.until(
            lambda: self.refusal(resource, asked),
            lambda refused: refused is None or refused.kind != "in use",
            self.aws.pace(0 if self.machines_stay else IN_USE_FOR_S, POLL_S),
        )
        if refused:
            self.troubles[resource] = why(refused)

    def refusal(self, resource: Resource, asked: Request) -> Refused | None:
        """Ask once for its removal; why AWS refuses, None where it is gone."""
        try:
            self.aws.call(asked)
        except Refused as refused:
            if stops_everything(refused):
                raise
            return None if refused.kind in ("gone", "eventual") else refused
        if resource not in self.removed:
            self.removed.add(resource)
            self.aws.say(f"removed {resource}")
        self.troubles.pop(resource, None)
        return None

    # --- IAM, which knows no regions

    def iam(self) -> list[Resource]:
        """Remove the instance profile and the roles; return what is still there."""
        resources = self.of_iam()
        for resource in resources:
            if resource.type == "instance_profiles":
                self.remove_profile(resource)
            else:
                self.remove_role(resource)
        return self.of_iam()

    def of_iam(self) -> list[Resource]:
        """The profile and the roles of our names, if they carry our tag."""
        asked = (
            ("instance_profiles", "GetInstanceProfile", "InstanceProfile", f"corral-{self.name}-box"),
            ("roles", "GetRole", "Role", f"corral-{self.name}-box"),
            ("roles", "GetRole", "Role", f"corral-{self.name}-end"),
        )
        return [
            resource
            for kind, operation, key, name in asked
            for resource in self.looked_at(
                f"{kind} {name}", GLOBAL, partial(self.named, kind, operation, key, name)
            )
        ]

    def named(self, kind: str, operation: str, key: str, name: str) -> list[Resource]:
        """One thing of IAM by its name."""
        try:
            described = self.aws.call(iam(operation, **{f"{key}Name": name}))[key]
        except Refused as refused:
            if refused.kind == "gone":
                return []
            raise
        return (
            [Resource(type=kind, id=name, region=GLOBAL)]
            if is_marked(described.get("Tags", []), *self.mark)
            else []
        )

    def remove_profile(self, resource: Resource) -> None:
        """A profile lets go of its role first."""
        name = {"InstanceProfileName": resource.id}
        self.delete(resource, iam("RemoveRoleFromInstanceProfile", RoleName=resource.id, **name))
        self.delete(resource, iam("DeleteInstanceProfile", **name))

    def remove_role(self, resource: Resource) -> None:
        """A role lets go of its policies first; the second is one that a push of weights was cut off with."""
        for policy in ("corral", push_grant.NAME):
            self.delete(resource, iam("DeleteRolePolicy", RoleName=resource.id, PolicyName=policy))
        self.delete(resource, iam("DeleteRole", RoleName=resource.id))


def enabled_regions(aws: Aws, region: str) -> tuple[str, ...]:
    """The regions this account can use."""
    rows = aws.call(ec2(region, "DescribeRegions"))["Regions"]
    return tuple(sorted(str(row["RegionName"]) for row in rows))


def scheduler(region: str, operation: str, **parameters: Any) -> Request:
    """A call to EventBridge Scheduler."""
    return Request(service="scheduler", operation=operation, region=region, parameters=parameters)


def stops_everything(refused: Refused) -> bool:
    """Whether the next call would fare no better."""
    return refused.kind in HOPELESS or refused.code.startswith("ExpiredToken")


def why(refused: Refused) -> str:
    """Why something could not be removed, with the fix where we know it."""
    if refused.code == "OperationNotPermitted":
        there = f"--region {refused.request.region} --instance-id ID"
        return f"termination protection is on: aws ec2 modify-instance-attribute --no-disable-api-termination {there}"
    return f"{refused.request.action}: {refused.code}"


def state_of(row: dict[str, Any], kind: Kind) -> str:
    """The state of a described resource."""
    state = row.get(kind.state_key, "")
    return str(state["Name"] if isinstance(state, dict) else state)


def alive(row: dict[str, Any]) -> bool:
    """Whether an instance still is something."""
    return bool(row["State"]["Name"] != "terminated")


def of_type(resources: list[Resource], kind: str) -> list[Resource]:
    """The resources of one type."""
    return [resource for resource in resources if resource.type == kind]
