"""Crash consistency, exhaustively: fail every call of `up` in every way, then look at what is left."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FAULTS, Clock, FakeAws, Faulty, Killed
from renting import an_order, door, down, fresh, up

from infra.aws.failures import ApiFailure
from infra.aws.ledger import Entry, Ledger
from infra.aws.request import Request
from infra.errors import AuthError, CapacityError, CloudError, CorralError, HostError

# What `up` may end with. It may also succeed: a fault that retries or another zone cure is no failure.
ENDS: dict[str, type[CorralError] | None] = {
    "capacity": CapacityError,
    "denied": AuthError,
    "expired": AuthError,
    "throttled": None,
    "throttled for ever": CloudError,
    "server error": None,
    "server error after": None,
    "server error for ever": CloudError,
    "lost": None,
    "lost for ever": CloudError,
    "killed before": None,
    "killed after": None,
}
# Every `up` ends within this, whatever AWS does: two calls that are given up, and the way back.
LONGEST_S = 10 * 60
ONE_SET = [
    "eni-",
    "i-",
    "profile corral-t1-box",
    "role corral-t1-box",
    "role corral-t1-end",
    "schedule ('corral-t1', 'end')",
    "schedule group corral-t1",
    "sg-",
    "vol-",
]


def calls_of_up(folder: Path) -> int:
    aws, clock = fresh()
    up(door(aws, clock, folder), an_order())
    return len(aws.calls)


def one_set(aws: FakeAws) -> list[str]:
    """What exists, without the numbers."""
    return sorted(name.replace("instance ", "").split("0000")[0] for name in aws.live())


def attempt(fault: str, at: int, folder: Path) -> tuple[FakeAws, Clock]:
    """`up` with one fault; whether it ends as it should."""
    aws, clock = fresh()
    begun = clock()
    ended = outcome(Faulty(aws, fault, at), clock, folder)
    assert clock() - begun < LONGEST_S, f"{fault} at {at}: {clock() - begun:.0f} s"
    where = f"{fault} at {at}: {ended}"
    if ended is None:
        assert one_set(aws) == ONE_SET, where
    elif isinstance(ended, Killed):
        assert fault.startswith("killed"), where
    else:
        assert type(ended) is ENDS[fault], where
        assert ended.message.endswith("."), where
        assert ended.hint, where
        assert aws.live() == [] or "corral down t1" in ended.hint, (
            f"{where}: leftovers that nobody is told of"
        )
    return aws, clock


def outcome(faulty: Faulty, clock: Clock, folder: Path) -> CorralError | Killed | None:
    """What `up` ends with."""
    try:
        up(door(faulty, clock, folder), an_order())
    except (CorralError, Killed) as ended:
        return ended
    return None


def test_the_happy_path_is_short(tmp_path: Path) -> None:
    """At most 25 calls, not counting those that only wait: a poll every 15 s, and IAM's time to spread."""
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    assert len(list(itertools.groupby(aws.calls))) <= 25
    aws.calls.clear()
    down(door(aws, clock, tmp_path))
    assert max(Counter(call.region for call in aws.calls).values()) < 40


@pytest.mark.parametrize("fault", list(FAULTS))
def test_after_any_fault_down_leaves_nothing_and_up_again_makes_one_set(fault: str, tmp_path: Path) -> None:
    for at in range(1, calls_of_up(tmp_path / "count") + 1):
        folder = tmp_path / f"down-{at}"
        aws, clock = attempt(fault, at, folder)
        assert (down(door(aws, clock, folder)).left, aws.live()) == ((), []), f"{fault} at {at}"

        folder = tmp_path / f"up-{at}"
        aws, clock = attempt(fault, at, folder)
        up(door(aws, clock, folder), an_order())
        assert one_set(aws) == ONE_SET, f"{fault} at {at}: {one_set(aws)}"
        assert (down(door(aws, clock, folder)).left, aws.live()) == ((), []), (
            f"{fault} at {at}, after up again"
        )


DELETING = ("Cancel", "Delete", "Release", "Remove", "Terminate")


def refused_for_good(aws: FakeAws, request: Request, how: str) -> None:
    """From this call on, AWS refuses it: it is denied, the credentials are over, or the machines are protected."""
    if how == "protected":
        for machine in aws.regions[request.region].instances.values():
            machine["protected"] = True
    elif how == "denied":
        aws.denied.add(request.action)


