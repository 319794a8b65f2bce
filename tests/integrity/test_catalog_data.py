"""The shipped tables: hardware against EC2's own description, prices against sense."""

import gzip
import json
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest

from infra.catalog import ec2_types, gpus
from infra.hardware import Machine
from infra.prices import price_of, rows
from serving.model.models import models

DESCRIBED: dict[str, Any] = json.loads(
    gzip.decompress(files("moto").joinpath("ec2/resources/instance_types.json.gz").read_bytes())
)
UNPRICED: set[str] = set()
"""No source we trust has their price."""


@pytest.mark.parametrize("machine", ec2_types().values(), ids=lambda machine: machine.name)
def test_every_type_is_as_ec2_describes_it(machine: Machine) -> None:
    """moto carries recorded answers of DescribeInstanceTypes."""
    said = DESCRIBED[machine.name]
    gpu = said["GpuInfo"]["Gpus"][0]
    assert (gpu["Count"], said["VCpuInfo"]["DefaultVCpus"]) == (machine.gpus_per_host, machine.vcpus)
    assert said["MemoryInfo"]["SizeInMiB"] / 1024 == machine.ram_gib
    assert said["InstanceStorageInfo"]["TotalSizeInGB"] == machine.nvme_gb
    assert machine.gpu is not None
    nominal = gpu["MemoryInfo"]["SizeInMiB"] / 1024
    assert machine.gpu.torch_gib < nominal
    assert machine.gpu.torch_gib > 0.88 * nominal


def test_every_type_has_a_price_or_is_known_to_have_none() -> None:
    assert {name for name, machine in ec2_types().items() if price_of(machine) is None} == UNPRICED


def test_prices_are_sensible_and_name_their_source() -> None:
    for row in rows():
        assert row.instance_type in ec2_types()
        assert Decimal("0.1") < row.usd_per_hour < Decimal(200)
        assert date(2025, 6, 1) < row.checked_on <= date.today()
        assert len(row.source) > 20


def test_no_price_is_from_before_the_cuts_of_2025() -> None:
    """Blogs still print these."""
    stale = {Decimal("98.32"), Decimal("32.7726"), Decimal("40.96575"), Decimal("84.80")}
    assert not stale & {row.usd_per_hour for row in rows()}


def test_the_prices_that_were_asked_about() -> None:
    asked = {
        "g5.12xlarge": "5.672",
        "g5.48xlarge": "16.288",
        "p5.48xlarge": "55.04",
        "p4de.24xlarge": "27.44705",
    }
    prices = {name: price_of(ec2_types()[name]) for name in asked}
    assert {name: str(price.usd_per_hour) for name, price in prices.items() if price} == asked


def test_a_gpu_that_nobody_looked_up_says_so() -> None:
    assert {name for name, gpu in gpus().items() if gpu.torch_gib_source == "estimated"} >= {
        "A100-40GB",
        "H200",
        "B200",
    }
    assert all(gpu.torch_gib_error > 0 for gpu in gpus().values())


def test_every_checkpoint_is_a_repository_with_a_source() -> None:
    for model in models().values():
        for checkpoint in model.checkpoints.values():
            assert checkpoint.repo.count("/") == 1
            assert checkpoint.source
