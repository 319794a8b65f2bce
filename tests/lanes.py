"""The fleet's tests run three at a time, each with a network, a folder and a lock of its own."""

from pathlib import Path

# Those with the real engine, by how long they take; in the first lane are the others, which leave most of a core idle.
LANES = {"test_cloud_init.py": 1, "test_several_hosts.py": 1, "test_bad_day.py": 2, "test_ranks.py": 2}


def lane_of(file: Path) -> int:
    """The lane of a file of tests/fleet."""
    return LANES.get(file.name, 0)


def port_of(lane: int) -> int:
    """Where its servers listen, and their tunnels here: no other test's, for while a host is off it is free."""
    return 18_000 + 100 * lane
