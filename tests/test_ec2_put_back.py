"""A replica that is put back: never without its end, more than once in a zone, and what else may be amiss with it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock, FakeAws, Faulty, Killed
from renting import START, an_order, door, down, fresh, up
from test_ec2_replicas import aws, corral, ends, log, lose, machines, plan, some, three
from test_ec2_several import Corral

from deploy.provision_request import Where, placed
from deploy.targets.deployment import Deployment, folder, make
from deploy.targets.ec2 import boxes, common_key, each_server, judged_start, rental, tunnels
from infra.aws import failover, power, rented_machines, replacing, session
from infra.aws.api import Aws
from infra.aws.failures import ApiFailure
from infra.aws.order import Order, utc
from infra.aws.request import Request
from infra.errors import AuthError, CapacityError, CloudError, CorralError, HostError, ServerError
from infra.phase import Phase
from infra.rented import Rented
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import health
from serving.vllm.endpoint import Endpoint

__all__ = ["aws", "corral", "log", "plan"]


@pytest.mark.parametrize("by", ["up", "serve"])
def test_what_a_cut_off_try_has_rented_has_its_end_once_it_is_shown(by: str, tmp_path: Path) -> None:
    """The next try comes when EC2 shows what the first has launched, so it is not launched again."""
    for at in range(1, 40):
        aws, clock = fresh()
        some(aws, a=2)
        kept = tmp_path / str(at)
        with suppress(Killed):
            up(door(Faulty(aws, "killed after", at), clock, kept), three())
        clock.sleep(60)
        if not machines(aws):
            continue
        if by == "up":
            up(door(aws, clock, kept), three())
        else:
            each_server.put_back(door(aws, clock, kept), Deployment.model_construct(name="t1"), three())
        clock.sleep(60)
        assert (len(machines(aws)), ends(aws)) == (3, set(machines(aws))), at


def test_a_replica_is_put_back_in_one_zone_as_often_as_it_is_lost(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three()
    *_, lost = up(door(aws, clock, tmp_path), order).instance_ids
    for _ in range(4):
        lose(aws, lost)
        before = set(machines(aws))
        up(door(aws, clock, tmp_path), order)
        (lost,) = set(machines(aws)) - before
        assert machines(aws)[lost] == "a"
    assert down(door(aws, clock, tmp_path)).left == ()


def test_a_launch_of_which_one_is_there_and_one_forgotten_is_not_taken_for_what_lacks(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three()
    first, second, third = up(door(aws, clock, tmp_path), order).instance_ids
    for lost in (first, second):
        lose(aws, lost)
    up(door(aws, clock, tmp_path), order)
    fourth, fifth = set(machines(aws)) - {third}
    for lost in (third, fourth):
        lose(aws, lost)
    up(door(aws, clock, tmp_path), order)
    assert (len(machines(aws)), fifth in machines(aws)) == (3, True)


class NoEnds(FakeAws):
    """Nothing may be scheduled in the first region."""

    def send(self, request: Request) -> dict[str, Any]:
        """Every other call is the account's."""
        if request.operation == "CreateSchedule" and request.region == "us-east-1":
            raise ApiFailure("AccessDeniedException", "with an explicit deny")
        return super().send(request)


def test_what_was_launched_where_no_end_may_be_made_is_ended_and_not_launched_anew_elsewhere(
    tmp_path: Path,
) -> None:
    clock = Clock()
    aws = NoEnds(clock)
    with pytest.raises(AuthError, match="CreateSchedule"):
        up(door(aws, clock, tmp_path), three(regions=("us-east-1", "us-west-2")))
    assert {key: region.live() for key, region in aws.regions.items()} == dict.fromkeys(aws.regions, [])


