"""`corral up`: provision and serve in one go."""

from deploy.cli.flags import Json, PlanFile, Yes
from deploy.provision_request import Where
from deploy.targets.wishes import Wishes


def up(
    plan: PlanFile,
    where: Where,
    wishes: Wishes,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make the machine ready and serve on it; returns when it answers. Safe to repeat."""
    from deploy.line import up as run
    from deploy.provision_request import approval, asking_for
    from deploy.targets.show_server import endpoint
    from infra.say import emit

    asking = asking_for(plan, where, wishes)
    answering = run(asking.deployment, asking.wishes, approval(yes))
    emit(answering, endpoint(asking.deployment.name, answering, asking.deployment.plan.workload), as_json)
