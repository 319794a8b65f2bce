"""AMD's GPUs of this machine, as its kernel lists them (amdkfd): corral plans for them by name and asks them nothing.

Linux, drivers/gpu/drm/amd/amdkfd/kfd_topology.c: a node each in sysfs; one with SIMDs is a GPU, and its banks of heap
type 1 or 2 are memory of its own. Read, not tried on such a machine.
"""

from pathlib import Path

NODES = Path("/sys/class/kfd/kfd/topology/nodes")
VENDOR = 0x1002
OWN_MEMORY = (1, 2)
LEAST_GIB = 16
"""A processor's own graphics have less, and are no reason to say anything."""


def memories_gib() -> tuple[float, ...]:
    """The memory of each AMD GPU that could serve; none where there is no such driver."""
    found = []
    for node in sorted(NODES.glob("*/properties")):
        said = properties(node)
        if said.get("vendor_id") == VENDOR and said.get("simd_count"):
            banks = map(properties, node.parent.glob("mem_banks/*/properties"))
            own = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in OWN_MEMORY)
            found.append(own / 2**30)
    return tuple(gib for gib in found if gib >= LEAST_GIB)


def properties(path: Path) -> dict[str, int]:
    """The numbers that a file of the kernel's names; none where it cannot be read."""
    try:
        words = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError):
        return {}
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdecimal()}
