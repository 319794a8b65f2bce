"""`corral up`: provision and serve in one go."""

from typing import Annotated

import typer

from deploy.cli import ec2_flags as flags


def up(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan.json, from corral size ... -o plan.json.")
    ],
    target: flags.Target = "local",
    name: flags.Name = None,
    host: flags.Hosts = None,
    region: flags.Regions = None,
    zone: flags.Zones = None,
    instance_type: flags.Types = None,
    purchase: flags.Purchases = None,
    ttl: flags.Ttl = "12h",
    idle: flags.Idle = "1h",
    cidr: flags.Cidr = None,
    open_to_the_world: flags.World = False,
    subnet_id: flags.Subnets = None,
    capacity_reservation_id: flags.Reservation = None,
    permissions_boundary: flags.Boundary = None,
    instance_profile: flags.Profile = None,
    scheduler_role: flags.SchedulerRole = None,
    security_group_id: flags.SecurityGroups = None,
    kms_key_id: flags.KmsKey = None,
    ami: flags.Ami = None,
    volume_gib: flags.VolumeGib = 150,
    volume_mib_per_s: flags.VolumeSpeed = 500,
    weights: flags.Weights = None,
    engine: flags.Engine = None,
    hf_token_parameter: flags.HfToken = None,
    hf_token_file: flags.HfTokenFile = None,
    tag: flags.Tags = None,
    max_usd_per_hour: flags.MaxPrice = None,
    allow_unknown_price: flags.UnknownPrice = False,
    yes: flags.Yes = False,
    keep: flags.Keep = False,
    as_json: flags.Json = False,
) -> None:
    """Make the machine ready and serve on it; returns when it answers. Safe to repeat."""
    from deploy.line import up as run
    from deploy.provision_request import asking, wish_from
    from deploy.targets.show_server import endpoint
    from infra.say import emit

    wish = wish_from(locals())
    found = run(wish.deployment, wish.options, asking(yes), keep)
    emit(found, endpoint(wish.deployment.name, found), as_json)
