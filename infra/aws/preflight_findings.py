"""What a preflight finds: the thing looked at, whether it is well, and how to mend it."""

from typing import Literal

from infra.record import Record

Topic = Literal[
    "identity",
    "zones",
    "network",
    "image",
    "quota",
    "price",
    "permission",
    "roles",
    "volume",
    "disk",
    "bucket",
    "running",
    "reservation",
    "engine",
]


class Finding(Record):
    """One thing that was looked at."""

    topic: Topic
    region: str
    outcome: Literal["ok", "warning", "failed"]
    found: str
    fix: str = ""


def ok(topic: Topic, region: str, found: str) -> Finding:
    """All is well."""
    return Finding(topic=topic, region=region, outcome="ok", found=found)


def warning(topic: Topic, region: str, found: str, fix: str) -> Finding:
    """Worth knowing; no reason to stop."""
    return Finding(topic=topic, region=region, outcome="warning", found=found, fix=fix)


def failed(topic: Topic, region: str, found: str, fix: str) -> Finding:
    """Nothing can be launched there."""
    return Finding(topic=topic, region=region, outcome="failed", found=found, fix=fix)
