"""What carries a tag in a region, and which values the tag has there."""

from pathlib import Path

from renting import an_order, door, fresh, up

from infra.aws.order import ORDER_TAG, TAG
from infra.aws.tag_search import is_marked, tag_types, tagged_values

MADE = {"instance", "volume", "network-interface", "security-group"}


def test_each_deployment_is_told_from_another_by_what_it_has(tmp_path: Path) -> None:
    fake, clock = fresh()
    aws = door(fake, clock, tmp_path)
    assert (tagged_values(aws, "us-east-1", TAG), tag_types(aws, "us-east-1", TAG, "t1")) == ({}, set())
    up(aws, an_order())
    up(aws, an_order(name="t2", order_id="2", user_tags={"team": "t1"}))
    assert tagged_values(aws, "us-east-1", TAG) == {"t1": MADE, "t2": MADE}
    assert tagged_values(aws, "us-east-1", "team") == {"t1": MADE}
    assert tagged_values(aws, "us-west-2", TAG) == {}
    assert tag_types(aws, "us-east-1", ORDER_TAG, "2") == MADE
    assert tag_types(aws, "us-east-1", TAG, "2") == set()


def test_a_tag_is_a_key_with_its_value() -> None:
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    assert [is_marked(tags, key, value) for key, value in (("a", "1"), ("b", "2"), ("a", "2"), ("c", "1"))] == [
        True, True, False, False,
    ]  # fmt: skip
    assert is_marked([], "a", "1") is False
