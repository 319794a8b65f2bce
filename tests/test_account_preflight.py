"""What a preflight concludes, as values: what is said of each thing that was looked at, and which error follows."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock
from renting import an_order, door

from infra.aws import account_preflight
from infra.aws.account_preflight import Survey
from infra.aws.failures import ApiFailure, Refused
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.region_offer import Image, Subnet
from infra.aws.request import Request, Spot
from infra.errors import AuthError, CapacityError, CloudError, CorralError, UsageError

HERE = "us-east-1"

# By rank: what is told where several things fail.
ERRORS: dict[Any, type[CorralError]] = {
    "permission": AuthError,
    "roles": UsageError,
    "reservation": CapacityError,
    "volume": CloudError,
    "disk": UsageError,
    "bucket": UsageError,
    "network": CloudError,
    "image": CloudError,
    "price": UsageError,
    "quota": CapacityError,
    "zones": CapacityError,
}


def test_the_worst_of_what_was_found_is_told_with_its_remedy() -> None:
    problems = [failed(topic, HERE, f"of {topic}", f"mend {topic}") for topic in reversed(ERRORS)]
    for topic, kind in ERRORS.items():
        error = account_preflight.verdict(problems)
        assert (type(error), error.message, error.hint) == (
            kind,
            f"This cannot be launched. {topic}: us-east-1: of {topic}.",
            f"mend {topic}",
        )
        problems = [problem for problem in problems if problem.topic != topic]
    error = account_preflight.verdict(problems)
    assert (type(error), error.message, error.hint) == (
        CapacityError,
        "This cannot be launched: no zone is left to try.",
        "Allow more: --region, --zone",
    )


def test_each_region_says_its_own_of_the_same_topic() -> None:
    problems = [failed("quota", region, f"none in {region}", f"ask {region}") for region in ("r1", "r2")]
    error = account_preflight.verdict(problems)
    assert (error.message, error.hint) == (
        "This cannot be launched. quota: r1: none in r1; r2: none in r2.",
        "ask r1",
    )


class Partly:
    """AWS, whose regions but the last refuse to know us."""

    def __init__(self, code: str) -> None:
        self.code, self.asked = code, list[str]()

    def send(self, request: Request) -> dict[str, Any]:
        self.asked.append(request.region)
        assert (request.service, request.operation, request.parameters) == ("sts", "GetCallerIdentity", {})
        if request.region != "r3":
            raise ApiFailure(self.code, "no")
        return {"Account": 12, "Arn": "arn:a"}


@pytest.mark.parametrize(
    "code", ["AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"]
)
def test_a_region_that_is_not_enabled_is_passed_over_for_one_that_knows_us(code: str, tmp_path: Path) -> None:
    partly = Partly(code)
    aws = door(partly, Clock(), tmp_path)
    me = account_preflight.identity(aws, ("r1", "r2", "r3"))
    assert (me.account, me.arn, partly.asked) == ("12", "arn:a", ["r1", "r2", "r3"])
    with pytest.raises(Refused) as error:
        account_preflight.identity(aws, ("r1", "r2"))
    assert (error.value.code, partly.asked[3:]) == (code, ["r1", "r2"])


def test_what_is_refused_for_another_reason_is_asked_once(tmp_path: Path) -> None:
    partly = Partly("ExpiredToken")
    with pytest.raises(Refused):
        account_preflight.identity(door(partly, Clock(), tmp_path), ("r1", "r3"))
    assert partly.asked == ["r1"]


def a_survey(**changes: Any) -> Survey:
    nothing: dict[str, Any] = dict.fromkeys(("sites", "spots", "findings", "rates", "prices", "running"), ())
    return Survey(**({"account": "1", "arn": "a"} | nothing | changes))


SPOT = Spot(region=HERE, zone="us-east-1a", subnet_id="s", instance_type="g5.12xlarge", purchase="on-demand")


def test_only_a_failure_keeps_from_a_launch() -> None:
    seen = a_survey(spots=(SPOT,), findings=(warning("network", HERE, "w", "f"),))
    assert account_preflight.checked(seen, an_order()) is seen
    seen = a_survey(
        findings=(warning("permission", HERE, "w", "f"), failed("image", HERE, "gone", "name one"))
    )
    with pytest.raises(CloudError) as error:
        account_preflight.checked(seen, an_order())
    assert (error.value.message, error.value.hint) == (
        "This cannot be launched. image: us-east-1: gone.",
        "name one",
    )


@pytest.mark.parametrize(("by", "named"), [("bob@lab", "bob@lab"), ("", "somebody")])
def test_whose_machines_already_run_under_the_name(by: str, named: str) -> None:
    tags = {"corral:order": "another"} | ({"corral:created-by": by} if by else {})
    row = {"InstanceId": "i-1", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    ours = {"InstanceId": "i-0", "Tags": [{"Key": "corral:order", "Value": an_order().order_id}]}
    assert account_preflight.checked(a_survey(running=(ours,)), an_order()).running == (ours,)
    with pytest.raises(UsageError) as error:
        account_preflight.checked(a_survey(running=(ours, row, {"InstanceId": "i-2"})), an_order())
    assert (error.value.message, error.value.hint) == (
        f"'t1' is already up: i-1, made by {named}.",
        "Choose another --name, or take that one away: corral down t1 --target ec2",
    )


def test_places_are_ranked_by_purchase_region_type_zone() -> None:
    order = an_order(
        regions=("us-west-2", "us-east-1"), instance_types=("g6.12xlarge", "g5.12xlarge"),
        purchases=("spot", "on-demand"),
    )  # fmt: skip
    places = list(product(order.purchases, order.regions, order.instance_types, ("a", "b")))
    spots = [
        Spot(region=region, zone=zone, subnet_id="s", instance_type=name, purchase=purchase)
        for purchase, region, name, zone in places
    ]
    assert [account_preflight.rank(order, spot) for spot in spots] == [
        (order.purchases.index(purchase), order.regions.index(region), order.instance_types.index(name), zone)
        for purchase, region, name, zone in places
    ]


def subnet(zone: str, free_addresses: int = 9) -> Subnet:
    return Subnet(
        subnet_id=f"subnet-{zone}", vpc_id="vpc-1", zone=zone, public=True, free_addresses=free_addresses
    )


@pytest.mark.parametrize(
    ("zones", "sold", "nets", "said"),
    [
        ((), {"g5.12xlarge": ("a", "b"), "g6.12xlarge": ("c",)}, "bc",
         ok("zones", HERE, "g5.12xlarge or g6.12xlarge in b, c")),
        (("c",), {"g5.12xlarge": ("a", "b"), "g6.12xlarge": ("c",)}, "bc",
         ok("zones", HERE, "g5.12xlarge or g6.12xlarge in c")),
        ((), {"g5.12xlarge": (), "g6.12xlarge": ()}, "a",
         failed("zones", HERE, "no zone sells g5.12xlarge or g6.12xlarge", "Try another region: --region us-east-1")),
        ((), {"g5.12xlarge": ("b", "a"), "g6.12xlarge": ()}, "dc",
         failed("zones", HERE, "g5.12xlarge or g6.12xlarge is sold in a, b; the subnets are in c, d",
                "Name a subnet in one of those zones (--subnet-id), or another --zone.")),
        (("b",), {"g5.12xlarge": ("a",), "g6.12xlarge": ()}, "",
         failed("zones", HERE, "g5.12xlarge or g6.12xlarge is sold in a; the subnets are in no zone",
                "Name a subnet in one of those zones (--subnet-id), or another --zone.")),
    ],
)  # fmt: skip
def test_which_zones_will_do(
    zones: tuple[str, ...], sold: dict[str, tuple[str, ...]], nets: str, said: Finding
) -> None:
    order = an_order(zones=zones, instance_types=("g5.12xlarge", "g6.12xlarge"))
    assert account_preflight.zones_found(order, HERE, sold, {zone: subnet(zone) for zone in nets}) == said


def test_the_places_of_a_type_are_the_wanted_zones_with_a_subnet() -> None:
    nets = {zone: subnet(zone) for zone in "bcd"}

    def zones(*wanted: str) -> list[tuple[str, str]]:
        spots = account_preflight.spots_of(
            an_order(zones=wanted), HERE, "g5.12xlarge", "spot", ("a", "b", "c"), nets
        )
        assert {(spot.region, spot.instance_type, spot.purchase) for spot in spots} <= {
            (HERE, "g5.12xlarge", "spot")
        }
        return [(spot.zone, spot.subnet_id) for spot in spots]

    assert zones() == [("b", "subnet-b"), ("c", "subnet-c")]
    assert zones("c", "a") == [("c", "subnet-c")]


IMAGE = Image(image_id="ami-1", name="plain", root_device="/dev/sda1", snapshot_gib=75, architecture="x86_64")


@pytest.mark.parametrize(
    ("order", "image", "said"),
    [
        ({}, None, failed("image", HERE, "the Deep Learning base image is not available", "Name one: --ami ami-...")),
        ({"ami": "ami-0000000000000009"}, None,
         failed("image", HERE, "ami-0000000000000009 is not available", "Name one: --ami ami-...")),
        ({}, {"architecture": "arm64"}, failed("image", HERE, "ami-1 is arm64", "Use an x86_64 image.")),
        ({"volume_gib": 74}, {},
         failed("volume", HERE, "74 GiB; the image alone is 75 GiB", "Use --volume-gib 150")),
        ({"volume_gib": 75}, {}, ok("image", HERE, "ami-1 plain")),
    ],
)  # fmt: skip
def test_what_is_said_of_an_image(order: dict[str, Any], image: dict[str, Any] | None, said: Finding) -> None:
    there = None if image is None else IMAGE.model_copy(update=image)
    assert account_preflight.image_found(an_order(**order), HERE, there) == [said]


@pytest.mark.parametrize(
    ("mib_per_s", "types", "reads"),
    [
        (83, ("g5.xlarge",), ""),
        (84, ("g5.xlarge",), "88"),
        (1000, ("g5.12xlarge", "g5.4xlarge"), "594"),
        # EBS gives 1,048.6 MB for the 1,000 MiB.
        (1000, ("gr6.4xlarge",), "1000"),
        (954, ("gr6.4xlarge",), "1000"),
        (953, ("gr6.4xlarge",), ""),
        (1000, ("nobody's",), ""),
    ],
)
def test_a_volume_is_not_paid_for_faster_than_the_slowest_type_reads(
    mib_per_s: int, types: tuple[str, ...], reads: str
) -> None:
    said = account_preflight.slow_volume(an_order(volume_mib_per_s=mib_per_s, instance_types=types), HERE)
    sentence = f"{mib_per_s} MiB/s asked; the type reads at {reads} MB/s"
    fix = "Lower --volume-mib-per-s; the rest is paid for nothing."
    assert said == ([warning("volume", HERE, sentence, fix)] if reads else [])


def test_what_is_told_of_an_open_port_of_several_machines_and_of_an_engine_without_a_lock() -> None:
    plain = an_order()
    assert account_preflight.open_found(plain, HERE) == []
    assert account_preflight.several_found(plain, HERE) == []
    assert account_preflight.unlocked_found(plain) == []
    assert account_preflight.open_found(an_order(cidr="203.0.113.0/24", port=8443), HERE) == [
        warning(
            "network",
            HERE,
            "port 8443 is opened to 203.0.113.0/24 by plain HTTP: prompts, answers and the key in the clear",
            "Leave out --cidr: Session Manager encrypts. Or put a proxy with TLS before it.",
        )
    ]
    assert account_preflight.several_found(an_order(nodes=2), HERE) == [
        warning(
            "network",
            HERE,
            "one server over rented machines: derived from owned hosts, never run on EC2 or over EFA",
            "Without its OFI plugin NCCL silently uses TCP (vLLM PR 55783): look for NET/OFI in corral logs.",
        )
    ]
    unlocked = an_order(regions=("us-west-2", HERE), engine_unlocked="vllm 0.99.0")
    assert account_preflight.unlocked_found(unlocked) == [
        warning(
            "engine",
            "us-west-2",
            "vllm 0.99.0 has no lock: the box installs what the package index has that day",
            "Plan with a version that has one (README), or bring a packed engine: --engine",
        )
    ]


def test_a_subnet_without_an_address_for_each_machine_is_told() -> None:
    order = an_order(nodes=2)
    assert account_preflight.full_found(order, HERE, (subnet("a", 2), subnet("b", 1))) == [
        warning(
            "network",
            HERE,
            "subnet-b in b has 1 free addresses, so it is not tried",
            "Name another: --subnet-id",
        )
    ]
