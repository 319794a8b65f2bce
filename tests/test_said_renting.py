"""What is said while machines are rented, stopped, started and taken away: every line, on a simulated AWS."""

from collections.abc import Callable
from pathlib import Path

import pytest
from renting import an_order, down, fresh, up

from infra.aws import power
from infra.aws.api import Aws
from infra.aws.ledger import Ledger
from infra.aws.renting import told
from infra.errors import CapacityError


class Account:
    """An account in which what is said is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fake, self.clock = fresh()
        self.lines: list[str] = []

    def said(self, do: Callable[[Aws], object]) -> list[str]:
        """What is said while that is done, the ids by their order."""
        self.lines.clear()
        ledger = Ledger(self.folder / "ledger.jsonl")
        do(Aws(self.fake, ledger, sleep=self.clock.sleep, clock=self.clock, say=self.lines.append))
        ids = sorted(self.fake.regions["us-east-1"].instances)
        lines = list(self.lines)
        for number, each in enumerate(ids):
            lines = [line.replace(each, f"i-{number}") for line in lines]
        return list(dict.fromkeys(lines))


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


@told
def stop(aws: Aws) -> None:
    power.stop(aws, an_order())


def test_each_line_of_a_life(account: Account) -> None:
    lives = [
        account.said(lambda aws: up(aws, an_order())),
        account.said(lambda aws: up(aws, an_order())),
        account.said(stop),
        account.said(lambda aws: up(aws, an_order())),
        account.said(down),
    ]
    assert lives == [
        [
            "on-demand g5.12xlarge in us-east-1a: launched i-0",
            "waiting for i-0: pending",
            "waiting for i-0: running",
        ],
        ["already launched: i-0"],
        ["waiting for i-0: stopping"],
        ["stopped: i-0: started again", "waiting for i-0: pending", "waiting for i-0: running"],
        [
            "removed instances: i-0 in us-east-1",
            "waiting until i-0 are terminated",
            "removed security_groups: sg-00000000000000001 in us-east-1",
            "removed schedules: corral-t1 in us-east-1",
            "removed instance_profiles: corral-t1-box in every region",
            "removed roles: corral-t1-box in every region",
            "removed roles: corral-t1-end in every region",
        ],
    ]


def test_each_line_where_there_is_no_room(account: Account) -> None:
    region = account.fake.regions["us-east-1"]
    region.no_capacity = {("on-demand", "g5.12xlarge", zone) for zone in region.zones}

    def rent(aws: Aws) -> None:
        with pytest.raises(CapacityError):
            up(aws, an_order())

    assert account.said(rent) == [
        *(
            f"on-demand g5.12xlarge in {zone}: InsufficientInstanceCapacity: no g5.12xlarge in {zone}"
            for zone in ("us-east-1a", "us-east-1b", "us-east-1c")
        ),
        "taking away what was made",
        "removed security_groups: sg-00000000000000001 in us-east-1",
        "removed schedules: corral-t1 in us-east-1",
        "removed instance_profiles: corral-t1-box in every region",
        "removed roles: corral-t1-box in every region",
        "removed roles: corral-t1-end in every region",
    ]