def test_as_few_as_will_do_are_found_again_where_there_is_room_for_no_more(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three(min_replicas=2)
    some(aws, a=2, b=0, c=0)
    first = up(door(aws, clock, tmp_path), order)
    clock.sleep(60)
    assert up(door(aws, clock, tmp_path), order).instance_ids == first.instance_ids
    lose(aws, first.instance_ids[0])
    with pytest.raises(CapacityError, match="Only 1 of 3 machines") as failure:
        up(door(aws, clock, tmp_path), order)
    assert failure.value.hint.startswith("All that runs of t1 still costs: corral down t1. ")


def test_one_that_gets_not_healthy_is_ended_and_not_taken_for_one_that_serves(tmp_path: Path) -> None:
    aws, clock = fresh()
    lost, *rest = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, lost)
    aws.regions["us-east-1"].never_healthy = True
    with pytest.raises(
        CloudError, match="^i-[0-9a-f]+ did not pass EC2's checks within 25 minutes"
    ) as failure:
        up(door(aws, clock, tmp_path), three())
    assert failure.value.hint == (
        "All that runs of t1 still costs: corral down t1. It is ended; read what it said: "
        f"{tmp_path}/console-*.txt. Try again: corral serve t1"
    )
    clock.sleep(60)
    assert set(machines(aws)) == set(rest)


