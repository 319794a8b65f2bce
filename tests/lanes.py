"""The fleet's tests run two at a time, each with a network, a folder and a lock of its own."""

from pathlib import Path

# By how long they take: what they compute is half of what the others of their lane leave idle.
SECOND = {"test_cloud_init.py", "test_rented_hosts.py", "test_several_hosts.py"}


def lane_of(file: Path) -> int:
    """The lane of a file of tests/fleet."""
    return int(file.name in SECOND)
