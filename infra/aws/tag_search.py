"""What carries a tag in a region, one call each."""

from infra.aws.api import Aws
from infra.aws.request import ec2


def tag_types(aws: Aws, region: str, key: str, value: str) -> set[str]:
    """The types of what carries a tag in a region: one call."""
    filters = [{"Name": "key", "Values": [key]}, {"Name": "value", "Values": [value]}]
    return {row["ResourceType"] for row in aws.pages(ec2(region, "DescribeTags", Filters=filters), "Tags")}


def tagged_values(aws: Aws, region: str, key: str) -> dict[str, set[str]]:
    """The values that a tag has in a region, each with the types of what carries it: one call."""
    filters = [{"Name": "key", "Values": [key]}]
    found: dict[str, set[str]] = {}
    for row in aws.pages(ec2(region, "DescribeTags", Filters=filters), "Tags"):
        found.setdefault(str(row["Value"]), set()).add(str(row["ResourceType"]))
    return found


def is_marked(tags: list[dict[str, str]], key: str, value: str) -> bool:
    """Whether tags hold that key and value."""
    return any(tag["Key"] == key and tag["Value"] == value for tag in tags)
