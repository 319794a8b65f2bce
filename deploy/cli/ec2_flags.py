"""The options of `provision` and `up` about where and how to rent, shared by both."""

from typing import Annotated

import typer

TARGETS = "local, ec2 or ssh"

Target = Annotated[str, typer.Option("--target", help=f"Where: {TARGETS}.")]
Name = Annotated[
    str | None, typer.Option("--name", help="The deployment's name; made of the plan if not given.")
]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", help="ssh: a machine of yours, USER@ADDRESS; repeatable.")
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", help="ec2: try these regions in order; repeatable. [the plan's, else the profile's]"
    ),
]
Zones = Annotated[
    list[str] | None, typer.Option("--zone", help="ec2: only these availability zones; repeatable. [all]")
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--instance-type", help="ec2: other types with the same GPUs to try; repeatable. [the plan's]"
    ),
]
Purchases = Annotated[
    list[str] | None,
    typer.Option(
        "--purchase", help="ec2: on-demand, spot or capacity-block, in order; repeatable. [on-demand]"
    ),
]
Ttl = Annotated[
    str, typer.Option("--ttl", help="ec2: it ends itself after this, laptop open or closed: 90m, 8h, 2d.")
]
Idle = Annotated[
    str, typer.Option("--idle", help="ec2: it ends itself when nobody asks for so long; or `never`.")
]
Cidr = Annotated[
    str | None,
    typer.Option(
        "--cidr", help="ec2: the one network that may reach the port, by plain HTTP. [none: Session Manager]"
    ),
]
World = Annotated[
    bool, typer.Option("--open-to-the-world", help="ec2: allow a --cidr wider than /16, or /48 of IPv6.")
]
Subnets = Annotated[
    list[str] | None, typer.Option("--subnet-id", help="ec2: only these subnets; repeatable. [default VPC]")
]
Reservation = Annotated[
    str | None,
    typer.Option("--capacity-reservation-id", help="ec2: a reservation or capacity block you own."),
]
Boundary = Annotated[
    str | None,
    typer.Option(
        "--permissions-boundary", metavar="ARN", help="ec2: the policy that bounds the roles corral makes."
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--instance-profile", metavar="NAME|ARN", help="ec2: your own for the machines. [one is made]"
    ),
]
SchedulerRole = Annotated[
    str | None,
    typer.Option(
        "--scheduler-role",
        metavar="ARN",
        help="ec2: your own role with which the schedule ends them. [one is made]",
    ),
]
SecurityGroups = Annotated[
    list[str] | None,
    typer.Option(
        "--security-group-id", help="ec2: your own groups, left as they are; repeatable. [one is made]"
    ),
]
KmsKey = Annotated[
    str | None,
    typer.Option("--kms-key-id", help="ec2: your own key for the volume: id, alias or ARN. [the account's]"),
]
Ami = Annotated[str | None, typer.Option("--ami", help="ec2: the image. [newest Deep Learning base image]")]
VolumeGib = Annotated[int, typer.Option("--volume-gib", help="ec2: size of the encrypted gp3 root volume.")]
VolumeSpeed = Annotated[int, typer.Option("--volume-mib-per-s", help="ec2: throughput of that volume.")]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", help="ec2: s3:// prefix of the checkpoint, or its folder on your AMI. [the model hub]"
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="ec2: a packed engine at s3:// or on your AMI; ssh: an engine's or wheels' folder here. [pip]",
    ),
]
HfToken = Annotated[
    str | None,
    typer.Option(
        "--hf-token-parameter", help="ec2: NAME of the SSM parameter, or ARN of the secret, with the token."
    ),
]
HfTokenFile = Annotated[
    str | None,
    typer.Option(
        "--hf-token-file",
        help="local, ssh: a file here with the Hub's token. [HF_TOKEN, HF_TOKEN_PATH, hf auth login]",
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="KEY=VALUE", help="ec2: a tag of yours on everything that is made; repeatable."
    ),
]
MaxPrice = Annotated[
    float | None, typer.Option("--max-usd-per-hour", help="ec2: refuse anything dearer, all nodes together.")
]
UnknownPrice = Annotated[
    bool, typer.Option("--allow-unknown-price", help="ec2: go on where no price is known.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")]
Keep = Annotated[
    bool, typer.Option("--keep", help="ec2: leave a failed launch for looking at; it still costs.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only print what would be asked, as JSON; asks nobody.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
