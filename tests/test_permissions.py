"""What is asked ahead of what may be done: each request whole, and what comes of each answer."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from renting import an_order

from infra.aws import permissions
from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.request import Request, Site, Spot, dry, ec2, run_instances

HERE = Site(region="us-east-1", account="1", vpc_id="vpc-1", image_id="ami-1", root_device="/dev/sda1")
SPOT, ON_DEMAND = (
    Spot(
        region="us-east-1", zone="us-east-1a", subnet_id="s-1", instance_type="g5.12xlarge", purchase=purchase
    )
    for purchase in ("spot", "on-demand")
)
ANN = "arn:aws:iam::1:user/ann"


def answering(*codes: str) -> tuple[Aws, list[Request]]:
    """AWS that refuses one call after the other, for those reasons; the last of them all that follow."""
    asked: list[Request] = []

    def call(request: Request) -> dict[str, Any]:
        asked.append(request)
        raise Refused(request, codes[min(len(asked), len(codes)) - 1], "You may not.")

    return cast(Aws, SimpleNamespace(call=call, ask=call)), asked


@pytest.mark.parametrize(
    ("own", "there_not_yet"),
    [
        ({}, {"IamInstanceProfile", "Groups"}),
        ({"instance_profile": "mine"}, {"Groups"}),
        ({"security_group_ids": ("sg-1",)}, {"IamInstanceProfile"}),
        ({"instance_profile": "mine", "security_group_ids": ("sg-1",)}, set()),
    ],
)
def test_a_launch_is_tried_without_what_is_made_for_it(own: dict[str, Any], there_not_yet: set[str]) -> None:
    order = an_order(nodes=2, instance_types=("p5.48xlarge",), **own)
    spot = SPOT.model_copy(update={"instance_type": "p5.48xlarge"})
    wanted = dict(run_instances(order, HERE, spot, "sg-0").parameters)
    assert {"IamInstanceProfile", "Placement", "ClientToken"} <= wanted.keys()
    for name in {"Placement", "ClientToken"} | (there_not_yet - {"Groups"}):
        del wanted[name]
    if "Groups" in there_not_yet:
        wanted["NetworkInterfaces"] = [
            {name: value for name, value in card.items() if name != "Groups"}
            for card in wanted["NetworkInterfaces"]
        ]
    assert permissions.launch_dry_run(order, HERE, spot) == dry(ec2("us-east-1", "RunInstances", **wanted))


@pytest.mark.parametrize(
    ("spots", "own", "tried"),
    [
        ([], (), []),
        ([SPOT, SPOT], (), ["CreateSecurityGroup", "RunInstances"]),
        ([SPOT, ON_DEMAND], (), ["CreateSecurityGroup", "RunInstances", "RunInstances"]),
        ([ON_DEMAND], ("sg-1",), ["RunInstances"]),
        ([], ("sg-1",), []),
    ],
)
def test_each_way_of_buying_is_tried_once(spots: list[Spot], own: tuple[str, ...], tried: list[str]) -> None:
    aws, asked = answering("DryRunOperation")
    assert permissions.dry_runs(aws, an_order(security_group_ids=own), HERE, spots) == []
    assert [request.operation for request in asked] == tried


def test_what_is_denied_is_a_finding_and_anything_else_ends_it() -> None:
    aws, _ = answering("UnauthorizedOperation", "DryRunOperation")
    (finding,) = permissions.dry_runs(aws, an_order(), HERE, [SPOT])
    assert (finding.topic, finding.region, finding.outcome) == ("permission", "us-east-1", "failed")
    assert finding.found == "ec2:CreateSecurityGroup is denied: UnauthorizedOperation: You may not"
    aws, _ = answering("InvalidParameterValue")
    with pytest.raises(Refused, match="InvalidParameterValue"):
        permissions.dry_runs(aws, an_order(), HERE, [SPOT])


def test_a_simulator_that_may_not_be_asked_is_a_warning() -> None:
    aws, asked = answering("AccessDenied")
    (finding,) = permissions.simulated(aws, an_order(), ANN, "1")
    assert (finding.topic, finding.outcome, finding.found, finding.fix) == (
        "permission", "warning", "IAM was not asked ahead: AccessDenied", "The calls will tell.",
    )  # fmt: skip
    assert asked == [permissions.simulation_request(an_order(), ANN, "1")]


@pytest.mark.parametrize(
    ("own", "made"),
    [
        (
            {},
            [
                "iam::1:role/corral-t1-box",
                "iam::1:instance-profile/corral-t1-box",
                "iam::1:role/corral-t1-end",
            ],
        ),
        ({"instance_profile": "mine"}, ["iam::1:role/corral-t1-end"]),
        ({"instance_profile": "mine", "scheduler_role": "arn:aws:iam::1:role/mine"}, ["iam::1:role/mine"]),
    ],
)
def test_the_simulator_is_asked_about_what_will_be_made(own: dict[str, Any], made: list[str]) -> None:
    request = permissions.simulation_request(an_order(**own), ANN, "1")
    assert (request.service, request.operation, request.region) == (
        "iam",
        "SimulatePrincipalPolicy",
        "us-east-1",
    )
    asked = request.parameters
    assert asked["ResourceArns"] == [
        *(f"arn:aws:{place}" for place in made),
        "arn:aws:scheduler:us-east-1:1:schedule-group/corral-t1",
        "arn:aws:scheduler:us-east-1:1:schedule/corral-t1/end",
        "arn:aws:ec2:us-east-1:1:instance/*",
    ]
    assert [name for name in asked["ActionNames"] if name.endswith(("Role", "Profile"))] == [
        *(name for name in permissions.UNTRIED_ROLE if name.endswith("Role") and len(own) < 2),
        *(name for name in permissions.UNTRIED_PROFILE if not own),
        "iam:PassRole",
    ]
