"""`corral iam-policy`: what an AWS user must be allowed to rent with corral."""


def iam_policy() -> None:
    """Print the least IAM policy that `up`, `down`, `status`, `extend` and `reap` work with."""
    import json

    from deploy.cli.output import say
    from infra.aws.user_policy import policy

    say(json.dumps(policy(), indent=2))
