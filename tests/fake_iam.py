"""IAM and EventBridge Scheduler of the fake account, and how IAM judges a policy."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from infra.aws.failures import ApiFailure

# IAM is eventually consistent: EC2 and the Scheduler do not know a new role or profile at once.
SPREADS_IN_S = 8.0


class FakeIam:
    """Roles and instance profiles."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.roles: dict[str, dict[str, Any]] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        """Managed policies by their ARNs, which a role may be bounded by."""
        self.simulated_denials: set[str] = set()

    def live(self) -> list[str]:
        return [f"role {name}" for name in self.roles] + [f"profile {name}" for name in self.profiles]

    def create_role(self, RoleName: str, Tags: Any, **rest: Any) -> dict[str, Any]:  # noqa: N803
        if RoleName in self.roles:
            raise ApiFailure("EntityAlreadyExists", RoleName)
        if len(RoleName) > 64:
            raise ApiFailure("ValidationError", RoleName)
        json.loads(rest["AssumeRolePolicyDocument"])
        boundary = rest.get("PermissionsBoundary")
        if boundary and not boundary.startswith("arn:"):
            raise ApiFailure("ValidationError", f"ARN {boundary} is not valid.")
        if boundary and boundary not in self.policies:
            raise ApiFailure("NoSuchEntity", f"Scope ARN: {boundary} does not exist or is not attachable.")
        self.roles[RoleName] = {
            "RoleName": RoleName,
            "Tags": Tags,
            "policies": {},
            "boundary": boundary,
            "made": self.clock(),
        }
        return {"Role": self.roles[RoleName]}

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803
        return {"Role": found(self.roles, RoleName)}

    def get_policy(self, PolicyArn: str) -> dict[str, Any]:  # noqa: N803
        found(self.policies, PolicyArn)
        return {"Policy": {"Arn": PolicyArn}}

    def put_role_policy(self, RoleName: str, PolicyName: str, PolicyDocument: str) -> dict[str, Any]:  # noqa: N803
        found(self.roles, RoleName)["policies"][PolicyName] = json.loads(PolicyDocument)
        return {}

    def delete_role_policy(self, RoleName: str, PolicyName: str) -> dict[str, Any]:  # noqa: N803
        found(found(self.roles, RoleName)["policies"], PolicyName)
        del self.roles[RoleName]["policies"][PolicyName]
        return {}

    def delete_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803
        held = any(RoleName in profile["held"] for profile in self.profiles.values())
        if found(self.roles, RoleName)["policies"] or held:
            raise ApiFailure("DeleteConflict", RoleName)
        del self.roles[RoleName]
        return {}

    def create_instance_profile(self, InstanceProfileName: str, Tags: Any) -> dict[str, Any]:  # noqa: N803
        if InstanceProfileName in self.profiles:
            raise ApiFailure("EntityAlreadyExists", InstanceProfileName)
        self.profiles[InstanceProfileName] = {"Tags": Tags, "held": [], "made": self.clock()}
        return {}

    def get_instance_profile(self, InstanceProfileName: str) -> dict[str, Any]:  # noqa: N803
        profile = found(self.profiles, InstanceProfileName)
        roles = [{"RoleName": name} for name in profile["held"]]
        return {"InstanceProfile": {"Tags": profile["Tags"], "Roles": roles}}

    def add_role_to_instance_profile(self, InstanceProfileName: str, RoleName: str) -> dict[str, Any]:  # noqa: N803
        profile = found(self.profiles, InstanceProfileName)
        found(self.roles, RoleName)
        if profile["held"]:
            raise ApiFailure("LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        profile["held"].append(RoleName)
        return {}

    def remove_role_from_instance_profile(
        self,
        InstanceProfileName: str,  # noqa: N803
        RoleName: str,  # noqa: N803
    ) -> dict[str, Any]:
        profile = found(self.profiles, InstanceProfileName)
        if RoleName not in profile["held"]:
            raise ApiFailure("NoSuchEntity", RoleName)
        profile["held"].remove(RoleName)
        return {}

    def delete_instance_profile(self, InstanceProfileName: str) -> dict[str, Any]:  # noqa: N803
        if found(self.profiles, InstanceProfileName)["held"]:
            raise ApiFailure("DeleteConflict", InstanceProfileName)
        del self.profiles[InstanceProfileName]
        return {}

    def simulate_principal_policy(self, ActionNames: list[str], **rest: Any) -> dict[str, Any]:  # noqa: N803
        decision = {True: "implicitDeny", False: "allowed"}
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": decision[name in self.simulated_denials]}
                for name in ActionNames
            ]
        }

    def have(self, role: str, document: dict[str, Any], profile: str = "") -> None:
        """Let the user have a role, and an instance profile that holds it, since long ago."""
        self.roles[role] = {"RoleName": role, "policies": {"mine": document}, "boundary": None, "made": 0.0}
        if profile:
            self.profiles[profile] = {"Tags": [], "held": [role], "made": 0.0}

    def may(self, role: str, action: str, resource: str, **context: str) -> bool:
        """Whether a policy of the role allows it, and so does its boundary, if it has one."""
        held = self.roles.get(role, {"policies": {}, "boundary": None})
        bound = [self.policies[held["boundary"]]] if held["boundary"] else []
        granted = any(allows(policy, action, resource, **context) for policy in held["policies"].values())
        return granted and all(allows(policy, action, resource, **context) for policy in bound)

    def spread(self, thing: dict[str, Any] | None) -> bool:
        """Whether other services know it by now."""
        return thing is not None and self.clock() >= thing["made"] + SPREADS_IN_S


class FakeScheduler:
    """Schedule groups and one-time schedules, which fire when the clock passes them."""

    def __init__(self, clock: Callable[[], float], iam: FakeIam, ec2: Any) -> None:
        self.clock = clock
        self.iam = iam
        self.ec2 = ec2
        self.groups: dict[str, dict[str, Any]] = {}
        self.schedules: dict[tuple[str, str], dict[str, Any]] = {}

    def live(self) -> list[str]:
        return [f"schedule group {name}" for name in self.groups] + [
            f"schedule {key}" for key in self.schedules
        ]

    def create_schedule_group(self, Name: str, ClientToken: str, Tags: Any) -> dict[str, Any]:  # noqa: N803
        old = self.groups.get(Name)
        if old and old["token"] != ClientToken:
            raise ApiFailure("ConflictException", Name)
        arn = f"arn:aws:scheduler:us-east-1:123456789012:schedule-group/{Name}"
        self.groups[Name] = {"Name": Name, "Arn": arn, "State": "ACTIVE", "token": ClientToken, "Tags": Tags}
        return {"ScheduleGroupArn": arn}

    def list_schedule_groups(self, NamePrefix: str) -> dict[str, Any]:  # noqa: N803
        return {
            "ScheduleGroups": [group for name, group in self.groups.items() if name.startswith(NamePrefix)]
        }

    def list_tags_for_resource(self, ResourceArn: str) -> dict[str, Any]:  # noqa: N803
        return {"Tags": next(group["Tags"] for group in self.groups.values() if group["Arn"] == ResourceArn)}

    def delete_schedule_group(self, Name: str) -> dict[str, Any]:  # noqa: N803
        if Name not in self.groups:
            raise ApiFailure("ResourceNotFoundException", Name)
        del self.groups[Name]
        self.schedules = {key: value for key, value in self.schedules.items() if key[0] != Name}
        return {}

    def create_schedule(self, GroupName: str, Name: str, **rest: Any) -> dict[str, Any]:  # noqa: N803
        old = self.schedules.get((GroupName, Name))
        if old and old != rest:
            raise ApiFailure("ConflictException", Name)
        return self.put(GroupName, Name, rest)

    def update_schedule(self, GroupName: str, Name: str, **rest: Any) -> dict[str, Any]:  # noqa: N803
        if (GroupName, Name) not in self.schedules:
            raise ApiFailure("ResourceNotFoundException", Name)
        return self.put(GroupName, Name, {"ClientToken": ""} | rest)

    def put(self, group: str, name: str, rest: dict[str, Any]) -> dict[str, Any]:
        if group not in self.groups:
            raise ApiFailure("ResourceNotFoundException", f"Schedule group {group} does not exist.")
        role = rest["Target"]["RoleArn"].rpartition("/")[2]
        if not self.iam.spread(self.iam.roles.get(role)):
            words = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
            raise ApiFailure("ValidationException", words)
        if when(rest) <= self.clock():
            raise ApiFailure("ValidationException", "Invalid Schedule Expression: in the past")
        self.schedules[group, name] = rest
        return {"ScheduleArn": f"arn:aws:scheduler:::schedule/{group}/{name}"}

    def fire(self) -> None:
        """Carry out what is due, where its role still may; ActionAfterCompletion=DELETE takes the schedule with it."""
        for key, schedule in list(self.schedules.items()):
            if when(schedule) <= self.clock():
                del self.schedules[key]
                ids = json.loads(schedule["Target"]["Input"])["InstanceIds"]
                if all(self.may_end(schedule, key) for key in ids):
                    with suppress(ApiFailure):  # nobody is there to be told
                        self.ec2.terminate_instances(ids)

    def may_end(self, schedule: dict[str, Any], key: str) -> bool:
        """Whether the schedule's role is there, and may end that machine."""
        role = schedule["Target"]["RoleArn"].rpartition("/")[2]
        resource = f"arn:aws:ec2:{self.ec2.name}:123456789012:instance/{key}"
        tags = self.ec2.instances.get(key, {"Tags": []})["Tags"]
        context = {normal(f"aws:ResourceTag/{tag['Key']}"): tag["Value"] for tag in tags}
        return self.iam.may(role, "ec2:TerminateInstances", resource, **context)


