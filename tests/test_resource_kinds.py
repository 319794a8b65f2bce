"""Every type of resource is found and removed by calls that EC2 has, held against botocore's model of it."""

from typing import Any

import botocore.session
import pytest

from infra.aws.resource_kinds import KINDS, TYPES, Kind

EC2: Any = botocore.session.Session().get_service_model("ec2")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_its_calls_and_names_are_ec2s(kind: Kind) -> None:
    answer = EC2.operation_model(kind.describe).output_shape.members[kind.key].member
    row = answer if kind.key != "Reservations" else answer.members["Instances"].member
    assert kind.id_key in row.members
    if kind.gone:
        state = row.members[kind.state_key]
        names = state.enum if state.type_name == "string" else state.members["Name"].enum
        assert set(kind.gone) < set(names)
    asked = EC2.operation_model(kind.delete).input_shape.members[kind.id_parameter]
    assert asked.type_name == ("list" if kind.id_parameter.endswith("s") else "string")


def test_the_tag_types_are_ec2s() -> None:
    assert {kind.tag_type for kind in KINDS} < set(EC2.shape_for("ResourceType").enum)
    assert {kind.type: kind.tag_type for kind in KINDS} == {
        "instances": "instance",
        "spot_requests": "spot-instances-request",
        "elastic_ips": "elastic-ip",
        "network_interfaces": "network-interface",
        "volumes": "volume",
        "security_groups": "security-group",
        "placement_groups": "placement-group",
        "launch_templates": "launch-template",
        "key_pairs": "key-pair",
        "capacity_reservations": "capacity-reservation",
    }


def test_what_uses_something_goes_before_it() -> None:
    order = [kind.type for kind in KINDS]
    before = [
        ("instances", "network_interfaces"),
        ("instances", "volumes"),
        ("network_interfaces", "security_groups"),
        ("instances", "placement_groups"),
        ("instances", "capacity_reservations"),
    ]
    assert [pair for pair in before if order.index(pair[0]) > order.index(pair[1])] == []
    assert [kind.type for kind in KINDS if kind.goes_with_the_machine] == ["network_interfaces", "volumes"]
    assert ("schedules", *order, "instance_profiles", "roles") == TYPES
