"""The shipped facts of EC2 types, held against EC2's own answers as moto records them."""

import gzip
import json
from pathlib import Path
from typing import Any

import moto
import pytest

from infra import catalog
from infra.aws import quotas, region_offer, type_limits


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    path = Path(moto.__file__).parent / "ec2/resources/instance_types.json.gz"
    types: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return types


@pytest.mark.parametrize("name", sorted(type_limits.listed()))
def test_cards_interfaces_and_throughput_are_ec2s_own(name: str, recorded: dict[str, Any]) -> None:
    network, ebs = recorded[name]["NetworkInfo"], recorded[name]["EbsInfo"]["EbsOptimizedInfo"]
    assert type_limits.limits(name).model_dump() == {
        "network_cards": network.get("MaximumNetworkCards", 1),
        "efa_interfaces": network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        "ebs_mb_per_s": ebs["BaselineThroughputInMBps"],
    }


def test_every_type_of_the_catalogue_is_listed_and_runs_our_image(recorded: dict[str, Any]) -> None:
    names = catalog.ec2_types()
    assert set(names) - set(type_limits.listed()) == set()
    assert {
        name for name in names if "x86_64" not in recorded[name]["ProcessorInfo"]["SupportedArchitectures"]
    } == set()


def test_every_type_counts_against_a_quota() -> None:
    assert [name for name in catalog.ec2_types() if quotas.quota_of(name, "on-demand") is None] == []
    assert [name for name in catalog.ec2_types() if quotas.quota_of(name, "spot") is None] == []


def test_the_image_has_a_parameter_an_owner_and_a_date() -> None:
    known = region_offer.images()["deep-learning-base"]
    assert known["parameter"].endswith("/latest/ami-id")
    assert known["owner"].isdigit()
    assert known["checked_on"]
