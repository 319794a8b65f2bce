"""From the flags of `provision` and `up` to a deployment and its options; and the question before spending."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from deploy.line import Approve
from deploy.targets.deployment import Deployment, deployment_for
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.region import located
from deploy.targets.place import Check
from deploy.targets.show_provision import checked_target
from deploy.targets.weights import with_token_file
from infra.errors import UsageError
from infra.say import is_somebody_there, progress
from serving.sizing.plan import Plan

PLURAL = {
    "region": "regions",
    "zone": "zones",
    "instance_type": "instance_types",
    "purchase": "purchases",
    "subnet_id": "subnet_ids",
    "security_group_id": "security_group_ids",
    "tag": "tags",
}


class Wish(NamedTuple):
    """What the flags ask for."""

    deployment: Deployment
    options: Ec2Options


def wish_from(flags: dict[str, Any]) -> Wish:
    """Read the flags of a command, by their names. Raises UsageError, DocumentError or DoesNotFit; asks nobody."""
    target = checked_target(flags["target"]) or "local"
    fields = {PLURAL.get(key, key): value for key, value in flags.items()}
    options = ec2_options(
        target, {key: value for key, value in fields.items() if key in Ec2Options.model_fields}
    )
    plan = Plan.read(Path(flags["plan"]))
    deployment = deployment_for(
        plan,
        target,
        flags["name"],
        tuple(flags["host"] or ()),
        (options.engine or "") if target == "ssh" else "",
    )
    deployment = with_token_file(deployment, flags["hf_token_file"])
    return Wish(deployment, located(options, plan) if target == "ec2" else options)


def ec2_options(target: str, given: dict[str, Any]) -> Ec2Options:
    """The options for EC2. Raises UsageError for one that is given without that target, or cannot be meant."""
    options = Ec2Options.of({key: value for key, value in given.items() if value is not None})
    if target != "ec2":
        foreign = Ec2Options(engine=options.engine if target == "ssh" else None)
        if options != foreign:
            raise UsageError(
                f"The target {target} takes no options of EC2.", "Add --target ec2, or leave them out."
            )
    return options


def asking(yes: bool) -> Approve:
    """The question before money is spent: price and time limit, y or n."""

    def approve(deployment: Deployment, checks: tuple[Check, ...], cost: str) -> None:
        for check in checks:
            progress(
                f"{check.outcome:7}  {check.name}: {check.found}" + (f"  ({check.fix})" if check.fix else "")
            )
        if cost and not yes:
            confirm(cost)

    return approve


def confirm(sentence: str) -> None:
    """Ask. Raises UsageError where nobody can answer, or the answer is no."""
    progress(sentence)
    if not is_somebody_there():
        raise UsageError("Nobody is there to confirm the cost.", "Say so beforehand: --yes")
    print("Rent it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Not confirmed; nothing was rented.", "")
