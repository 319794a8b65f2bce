"""The line forward and back: provision, up and down, for whichever target a deployment is on."""

from collections.abc import Callable
from contextlib import suppress

from deploy.targets import deployment as deployments
from deploy.targets import weights
from deploy.targets.choose import target_of
from deploy.targets.deployment import Deployment, Target
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.place import Check, Status, Teardown
from infra.errors import CorralError, DocumentError, UsageError
from infra.record import removed
from serving.vllm import server
from serving.vllm.endpoint import Endpoint

Approve = Callable[[Deployment, tuple[Check, ...], str], None]
"""Told what was checked and, of what is rented, what it costs; raises when it is not to be."""


def dry_run(deployment: Deployment, options: Ec2Options) -> list[dict[str, object]]:
    """What provisioning would ask of the world; on EC2 every call, without making one."""
    if deployment.target == "ec2":
        from deploy.targets.ec2 import dry_run as ec2_dry_run
        from deploy.targets.ec2 import order as ec2_order

        return ec2_dry_run.requests(ec2_order.order(deployment, options))
    return target_of(deployment).requests(deployment)


def provision(
    deployment: Deployment,
    options: Ec2Options,
    approve: Approve,
    keep: bool = False,
    to_serve: bool = False,
) -> Deployment:
    """Make the machine ready, after what would be done has been approved.

    What is to serve next needs Session Manager on EC2: better told before a machine is rented.
    """
    refuse_another_place(deployment)
    if deployment.target == "ec2":
        return provision_ec2(deployment, options, approve, keep, to_serve)
    target = target_of(deployment)
    deployment, about = target.settled(deployment)
    approve(deployment, (*about, *target.preflight(deployment)), "")
    target.provision(deployment)
    deployment.write(deployments.folder(deployment.name) / "deployment.json")
    return deployment


def refuse_another_place(deployment: Deployment) -> None:
    """Raise UsageError when the name belongs to a deployment elsewhere, which would be lost from sight."""
    if deployment.name in deployments.names():
        known = deployments.load(deployment.name)
        if (known.target, known.hosts) != (deployment.target, deployment.hosts):
            raise UsageError(
                f"{deployment.name!r} is already a deployment on {' '.join(known.hosts) or known.target}.",
                f"Choose another --name, or take that one away: corral down {deployment.name}",
            )


def provision_ec2(
    deployment: Deployment, options: Ec2Options, approve: Approve, keep: bool, to_serve: bool
) -> Deployment:
    """Rent it."""
    from deploy.targets.ec2 import place as ec2
    from deploy.targets.ec2.needs import require
    from deploy.targets.ec2.order import order, renewed

    deployment = weights.kept(deployment)
    renewed(ec2.begun(deployment.name), order(deployment, options))  # what is asked for wrongly is told first
    if to_serve:
        require()
    deployment, about = ec2_weights(deployment, options)
    wanted = renewed(ec2.begun(deployment.name), order(deployment, options))
    placed = deployment.model_copy(update={"region": wanted.regions[0]})
    ec2.launch(placed, wanted, lambda checks, cost: approve(placed, (about, *checks), cost), keep)
    return placed


def ec2_weights(deployment: Deployment, options: Ec2Options) -> tuple[Deployment, Check]:
    """The deployment at the commit its boxes will fetch, and what there is to say of it before anything is paid for."""
    plan = deployment.plan
    if options.weights:
        return deployment, weights.stored(options.weights, plan.weights_bytes)
    token = weights.token_of(deployment)
    found = weights.look(plan, token, parameter=options.hf_token_parameter or "")
    weights.require(found)
    return weights.pinned(deployment, found.revision), weights.check(found)


def up(deployment: Deployment, options: Ec2Options, approve: Approve, keep: bool = False) -> Endpoint:
    """Provision and serve."""
    placed = provision(deployment, options, approve, keep, to_serve=True)
    return target_of(placed).serve(placed)


def down(name: str, target: Target | None = None, region: str | None = None) -> Teardown:
    """Take a deployment away and prove it. With target ec2, also one whose documents are on another machine."""
    place = deployments.folder(name)
    if target == "ec2" or (place / "ledger.jsonl").exists():
        from deploy.targets.ec2 import place as ec2

        return ec2.remove(name, region)
    found = taken_away(name, target)
    if found.left:
        return found
    left = removed([place / "deployment.json"])
    with suppress(OSError):  # the user may keep files of his own there
        place.rmdir()
    return found.model_copy(update={"left": left})


def taken_away(name: str, target: Target | None) -> Teardown:
    """Take away what is here or on hosts; here also when the document cannot be read. Raises DocumentError."""
    try:
        deployment = deployments.load(name)
    except DocumentError as error:
        if name not in deployments.names():
            error.hint = (
                f"{error.hint.rstrip('.')}. Made on EC2 from another machine? corral down {name} --target ec2"
            )
            raise
        if not is_local(name, target):
            error.hint = (
                f"Was it on this machine? corral down {name} --target local. On hosts of yours: remove that file, "
                f"corral provision PLAN --target ssh --host HOST --name {name}, then corral down {name}"
            )
            raise
        from deploy.targets.local import place as local

        return local.remove(name)
    return target_of(deployment).down(deployment)


def is_local(name: str, target: Target | None) -> bool:
    """Whether a deployment whose document cannot be read is one of this machine: as told, as stated, or as it runs."""
    place = deployments.folder(name)
    wanted = target or deployments.stated_target(name)
    return wanted == "local" or (not wanted and server.record_file(place).exists())


def status_of(name: str) -> Status:
    """A deployment's status; where it cannot be told, "unknown" with the reason, so that one hides no other."""
    try:
        deployment = deployments.load(name)
        return target_of(deployment).status(deployment)
    except CorralError as error:
        return Status(
            name=name,
            target=deployments.stated_target(name) or "unknown",
            state="unknown",
            detail=f"{error.message} {error.hint}".strip(),
        )


def extend(name: str, minutes: int) -> str:
    """Move the end of a rented deployment; when it is now. Raises UsageError for a target that has no end."""
    deployment = deployments.load(name)
    if deployment.target != "ec2":
        raise UsageError(
            f"{name} is not rented: it has no time limit to move.",
            f"End it when you like: corral down {name}",
        )
    from deploy.targets.ec2 import place as ec2
    from infra.aws.order import utc

    return utc(ec2.extend(name, minutes))
