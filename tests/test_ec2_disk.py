"""Room for the weights on the disk they go to: the instance's own NVMe where the image mounts it, else the root."""

import pytest
from renting import an_order

from infra.aws.disk_room import disk_found
from infra.aws.preflight_findings import Finding, failed, ok
from infra.aws.region_offer import Image

BF16, INT4 = 217_283_738_720, 65_733_451_776


def found(name: str, snapshot_gib: int, **changes: object) -> list[Finding]:
    image = Image(
        image_id="ami-1", name=name, root_device="/dev/sda1", snapshot_gib=snapshot_gib, architecture="x86_64"
    )
    return disk_found(an_order(**({"engine_gib": 12.0} | changes)), "us-east-1", image)


DLAMI = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261001"


def test_nothing_is_said_where_nothing_is_fetched() -> None:
    assert found(DLAMI, 75) == []


def test_the_instances_own_disk_holds_the_weights_where_the_image_mounts_it() -> None:
    said = (
        "202.4 GiB of weights on the instance's own NVMe (7078 GiB); "
        "image and engine need up to 87 of the root volume's 150 GiB"
    )
    g7e = ("g7e.24xlarge",)
    assert found(DLAMI, 75, weights_bytes=BF16, instance_types=g7e) == [ok("disk", "us-east-1", said)]


def test_a_plain_image_puts_them_on_the_root_volume_which_must_hold_them() -> None:
    """Found out on the paid machine before: 217 GB onto 150 GiB."""
    said = "image, engine and weights need up to 222 of the root volume's 150 GiB"
    plain, g7e = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04", ("g7e.24xlarge",)
    (refused,) = found(plain, 8, weights_bytes=BF16, instance_types=g7e)
    assert refused == failed("disk", "us-east-1", said, "Use --volume-gib 230")
    (enough,) = found(plain, 8, weights_bytes=BF16, instance_types=g7e, volume_gib=230)
    assert enough.outcome == "ok"


@pytest.mark.parametrize(
    ("types", "outcome"), [(("g5.xlarge",), "failed"), (("g5.12xlarge", "g5.xlarge"), "failed")]
)
def test_the_smallest_of_the_types_that_may_be_launched_must_hold_them(
    types: tuple[str, ...], outcome: str
) -> None:
    (one,) = found(DLAMI, 75, weights_bytes=250 * 2**30, instance_types=types)
    assert (one.outcome, one.fix) == (
        outcome,
        "Plan for a type with more: corral size, without --on, lists them.",
    )


def test_the_root_volume_must_hold_image_and_engine_even_so() -> None:
    (one,) = found(DLAMI, 75, weights_bytes=INT4, volume_gib=80)
    assert (one.outcome, one.fix) == ("failed", "Use --volume-gib 90")
