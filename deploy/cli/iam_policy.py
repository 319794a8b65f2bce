"""`corral iam-policy`: what an AWS user, or a role of one's own, must be allowed."""

from typing import Annotated

import typer

from deploy.cli import ec2_flags as flags


def iam_policy(
    form: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="WHOM",
            help="user: who runs corral; boundary: the most its roles may do; box, scheduler: roles of your own.",
        ),
    ] = "user",
    partition: Annotated[
        str | None, typer.Option(help="aws, aws-us-gov or aws-cn. [that of the regions, else aws]")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Rent in these regions alone; repeatable. [all]")
    ] = None,
    instance_type: Annotated[
        list[str] | None, typer.Option(help="Rent these alone, as g5.12xlarge or g5.*; repeatable. [all]")
    ] = None,
    permissions_boundary: flags.Boundary = None,
    instance_profile: flags.Profile = None,
    instance_role: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="The role in that profile. [the one of the profile's name]"),
    ] = None,
    scheduler_role: flags.SchedulerRole = None,
    security_group_id: flags.SecurityGroups = None,
    kms_key_id: flags.KmsKey = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="What of S3 the machines may read, s3://BUCKET/PREFIX/, and `weights push` fill; repeatable."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="boundary, box: a packed engine they may read, s3://BUCKET/FILE; repeatable."),
    ] = None,
    hf_token_parameter: Annotated[
        list[str] | None,
        typer.Option(help="boundary, box: the parameter or secret they may read; repeatable."),
    ] = None,
) -> None:
    """Print the least IAM policy: for who runs corral, or for roles of your own. Asks nobody."""
    import json

    from deploy.targets.ec2.policy_request import policy_for, stored
    from infra.say import say

    found = policy_for(
        form,
        partition,
        regions=tuple(region or ()),
        instance_types=tuple(instance_type or ()),
        permissions_boundary=permissions_boundary,
        instance_profile=instance_profile,
        instance_role=instance_role,
        scheduler_role=scheduler_role,
        security_group_ids=tuple(security_group_id or ()),
        kms_key_id=kms_key_id,
        read_s3=stored(tuple(weights or ()), tuple(engine or ())),
        read_parameters=tuple(hf_token_parameter or ()),
    )
    say(json.dumps(found, indent=2))
