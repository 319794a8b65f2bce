"""PURE: the places a deployment can be at. A new place is a folder and a row here."""

from typing import NamedTuple


class Row(NamedTuple):
    """Where corral finds what it knows of a place."""

    module: str
    """The functions that deploy/targets/place.py lists; imported for a deployment that is there: one needs boto3."""
    wishes: str = ""
    """The record of what may be asked of it, as MODULE.CLASS; its fields are flags. Empty where nothing may."""
    trace: str = ""
    """The file that only it leaves in a deployment's folder: whose it is where the document cannot be read."""
    begun: str = ""
    """The file that lies there as long as something of it may stand elsewhere, whatever the document says."""
    rents: bool = False
    """Whether its machines are the types that EC2 rents out; else they are there, or somebody's own."""


PLACES = {
    "local": Row("deploy.targets.local.place", trace="server.json"),
    "ec2": Row(
        "deploy.targets.ec2.place",
        "deploy.targets.ec2.options.Ec2Options",
        trace="ledger.jsonl",
        begun="order.json",
        rents=True,
    ),
    "ssh": Row("deploy.targets.ssh.place", "deploy.targets.ssh.options.SshOptions"),
}
"""The first is where a deployment is when nobody says."""


def default() -> str:
    """Where a deployment is when nobody says."""
    return next(iter(PLACES))


def renting() -> str:
    """The first place that rents machines; where a deployment is where none does."""
    return next((place for place, row in PLACES.items() if row.rents), default())
