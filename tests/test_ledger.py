"""The ledger: what was asked and what came of it, a line each; and what it finds that a tag cannot."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.aws.ledger import Entry, Ledger, ids_in
from infra.aws.request import Request, ec2, iam
from infra.errors import HostError

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
EARLY, LATE = NOW - timedelta(minutes=30), NOW - timedelta(minutes=5)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "t1/ledger.jsonl")


def launch(ledger: Ledger, token: str, came: Any, at: datetime = LATE, region: str = "r1") -> None:
    """A launch: what it made, the code of its refusal, or None where nobody knows."""
    asked = ec2(region, "RunInstances", ClientToken=token)
    number = ledger.intend(asked, at)
    if isinstance(came, str):
        ledger.failed(asked, number, came, at)
    elif came is not None:
        ledger.done(asked, number, {"Instances": [{"InstanceId": each} for each in came]}, at)


def test_each_line_says_what_was_asked_or_came_of_it(ledger: Ledger) -> None:
    asked = ec2("r1", "RunInstances", ClientToken="t", UserData="#cloud-config")
    assert ledger.intend(asked, NOW) == 1
    ledger.done(asked, 1, {"Instances": [{"LaunchTime": NOW}]}, NOW)
    number = Ledger(ledger.path).intend(iam("CreateRole", RoleName="x"), NOW)
    ledger.failed(iam("CreateRole", RoleName="x"), number, "AccessDenied", NOW)
    common = {
        "at": "2026-11-30T12:00:00Z",
        "number": 1,
        "service": "ec2",
        "operation": "RunInstances",
        "region": "r1",
    }
    role = {"at": "2026-11-30T12:00:00Z", "number": 2, "service": "iam", "operation": "CreateRole"} | {
        "region": "us-east-1"
    }
    assert [json.loads(line) for line in ledger.path.read_text().splitlines()] == [
        common | {"event": "intent", "parameters": {"ClientToken": "t"}},
        common | {"event": "done", "answer": {"Instances": [{"LaunchTime": "2026-11-30 12:00:00+00:00"}]}},
        role | {"event": "intent", "parameters": {"RoleName": "x"}},
        role | {"event": "failed", "code": "AccessDenied"},
    ]
    assert ledger.regions() == ("r1",)


def test_a_line_that_was_torn_or_is_another_is_passed_over(ledger: Ledger) -> None:
    assert (list(ledger.entries()), ledger.calls(), ledger.regions()) == ([], [], ())
    launch(ledger, "t", ["i-1"])
    with ledger.path.open("ab") as file:
        file.write(b'{"at": "2026\n\xff\n{}\n')
    launch(ledger, "u", ["i-2"])
    assert [entry.number for entry in ledger.entries()] == [1, 1, 2, 2]
    assert Ledger(ledger.path).next_number == 3


def test_which_machines_were_launched(ledger: Ledger) -> None:
    launch(ledger, "a", ["i-1", "i-2"], EARLY)
    launch(ledger, "b", ["i-3"])
    launch(ledger, "c", ["i-4"], region="r2")
    launch(ledger, "d", "InternalError")
    stop = ec2("r1", "StopInstances")
    ledger.done(stop, ledger.intend(stop, NOW), {"Instances": [{"InstanceId": "i-5"}]}, NOW)
    assert ledger.launched("r1") == ("i-1", "i-2", "i-3")
    assert (ledger.launched("r1", LATE), ledger.launched("r1", NOW)) == (("i-3",), ())
    assert (ledger.launched("r2"), ledger.regions()) == (("i-4",), ("r1", "r2"))


@pytest.mark.parametrize(
    ("came", "is_unanswered"),
    [
        (None, True),
        (["i-1"], False),
        *((code, True) for code in
          ("LostResponse", "InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable")),
        ("InsufficientInstanceCapacity", False),
    ],
)  # fmt: skip
def test_which_launches_may_have_happened(came: Any, is_unanswered: bool, ledger: Ledger) -> None:
    launch(ledger, "t", came, EARLY)
    launch(ledger, "u", None, region="r2")
    create = ec2("r1", "CreateSecurityGroup", ClientToken="v")
    ledger.intend(create, NOW)
    assert ledger.unanswered("r1") == (("t",) if is_unanswered else ())
    assert ledger.unanswered("r1", LATE) == ()
    launch(ledger, "t", "LostResponse")
    assert ledger.unanswered("r1") == (() if came == ["i-1"] else ("t",))
    launch(ledger, "t", ["i-2"])
    assert ledger.unanswered("r1") == ()


def test_which_groups_were_made(ledger: Ledger) -> None:
    for region, operation, answer in (
        ("r1", "CreateSecurityGroup", {"GroupId": "sg-1"}),
        ("r2", "CreateSecurityGroup", {"GroupId": "sg-2"}),
        ("r1", "DescribeSecurityGroups", {"GroupId": "sg-3"}),
        ("r1", "CreateSecurityGroup", {}),
    ):
        asked = ec2(region, operation)
        ledger.done(asked, ledger.intend(asked, NOW), answer, NOW)
    assert ledger.security_groups("r1") == ("sg-1",)
    assert ledger.calls()[0] == (
        Entry(at=NOW, number=1, event="intent", service="ec2", operation="CreateSecurityGroup", region="r1"),
        Entry(
            at=NOW, number=1, event="done", service="ec2", operation="CreateSecurityGroup", region="r1",
            answer={"GroupId": "sg-1"},
        ),
    )  # fmt: skip


def test_a_ledger_that_was_damaged_keeps_nobody_from_taking_away() -> None:
    damaged: tuple[object, ...] = (None, "i-1", {}, [None], [{"Id": 5}], [{}])
    for rows in damaged:
        assert ids_in(rows, "Id") == []
    assert ids_in([{"Id": "i-1"}, 5, {"Id": "i-2"}], "Id") == ["i-1", "i-2"]


def test_a_disk_that_takes_no_line_is_one_sentence(ledger: Ledger) -> None:
    ledger.path.mkdir(parents=True)
    asked = Request(service="ec2", operation="RunInstances", region="r1", parameters={})
    with pytest.raises(HostError) as error:
        ledger.failed(asked, 1, "x", NOW)
    assert (error.value.message, error.value.hint) == (
        f"The ledger {ledger.path} cannot be written: Is a directory.",
        "Check the free space and the owner of that folder: df -h, ls -ld",
    )
