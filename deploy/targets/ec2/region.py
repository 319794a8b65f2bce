"""Where a plan is rented: as the user says, as the plan was asked for, as AWS is configured here; never by default."""

from deploy.targets.ec2.options import Ec2Options
from serving.sizing.plan import Plan


def located(options: Ec2Options, plan: Plan) -> Ec2Options:
    """The options with the regions to try. Raises UsageError where nobody named one."""
    if options.regions:
        return options
    from infra.aws.boto import configured_region  # slow to import

    return options.model_copy(update={"regions": (plan.region or configured_region(),)})
