"""What EC2 says of a type beyond the catalogue: network cards, EFA interfaces, EBS throughput."""

from functools import cache

from infra.data import shipped_table
from infra.record import Record


class TypeLimits(Record):
    """The limits of one EC2 type that shape the request for it."""

    network_cards: int = 1
    efa_interfaces: int = 0
    ebs_mb_per_s: float | None = None
    """The baseline; None when unknown."""


def limits(instance_type: str) -> TypeLimits:
    """The limits of a type; one card and no EFA for a type we do not list."""
    return listed().get(instance_type, TypeLimits())


@cache
def listed() -> dict[str, TypeLimits]:
    """Parse type_limits.toml once."""
    data = shipped_table("infra.aws", "type_limits.toml")
    return {name: TypeLimits(**row) for name, row in data["type"].items()}
