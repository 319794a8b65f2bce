"""`corral iam-policy`: what an AWS user, or a role of one's own, must be allowed."""

from deploy.targets.ec2.policy_request import PolicyOptions


def iam_policy(asked: PolicyOptions) -> None:
    """Print the least IAM policy: for who runs corral, or for roles of your own. Asks nobody."""
    import json

    from deploy.targets.ec2.policy_request import policy_for
    from infra.say import say

    say(json.dumps(policy_for(asked), indent=2), as_it_is=True)
