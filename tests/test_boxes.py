"""What rented boxes say of themselves and are told, as values: their preparation, their end, their death."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_aws import Clock
from renting import an_order
from test_ec2_rented import machine
from test_owned import deployment

from deploy.targets.ec2 import boxes, documents
from infra.aws import rented_machines, session
from infra.aws.api import Aws
from infra.errors import CloudError, HostError, ServerError
from infra.phase import Phase

MADE = deployment().model_copy(update={"target": "ec2", "hosts": ()})
LIMIT_S = boxes.prepared_within_s(MADE)


def an_aws(said: list[str]) -> Aws:
    """AWS of which nothing is asked, on a clock of its own."""
    clock: Any = Clock(1_790_000_000.0)
    nobody: Any = None
    return Aws(nobody, sleep=clock.sleep, clock=clock, say=said.append)


def telling(monkeypatch: pytest.MonkeyPatch, *phases: Phase) -> None:
    """The box tells these, one at each look; the last goes on."""
    left = list(phases)
    monkeypatch.setattr(rented_machines, "failing_checks", lambda *_: "")
    monkeypatch.setattr(boxes, "phase", lambda *_: left.pop(0) if len(left) > 1 else left[0])


def test_a_preparation_is_waited_for_and_what_is_new_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    weights = Phase(state="preparing", words="weights")
    telling(monkeypatch, Phase(), weights, weights, weights, Phase(state="prepared", words="prepared"))
    boxes.wait_prepared(an_aws(said), MADE, machine())
    most = f"{LIMIT_S / 60:.0f} minutes"
    assert said == [
        f"serve: i-1: weights (0 of at most {most})",
        f"serve: i-1: weights (1 of at most {most})",
        f"serve: i-1: prepared (1 of at most {most})",
    ]
    said.clear()
    telling(monkeypatch, Phase(), Phase(), Phase(), Phase(state="prepared", words="prepared"))
    boxes.wait_prepared(an_aws(said), MADE, machine())
    assert said == [
        f"serve: i-1: booting (0 of at most {most})",
        f"serve: i-1: prepared (1 of at most {most})",
    ]
    assert pytest.approx(1800 + MADE.plan.weights_bytes / 100e6) == LIMIT_S


@pytest.mark.parametrize("words", ["failed: start: gave up", "failed: lock: the egress lock is gone"])
def test_a_box_whose_server_alone_failed_is_prepared(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    telling(monkeypatch, Phase(state="failed", words=words))
    boxes.wait_prepared(an_aws([]), MADE, machine())


AGAIN = "When it is gone, rent anew with the same options: corral up plan.json --target ec2 --name scout"
NEXT = "Read why: corral logs scout; it still costs: corral down scout"


@pytest.mark.parametrize(
    ("phase", "message", "hint"),
    [
        (Phase(state="failed", words="failed: weights: gone"),
         "The box could not prepare itself: failed: weights: gone.", "Read all: corral logs scout"),
        (Phase(state="interrupted", words="interrupted: EC2 takes it back"),
         "i-1: interrupted: EC2 takes it back.", AGAIN),
        (Phase(state="preparing", words="weights"),
         f"The box was not prepared after {LIMIT_S / 60:.0f} minutes; last: weights.", NEXT),
        (Phase(), f"The box was not prepared after {LIMIT_S / 60:.0f} minutes; last: nothing.", NEXT),
    ],
)  # fmt: skip
def test_a_box_that_does_not_get_prepared(
    phase: Phase, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "begun", lambda _: None)
    telling(monkeypatch, phase)
    with pytest.raises(ServerError) as error:
        boxes.wait_prepared(an_aws([]), MADE, machine())
    assert (error.value.message, error.value.hint) == (message, hint)
    assert boxes.next_step(MADE) == NEXT


def test_what_is_done_about_a_box_that_was_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for replicas, told in ((1, AGAIN), (3, "When it is gone, put another in its place: corral serve scout")):
        monkeypatch.setattr(documents, "begun", {"scout": an_order(replicas=replicas)}.get)
        assert boxes.again(MADE) == told


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[tuple[str, ...]]:
    """The boxes answer so, one after another; what they were asked."""
    left, asked = list(answers), list[tuple[str, ...]]()

    def run(*words: str) -> Any:
        asked.append(words)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(session, "run", run)
    return asked


DONE = session.Answer(text="", exit_code=0)
REFUSED = session.Answer(text="extend: no such file\n", exit_code=1)


def test_a_box_is_told_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, DONE, REFUSED)
    boxes.tell_end("scout", machine(), 90)
    assert asked == [("i-1", "us-east-1", "sudo /opt/corral/scout/bin/extend 90")]
    with pytest.raises(HostError) as error:
        boxes.tell_end("scout", machine(), 90)
    assert (error.value.message, error.value.hint) == (
        "i-1 did not move its own end: extend: no such file.",
        "It ends when it was to end before. Read why: corral logs scout",
    )


def test_a_box_that_is_not_reached_yet_is_told_again_and_one_that_never_is_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    asked = answering(monkeypatch, HostError("No way there.", "x"), DONE)
    aws = an_aws(said)
    telling = boxes.Telling(aws, "scout", machine(), aws.now() + timedelta(minutes=89, seconds=1))
    assert [telling.is_done() for _ in range(3)] == [False, True, True]
    assert [words[2] for words in asked] == ["sudo /opt/corral/scout/bin/extend 90"] * 2
    assert said == ["i-1: No way there."]

    answering(monkeypatch, HostError("No way there.", "x"))
    late = boxes.Telling(aws, "scout", machine(), aws.now() - timedelta(hours=1))
    for passed_s in (0.0, 599.0):
        aws.sleep(passed_s)
        assert not late.is_done()
    aws.sleep(1.0)
    with pytest.raises(HostError) as error:
        late.is_done()
    assert (error.value.message, error.value.hint) == (
        "No way there.",
        "It ends itself soon unless it is told: corral extend scout 1m",
    )


@pytest.mark.parametrize(
    ("apart", "is_another"),
    [
        (timedelta(), False),
        (timedelta(minutes=30), False),
        (timedelta(minutes=30, seconds=1), True),
        (timedelta(minutes=-30, seconds=-1), True),
    ],
)
def test_a_machine_boots_some_minutes_later_which_is_no_other_end(apart: timedelta, is_another: bool) -> None:
    order = an_order(ttl_minutes=480)
    found = machine()
    end = found.launched_at + timedelta(hours=8)
    moved = found.model_copy(update={"launched_at": found.launched_at + apart})
    assert boxes.has_other_end(order, moved, end) is is_another


def test_a_replica_that_is_not_well_is_ended_by_hand() -> None:
    assert boxes.another_for("scout", machine()) == (
        "To put another in its place: aws ec2 terminate-instances --region us-east-1 --instance-ids i-1; then: "
        "corral serve scout"
    )


def test_half_of_its_time_makes_a_box_late(monkeypatch: pytest.MonkeyPatch) -> None:
    telling(monkeypatch, Phase())
    aws = an_aws([])
    box = boxes.Preparation(aws, MADE, machine())
    aws.sleep(LIMIT_S / 2 - 1)
    assert (box.is_over(), box.is_late) == (False, False)
    aws.sleep(2.0)
    assert (box.is_over(), box.is_late) == (False, True)
    aws.sleep(LIMIT_S / 2)
    assert box.is_over()


def test_what_a_box_died_of_is_read_there_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = Phase(state="failed", words="failed: start: gave up")
    oom = session.Answer(
        text="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n", exit_code=0
    )
    asked = answering(monkeypatch, oom, DONE)
    assert boxes.failure(MADE, machine(), phase).startswith("failed: start: gave up: a GPU ran out of memory")
    there = "/opt/corral/scout"
    assert asked[0] == (
        "i-1", "us-east-1", f"sudo cat {there}/gave-up >/dev/null && sudo cat {there}/first-death.log",
    )  # fmt: skip
    assert asked[1][2].startswith("sudo sh -c ")
    for answers in ((REFUSED,), (HostError("x", "y"),), (DONE,)):
        answering(monkeypatch, *answers)
        assert boxes.failure(MADE, machine(), phase) == "failed: start: gave up"
    asked = answering(monkeypatch, oom)
    assert boxes.failure(MADE, machine(), Phase(state="failed", words="failed: weights")) == "failed: weights"
    assert asked == []


@pytest.mark.parametrize(
    ("phases", "message", "hint"),
    [
        ([Phase(state="prepared", words="prepared")], None, ""),
        ([Phase(state="preparing", words="x"), Phase(state="interrupted", words="interrupted: x")],
         "i-2: interrupted: x.", AGAIN),
        ([Phase(state="failed", words="failed: weights")], "i-1: failed: weights.", NEXT),
    ],
)  # fmt: skip
def test_what_ends_a_wait(
    phases: list[Phase], message: str | None, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "begun", lambda _: None)
    telling(monkeypatch, *phases)
    found = boxes.ending(an_aws([]), MADE, (machine(), machine(instance_id="i-2")))
    assert (found and found.message, found.hint if found else "") == (message, hint)


def test_before_a_server_starts_its_unit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, is_before in (
        (session.Answer(text="start-pre\n", exit_code=0), True),
        (session.Answer(text="running\n", exit_code=0), False),
        (HostError("x", "y"), False),
    ):
        asked = answering(monkeypatch, answer)
        assert boxes.is_before_start(MADE, machine()) is is_before
        assert asked[0][2] == "systemctl show --value --property=SubState corral-scout.service"


@pytest.mark.parametrize(
    ("states", "runs", "hint"),
    [
        (["running", "pending", "running"], [0, 2], ""),
        (["stopped"], [], "It is stopped; start it: corral serve scout"),
        (["terminated"], [], "Rent one: corral up plan.json --target ec2 --name scout"),
        ([], [], "Rent one: corral up plan.json --target ec2 --name scout"),
    ],
)
def test_which_of_them_run(
    states: list[str], runs: list[int], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = tuple(machine(instance_id=f"i-{number}", state=state) for number, state in enumerate(states))
    monkeypatch.setattr(rented_machines, "machines", lambda *_: machines)
    if runs:
        assert boxes.running(an_aws([]), MADE, an_order()) == tuple(machines[number] for number in runs)
        return
    with pytest.raises(CloudError) as error:
        boxes.running(an_aws([]), MADE, an_order())
    assert (error.value.message, error.value.hint) == ("No machine of scout runs.", hint)


def test_each_that_was_stopped_is_told_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, int]] = []
    monkeypatch.setattr(
        boxes, "tell_end", lambda name, each, minutes: told.append((name, each.instance_id, minutes))
    )
    aws = an_aws([])
    stopped = {"billed_until_start": datetime(2026, 9, 21, tzinfo=UTC)}
    ends = aws.now() + timedelta(minutes=59, seconds=30)
    machines = (
        machine(instance_id="never", expires_at=ends),
        machine(instance_id="was", expires_at=ends, **stopped),
        machine(instance_id="is", state="stopped", expires_at=ends, **stopped),
    )
    monkeypatch.setattr(rented_machines, "machines", lambda *_: machines)
    boxes.tell_ends(aws, MADE, an_order())
    assert told == [("scout", "was", 60)]
