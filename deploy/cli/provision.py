"""`corral provision`: make the machine of a plan ready: this one, a rented one, or one of yours."""

from typing import Annotated

import typer

from deploy.cli import ec2_flags as flags


def provision(
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
    dry_run: flags.DryRun = False,
    as_json: flags.Json = False,
) -> None:
    """Check everything first, show the price, ask, then make the machine ready. Safe to repeat."""
    from deploy.line import dry_run as requests
    from deploy.line import provision as run
    from deploy.provision_request import asking, wish_from
    from deploy.targets.show_provision import provisioned, shown
    from infra.say import emit, say

    wish = wish_from(locals())
    if dry_run:
        say(shown(requests(wish.deployment, wish.options)))
        return
    made = run(wish.deployment, wish.options, asking(yes), keep)
    emit(made, provisioned(made), as_json)