def test_more_than_were_ordered_are_ended_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest, each in its own region: another corral has launched them there."""
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    up(at, order)
    there = rented_machines.machines(at, "t1", ("us-east-1",))
    newer = [
        each.model_copy(
            update={
                "instance_id": f"i-new{number}",
                "region": region,
                "launched_at": each.launched_at + timedelta(minutes=number),
            }
        )
        for number, (each, region) in enumerate(
            zip(there, ("us-east-1", "us-west-2", "us-west-2"), strict=True), 1
        )
    ]
    ended: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(failover, "terminate", lambda aws, region, ids: ended.append((region, list(ids))))
    left = replacing.without_surplus(at, order, (*newer, *there))
    assert (set(left), ended) == (
        set(there), [("us-east-1", ["i-new1"]), ("us-west-2", ["i-new2", "i-new3"])],
    )  # fmt: skip


# --- what is served of them


class Boxes:
    """What the boxes of three replicas are told, in place of Session Manager; a step fails on those that are named."""

    def __init__(self, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self.told: list[tuple[str, str]] = []
        self.sick: dict[tuple[str, str], CorralError] = {}
        self.hung: set[str] = set()
        """Those that say nothing of their preparation."""
        self.ready_after_s: dict[str, float] = {}
        self.at_s: list[float] = []
        """When each was ready."""
        self.plan = answer_for("scout", "int4", "g5.12xlarge", Options())
        patch = monkeypatch.setattr
        patch(boxes, "phase", lambda aws, made, box: self.phase(box))
        patch(boxes, "tell_end", lambda name, box, minutes: self.step(f"end in {minutes}", box))
        patch(common_key, "share", lambda made, some: self.step("key", *some))
        patch(judged_start, "start", lambda aws, made, order, some: self.step("start", *some))
        patch(tunnels, "endpoint", lambda made, order, box: self.at(box.instance_id))
        patch(boxes, "wait_ready", self.wait_ready)

    def step(self, what: str, box: Rented) -> None:
        """Do it, or fail."""
        self.told.append((what, box.instance_id))
        if error := self.sick.get((what, box.instance_id)):
            raise error

    def phase(self, box: Rented) -> Phase:
        """What a box says of its preparation."""
        if box.instance_id in self.hung:
            return Phase()
        self.step("prepare", box)
        return Phase(state="prepared", words="prepared")

    def wait_ready(
        self,
        aws: Aws,
        made: Deployment,
        some: tuple[Rented, ...],
        at: Endpoint,
        meanwhile: Callable[[], None],
    ) -> None:
        """A server that loads for a while."""
        end_s = aws.clock() + self.ready_after_s.get(some[0].instance_id, 0)
        while aws.clock() < end_s:
            aws.sleep(boxes.POLL_S)
            meanwhile()
        self.step("ready", *some)
        self.at_s.append(aws.clock())

    def at(self, key: str) -> Endpoint:
        """Where a box answers."""
        return Endpoint(base_url=f"http://{key}", served_model_name="scout")

    def serve(self, order: Order) -> Endpoint:
        """As `corral serve` does."""
        return each_server.served(self.aws, make(self.plan, "ec2", "t1"), order)


@pytest.mark.parametrize("step", ["prepare", "key", "start", "ready"])
def test_a_sick_replica_keeps_no_other_from_being_served(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.sick = {(step, first): HostError("It is not well.", "Look.")}
    with pytest.raises(HostError) as failure:
        there.serve(order)
    assert (failure.value.message, failure.value.hint) == (
        "It is not well.",
        f"Look. To put another in its place: aws ec2 terminate-instances --region us-east-1 --instance-ids {first}; "
        "then: corral serve t1",
    )
    assert [key for what, key in there.told if what == "ready" and key != first] == [second, third]
    said = capsys.readouterr().err
    assert f"warning: {first}: It is not well.\n" in said
    assert f"{third} answers at http://{third}" in said
    # Where none is well there is nothing to serve.
    there.sick = {(step, key): HostError("It is not well.", "Look.") for key in (first, second, third)}
    with pytest.raises(HostError) as failure:
        there.serve(order)
    assert failure.value is there.sick[step, first]


def test_one_that_hangs_before_it_is_prepared_holds_up_no_other_and_is_put_back_once_it_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.hung, there.ready_after_s = {first}, {second: 600}
    begun_s = clock()
    with pytest.raises(ServerError) as failure:
        there.serve(order)
    instead = (
        f"To put another in its place: aws ec2 terminate-instances --region us-east-1 --instance-ids {first}; "
        "then: corral serve t1"
    )
    limit = round(boxes.prepared_within_s(make(there.plan, "ec2", "t1")) / 60)
    assert (failure.value.message, failure.value.hint) == (
        f"The box was not prepared after {limit} minutes; last: nothing.",
        f"Read why: corral logs t1; it still costs: corral down t1. {instead}",
    )
    # The others were begun at once, and answer when they have loaded.
    assert [key for what, key in there.told if what == "start"] == [second, third]
    assert [each - begun_s for each in there.at_s] == [600, 600]
    said = capsys.readouterr().err
    assert said.count(f"warning: {first} is not prepared: booting (") == 1
    assert f" minutes). The others are served. {instead}\n" in said

    lose(aws, first)
    there.told.clear()
    answers = there.serve(order)
    (new,) = set(machines(aws)) - {first, second, third}
    assert answers == there.at(new)  # it was launched first of its launch
    assert [key for what, key in there.told if what == "ready"] == [second, third, new]


def test_one_whose_checks_fail_at_ec2_is_not_waited_for_as_long_as_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order, region = door(aws, clock, tmp_path), three(), aws.regions["us-east-1"]
    first, second, third = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.hung, region.impaired, begun_s = {first}, {first}, clock()
    hangs = "The box hangs: EC2's own check of its system has failed for 10 minutes"
    with pytest.raises(ServerError) as failure:
        there.serve(order)
    assert (failure.value.message, clock() - begun_s) == (f"{hangs}; last: nothing.", 600)
    assert failure.value.hint.startswith(
        "Read why: corral logs t1; it still costs: corral down t1. To put another in"
    )
    assert [key for what, key in there.told if what == "ready"] == [second, third]
    # One that is itself again by then is prepared as long as it may take.
    machine, *_ = rented_machines.machines(at, "t1", ("us-east-1",))
    waiting, begun_s = boxes.Preparation(at, make(there.plan, "ec2", "t1"), machine), clock()
    there.hung, region.impaired = {first, second, third}, {first, second, third}
    while clock() - begun_s < 900:
        assert not waiting.is_over()
        clock.sleep(300)
        region.impaired = set() if clock() - begun_s == 300 else {first, second, third}


def test_a_box_that_hangs_while_its_server_loads_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, made = (
        door(aws, clock, tmp_path),
        make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1"),
    )
    first, *_ = up(at, three()).instance_ids
    machine, *_ = rented_machines.machines(at, "t1", ("us-east-1",))
    monkeypatch.setattr(session, "run", lambda *given: session.Answer(text="running", exit_code=0))
    monkeypatch.setattr(health, "look", lambda endpoint: health.Seen(trouble="it takes no connection"))
    aws.regions["us-east-1"].impaired, begun_s = {first}, clock()
    with pytest.raises(ServerError) as failure:
        boxes.wait_ready(at, made, (machine,), Endpoint(base_url="http://x", served_model_name="scout"))
    assert (failure.value.message, failure.value.hint, clock() - begun_s) == (
        f"{first} hangs: EC2's own check of its system has failed for 10 minutes.",
        "Read why: corral logs t1; it still costs: corral down t1",
        15 + 600,
    )


def test_one_that_is_ended_while_it_is_waited_for_is_put_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.hung = {first}
    looks = iter(range(5))

    def phase(box: Rented) -> Phase:
        if box.instance_id == first and next(looks) == 3:
            aws.regions["us-east-1"].terminate_instances(InstanceIds=[first])
        return Phase() if box.instance_id == first else Phase(state="prepared", words="prepared")

    monkeypatch.setattr(there, "phase", phase)
    there.serve(order)
    (new,) = set(machines(aws)) - {second, third}
    assert [key for what, key in there.told if what == "ready"] == [second, third, new]


def test_one_that_is_prepared_later_is_begun_while_another_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.hung, there.ready_after_s = {third}, {first: 600}
    begun_s = clock()

    def phase(box: Rented) -> Phase:
        if clock() - begun_s >= 60:
            there.hung.clear()
        return Boxes.phase(there, box)

    monkeypatch.setattr(there, "phase", phase)
    there.serve(order)
    assert [what for what in there.told if what[0] in ("start", "ready")] == [
        ("start", first), ("start", second), ("start", third),
        ("ready", first), ("ready", second), ("ready", third),
    ]  # fmt: skip
    assert clock() - begun_s == 600


def test_one_that_was_stopped_and_cannot_be_told_its_end_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    power.stop(at, order)
    there = Boxes(at, monkeypatch)
    tell = boxes.tell_end

    def told(name: str, box: Rented, minutes: int) -> None:
        tell(name, box, minutes)
        if box.instance_id == first:
            raise HostError(f"{first} is not reached.", "")

    monkeypatch.setattr(boxes, "tell_end", told)
    with pytest.raises(HostError, match="is not reached") as failure:
        there.serve(order)
    assert failure.value.hint.startswith("It ends itself soon unless it is told: corral extend t1 ")
    assert [key for what, key in there.told if what == "ready"] == [second, third]
    assert clock() - there.at_s[-1] >= boxes.TOLD_WITHIN_S


def test_one_that_is_stopped_and_finds_no_room_keeps_no_other_from_being_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    region = aws.regions["us-east-1"]
    region.stop_instances(InstanceIds=[first])
    region.no_capacity = {("on-demand", "g5.12xlarge", zone) for zone in region.zones}
    clock.sleep(60)
    there = Boxes(at, monkeypatch)
    with pytest.raises(CapacityError, match=f"{first} stays stopped"):
        there.serve(order)
    assert [key for what, key in there.told if what == "ready"] == [second, third]


def test_those_that_run_are_served_before_another_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three()
    first, second, third = up(at, order).instance_ids
    region = aws.regions["us-east-1"]
    region.stop_instances(InstanceIds=[first])
    clock.sleep(60)
    region.never_healthy = True
    there, begun_s = Boxes(at, monkeypatch), clock()
    with pytest.raises(CloudError, match="did not pass EC2's checks within 25 minutes"):
        there.serve(order)
    assert [key for what, key in there.told if what == "ready"][:2] == [second, third]
    assert [each - begun_s for each in there.at_s[:2]] == [0, 0]


def test_one_that_is_put_back_after_an_extension_is_told_the_end_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three(ttl_minutes=480)
    lost, *rest = up(at, order).instance_ids
    there = Boxes(at, monkeypatch)
    there.serve(order)
    assert [what for what, _ in there.told if what.startswith("end")] == []
    rented_machines.extend(at, order, 48 * 60)
    lose(aws, lost)
    up(at, order)
    (new,) = set(machines(aws)) - set(rest)
    end = power.end_of(order, rented_machines.machines(at, "t1", ("us-east-1",)))
    there.serve(order)
    assert (f"end in {ceil((end - at.now()).total_seconds() / 60)}", new) in there.told


def test_what_ctrl_c_leaves_is_told_as_it_is(tmp_path: Path) -> None:
    aws, clock = fresh()
    at, order = door(aws, clock, tmp_path), three(min_replicas=2)
    some(aws, a=2, b=0, c=0)
    up(at, order)
    end = rented_machines.extend(at, order, 10_000)
    assert rental.still_rented(at, order).message == (
        "Interrupted while waiting for t1. Its 2 machines are still rented at 17.016 USD per hour for all 3 that were "
        f"ordered, until {utc(end)} at the latest."
    )
    nobody = door(Faulty(aws, "expired", 1), clock, tmp_path)
    assert f"Its 3 machines are still rented at 17.016 USD per hour, until {utc(order.expires_at)}" in (
        rental.still_rented(nobody, order).message
    )


# --- the command line


def test_a_replica_that_is_not_reached_keeps_none_of_the_others_from_living_on(
    aws: FakeAws, plan: list[str], log: Path, corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("provision", *plan, "--replicas", "2")[0] == 0
    first, second = machines(aws)
    told: list[str] = []

    def tell(name: str, box: Rented, minutes: int) -> None:
        told.append(box.instance_id)
        if box.instance_id == first:
            raise HostError(f"{first} is not reached.", "")

    monkeypatch.setattr(boxes, "tell_end", tell)
    code, _, err = corral("extend", "t1", "48h")
    assert (code, f"error: {first} is not reached." in err, told) == (11, True, [first, second]), err
    ends_at = {
        tag["Value"]
        for row in aws.regions["us-east-1"].instances.values()
        for tag in row["Tags"]
        if tag["Key"] == "corral:expires-at"
    }
    left_s = [(rented_machines.moment(each) or START).timestamp() - aws.clock() for each in ends_at]
    assert [round(each / 3600) for each in left_s] == [48]


def test_the_hint_to_keep_as_few_as_there_were_works(aws: FakeAws, plan: list[str], corral: Corral) -> None:
    some(aws, a=1, b=1, c=0)
    code, _, err = corral("provision", *plan, "--replicas", "3")
    assert (code, "To keep as few as there are: --min-replicas 2" in err) == (6, True), err
    some(aws, a=1, b=1, c=0)
    code, _, err = corral("provision", *plan, "--replicas", "3", "--min-replicas", "2")
    assert (code, len(machines(aws))) == (0, 2), err


def test_that_a_plan_is_rented_is_said_where_nobody_said_so(
    aws: FakeAws, plan: list[str], corral: Corral
) -> None:
    file, *_ = plan
    words = [file, "--region", "us-east-1", "--hf-token-parameter", "/hf/token", "--name", "t1"]
    said = (
        "rented on EC2: the plan is for g5.12xlarge, which is rented there; for this machine: --target local"
    )
    code, _, err = corral("provision", *words)
    assert (code, machines(aws)) == (2, {})
    assert err.index(said) < err.index("USD per hour") < err.index("Nobody is there to confirm the cost.")
    code, _, err = corral("provision", *words, "--yes", "--quiet")
    assert (code, said in err, len(machines(aws))) == (0, True, 1), err
    # Where it was said, or is not done, nothing is.
    for more in (("--target", "ec2", "--yes"), ("--dry-run",)):
        code, _, err = corral("provision", *words, *more)
        assert (code, said in err) == (0, False), err


def test_a_plan_that_stands_here_already_is_not_rented(tmp_path: Path) -> None:
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    assert placed(Where(), plan).target == "ec2"
    make(plan, "local", "scout-int4").write(folder("scout-int4") / "deployment.json")
    assert placed(Where(), plan).target == "local"
    assert placed(Where(name="other"), plan).target == "ec2"
    assert placed(Where(target="ec2"), plan).target == "ec2"


def test_as_few_as_will_do_are_never_fewer_than_one_server_has() -> None:
    assert an_order(nodes=2, min_replicas=1).least == 2
    assert three(min_replicas=1).least == 1