def when(schedule: dict[str, Any]) -> float:
    """The moment of an at() expression in UTC."""
    text = schedule["ScheduleExpression"].removeprefix("at(").removesuffix(")")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


def found(things: dict[str, Any], name: str) -> dict[str, Any]:
    """One thing, or NoSuchEntity."""
    if name not in things:
        raise ApiFailure("NoSuchEntity", name)
    thing: dict[str, Any] = things[name]
    return thing


def allows(document: dict[str, Any], action: str, resource: str, **context: str | list[str]) -> bool:
    """Whether a statement allows it. `context` holds the condition keys of the request, : and / written as _."""
    return any(
        statement["Effect"] == "Allow"
        and any(matches(one, action) for one in listed(statement["Action"]))
        and any(matches(one, resource, context) for one in listed(statement["Resource"]))
        and all(
            holds(operator, key, listed(wanted), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
        for statement in document["Statement"]
    )


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def normal(key: str) -> str:
    """A condition key as a keyword."""
    return re.sub("[:/-]", "_", key)


def resolved(text: str, context: dict[str, Any]) -> str | None:
    """The text with its policy variables; None where the request lacks one: then the statement is of no use."""
    names = [normal(name) for name in re.findall(r"\$\{(.*?)\}", text)]
    if any(name not in context for name in names):
        return None
    return re.sub(r"\$\{(.*?)\}", lambda found: str(context[normal(found[1])]), text)


def matches(pattern: str, text: str, context: dict[str, Any] | None = None) -> bool:
    """As IAM: * is any number of any characters, ? is one."""
    written = resolved(pattern, context or {})
    if written is None:
        return False
    return bool(re.fullmatch(re.escape(written).replace(r"\*", ".*").replace(r"\?", "."), text))


def holds(operator: str, key: str, wanted: list[str], context: dict[str, Any]) -> bool:
    """One condition; a key that the request lacks is none that holds, unless the operator says so."""
    given = context.get(normal(key))
    every, _, operator = operator.rpartition(":")
    if given is None:
        return operator.endswith("IfExists") or every == "ForAllValues"
    values = [one for one in (resolved(each, context) for each in wanted) if one is not None]
    compare = COMPARISONS[operator.removesuffix("IfExists")]
    fits = [any(compare(value, one) for value in values) for one in listed(given)]
    return any(fits) if every == "ForAnyValue" else all(fits)


COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": matches,
    "ArnLike": matches,
    "Bool": str.__eq__,
    "DateLessThan": lambda limit, moment: moment < limit,
}
