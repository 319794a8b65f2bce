"""A region of AWS as a user names it: every flag that takes one is of this type."""

from typing import Annotated

from pydantic import AfterValidator, Field

from infra import prices


def checked_region(name: str) -> str:
    """Return the name. Raises UsageError for a region that AWS does not have; asks nobody."""
    if name not in prices.regions():
        from infra.aws.boto import checked_regions  # slow to import, and seldom needed

        checked_regions((name,))
    return name


Region = Annotated[str, AfterValidator(checked_region), Field(examples=["us-east-1"])]