class Refusing:
    """A transport that refuses for good, from the k-th deleting call (from 1)."""

    def __init__(self, aws: FakeAws, how: str, at: int) -> None:
        self.aws, self.how, self.at = aws, how, at
        self.count = 0

    def send(self, request: Request) -> dict[str, Any]:
        self.count += request.operation.startswith(DELETING)
        if self.count == self.at and request.operation.startswith(DELETING):
            refused_for_good(self.aws, request, self.how)
        if self.how == "expired" and self.count >= self.at:
            raise ApiFailure("ExpiredToken", "injected")
        return self.aws.send(request)


@pytest.mark.parametrize("how", ["denied", "expired", "protected"])
def test_a_teardown_that_is_refused_leaves_an_end_to_all_that_still_bills(how: str, tmp_path: Path) -> None:
    """Its machines are ended by their schedule all the same, and a second `down` leaves nothing."""
    order = an_order(purchases=("spot",))
    at, refused, saved = 0, True, 0
    while refused:
        at += 1
        aws, clock = fresh()
        up(door(aws, clock, tmp_path / str(at)), order)
        refusing = Refusing(aws, how, at)
        with contextlib.suppress(CorralError):
            down(door(refusing, clock, tmp_path / str(at)))
        refused = refusing.count >= at
        aws.denied.clear()
        for machine in aws.regions["us-east-1"].instances.values():
            machine["protected"] = False
        if any(name.startswith("instance ") for name in aws.live()):
            saved += 1
            clock.sleep(order.ttl_minutes * 60)
            aws.send(Request(service="sts", operation="GetCallerIdentity", region="us-east-1", parameters={}))
            clock.sleep(600)
            assert not any(name.startswith("instance ") for name in aws.live()), f"{how} at {at}"
        assert (down(door(aws, clock, tmp_path / str(at))).left, aws.live()) == ((), []), f"{how} at {at}"
    assert saved == 1  # the one that TerminateInstances is


def test_a_disk_that_fills_up_at_any_line_keeps_nothing_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Ledger.append
    for room in itertools.count():
        lines = itertools.count()

        def full(ledger: Ledger, entry: Entry, room: int = room, lines: Iterator[int] = lines) -> None:
            if next(lines) >= room:
                raise HostError("The ledger cannot be written: No space left on device.", "df -h")
            written(ledger, entry)

        aws, clock = fresh()
        monkeypatch.setattr(Ledger, "append", full)
        try:
            up(door(aws, clock, tmp_path / str(room)), an_order())
        except HostError:
            assert aws.live() == [], room
            continue
        break
    assert room == 20  # an intent and an outcome for each of ten calls that change something
    monkeypatch.setattr(Ledger, "append", lambda ledger, entry: full(ledger, entry, room=0))
    assert (down(door(aws, clock, tmp_path / str(room))).left, aws.live()) == ((), [])


@pytest.mark.parametrize("fault", ["expired", "lost", "server error after", "killed before", "killed after"])
def test_two_nodes_in_the_second_region_leak_nothing_either(fault: str, tmp_path: Path) -> None:
    order = an_order(
        regions=("us-east-1", "us-west-2"),
        instance_types=("p5.48xlarge",),
        nodes=2,
        subnet_ids=("subnet-us-east-1a", "subnet-us-west-2a"),
    )
    at, ended = 0, False
    while not ended:
        at += 1
        aws, clock = fresh()
        aws.quotas["L-417A185B"] = 1000.0
        aws.regions["us-west-2"].vcpu_limit = 1000
        aws.regions["us-east-1"].public_subnets = aws.regions["us-west-2"].public_subnets = False
        faulty = Faulty(aws, fault, at)
        with contextlib.suppress(CorralError, Killed):
            up(door(faulty, clock, tmp_path / str(at)), order)
        ended = faulty.count < at
        if at % 2:
            up(door(aws, clock, tmp_path / str(at)), order)
            assert one_set(aws).count("i-") == 2, f"{fault} at {at}"
        remains = down(door(aws, clock, tmp_path / str(at)), regions=order.regions)
        assert (remains.left, aws.live()) == ((), []), f"{fault} at {at}"
