"""PURE: the root volume that corral gives a machine it rents, and EC2's rule of its speed."""

GIB = 150
MIB_PER_S = 500
"""As `corral up` asks for it where nobody says otherwise; of EBS's type gp3."""


def gp3_speed(mib_per_s: int) -> dict[str, int]:
    """EC2 wants at least 4 IOPS for each MiB/s (0.25 MiB/s per IOPS), and gives 3000 for nothing."""
    return {"Iops": max(3000, 4 * mib_per_s), "Throughput": mib_per_s}
