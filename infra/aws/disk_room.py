"""PURE: whether what a box fetches has room on the very disk it goes to."""

from math import ceil

from infra import catalog
from infra.aws.order import Order
from infra.aws.preflight_findings import Finding, failed, ok
from infra.aws.region_offer import Image

GB, GIB = 10**9, 2**30


def disk_found(order: Order, region: str, image: Image) -> list[Finding]:
    """The root volume, and the instance's own NVMe where the image mounts it. Nothing where nothing is fetched."""
    if not order.weights_bytes:
        return []
    weights_gib = order.weights_bytes / GIB
    nvme_gib = own_disk_gib(order) if image.mounts_nvme else 0.0
    on_root_gib = image.snapshot_gib + order.engine_gib + (0 if nvme_gib else weights_gib)
    what = "image and engine" if nvme_gib else "image, engine and weights"
    sentence = f"{what} need up to {on_root_gib:.0f} of the root volume's {order.volume_gib} GiB"
    if nvme_gib:
        sentence = (
            f"{weights_gib:.1f} GiB of weights on the instance's own NVMe ({nvme_gib:.0f} GiB); {sentence}"
        )
    if nvme_gib and weights_gib > nvme_gib:
        return [
            failed(
                "disk", region, sentence, "Plan for a type with more: corral size, without --on, lists them."
            )
        ]
    if on_root_gib > order.volume_gib:
        return [failed("disk", region, sentence, f"Use --volume-gib {ceil(on_root_gib / 10) * 10}")]
    return [ok("disk", region, sentence)]


def own_disk_gib(order: Order) -> float:
    """The least NVMe of the types that may be launched."""
    return min((catalog.machine(name).nvme_gb or 0) for name in order.instance_types) * GB / GIB
