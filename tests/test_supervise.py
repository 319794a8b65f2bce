"""Starting a dead server again: the delays, the end of patience, and the real loop over a stand-in for vLLM."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import stubbed
from fake_aws import Clock
from stubbed import Patience, members

from deploy.launch import launch
from deploy.releases import release, settling
from deploy.supervise import GaveUp, Watch, keep_alive, supervise
from deploy.targets.another_port import with_port
from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from infra import gpus, kernel_messages, processes
from infra.errors import HostError, ServerError, UsageError
from infra.facts import GpuFacts, GpuReport
from infra.onhost.judge import Ends, Policy
from serving.sizing.plan import Plan
from serving.vllm import events, server
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import CANARY_DEADLINE_S

POLICY = Policy()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub; whatever the test leaves running is ended."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(made, monkeypatch)
    # What the machine is does not change between two starts, and takes a second to ask.
    monkeypatch.setattr(local, "preflight", lambda deployment: ())
    yield made
    stubbed.kill(made)


class Days:
    """A clock whose sleeps take no time, and let something happen while they last."""

    def __init__(self, deployment: Deployment, events: list[str]) -> None:
        self.deployment, self.events, self.now, self.slept = deployment, events, 0.0, list[float]()
        self.upgrade: Callable[[], object] = lambda: None
        self.in_delays: list[Callable[[], object]] = []
        """What happens while it waits for the next start, one delay after the other."""

    def __call__(self) -> float:
        return self.now

    def drawn(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        event = self.events.pop(0) if seconds == POLICY.look_every_s else ""
        if self.in_delays and seconds in (10, 20, 40):
            self.in_delays.pop(0)()
        if event == "freeze":
            for pid in members(self.deployment):
                os.kill(pid, signal.SIGSTOP)
        if event == "kill":
            leader = server.load(folder(self.deployment.name))
            assert leader is not None
            os.kill(leader.leader.pid, signal.SIGKILL)
            os.waitpid(leader.leader.pid, 0)
        if event == "stop":
            local.stop(self.deployment)
        if event == "upgrade":
            self.upgrade()


def test_a_killed_server_is_started_again_until_somebody_stops_it(deployment: Deployment) -> None:
    days, told = Days(deployment, ["", "kill", "stop"]), list[Endpoint]()
    supervise(deployment, told.append, POLICY, days.sleep, days, drawn=days.drawn)
    assert days.slept == [30, 30, 10, 30]
    assert len(told) == 2
    assert members(deployment) == ()


def test_patience_ends_with_the_cause(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB", "dies")
    days = Days(deployment, [])
    with pytest.raises(ServerError) as caught:
        supervise(deployment, lambda _: None, POLICY, days.sleep, days, drawn=days.drawn)
    assert caught.value.message.startswith(
        "Gave up after 3 starts that did not get ready, without an hour of service between. "
        "The last: The server did not start: a GPU ran out of memory"
    )
    assert [each for each in days.slept if each >= 1] == [10, 20]
    place = folder(deployment.name)
    assert caught.value.hint == (
        f"Mend the cause and serve again. The first log: {place}/first-death; the last: corral logs {deployment.name}"
    )
    assert (place / "first-death" / "vllm.log").read_text() == (place / "vllm.log").read_text()
    assert len({(place / name / "vllm.log").stat().st_ino for name in ("", "first-death", "last-log")}) == 3


def test_a_server_that_hangs_is_ended_within_seventy_seconds(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs right after a look. The looks are the real ones, but for how long they wait for a completion."""
    monkeypatch.setenv("STUB", "canary-hangs-later")
    monkeypatch.setattr("serving.vllm.health.look.__defaults__", (0.3,))
    days = Days(deployment, ["", "", "", "stop"])
    policy = POLICY._replace(most_ends=1)
    with pytest.raises(
        ServerError, match=r"The last: The server hung: /health answers 200, but a completion"
    ):
        supervise(deployment, lambda _: None, policy, days.sleep, days, drawn=days.drawn)
    assert days.slept == [30, 5]
    assert sum(days.slept) + 2 * CANARY_DEADLINE_S <= 70


def supervised(
    deployment: Deployment, days: Days, policy: Policy = POLICY, up_s: float = 1e6
) -> list[Endpoint]:
    """Supervise until somebody stops it; where it answered."""
    told = list[Endpoint]()
    supervise(deployment, told.append, policy, days.sleep, days, up_s=lambda: up_s, drawn=days.drawn)
    return told


def happened(deployment: Deployment) -> list[tuple[str, str]]:
    """The history, each cause without what differs from run to run."""
    return [(each.event, each.cause) for each in events.read(folder(deployment.name))]


def test_a_server_frozen_after_it_was_ready_is_started_again_without_a_drain(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its front takes connections and answers nothing; SIGTERM would wait for SIGCONT."""
    monkeypatch.setattr("serving.vllm.client.health.__defaults__", (0.05,))
    clock = Clock(0)
    monkeypatch.setattr("serving.vllm.stopping.LOOK_EVERY_S", 1.0)
    monkeypatch.setattr("serving.vllm.stopping.stop.__defaults__", (clock.sleep, clock))
    days = Days(deployment, ["freeze", "stop"])
    days.in_delays = [lambda: monkeypatch.setattr("serving.vllm.client.health.__defaults__", (2.0,))]
    assert len(supervised(deployment, days)) == 2
    assert days.slept == [30, 5, 5, 5, 5, 5, 5, 10, 30]
    assert clock() < 10
    stuck = "hung: it takes connections and answers nothing"
    assert [each for each in happened(deployment) if each[0] in ("ill", "ended")] == [
        ("ill", stuck),
        ("ended", "The server hung: it takes connections and answers nothing, for 60 s"),
    ]


def test_completions_that_fail_for_long_are_a_reason_to_start_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "fails-later")
    days = Days(deployment, [""])
    days.in_delays = [lambda: local.stop(deployment)]
    assert len(supervised(deployment, days)) == 1
    assert sum(days.slept) == 180 + 10
    assert [event for event, _ in happened(deployment)] == ["started", "ready", "ill", "ended", "stopped"]
    assert happened(deployment)[3][1].endswith("for 180 s")


def test_a_server_that_somebody_is_stopping_is_left_to_its_drain(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new requests all fail meanwhile, for however long its last ones take."""
    monkeypatch.setenv("STUB", "fails-later")

    def begun_to_stop() -> None:
        place = folder(deployment.name)
        record = server.load(place)
        assert record is not None
        who = processes.birth(os.getpid())
        server.note(place, record.model_copy(update={"stopping_at": record.started_at, "stopping_by": who}))

    days = Days(deployment, ["upgrade", *[""] * 9, "stop"])
    days.upgrade = begun_to_stop
    assert len(supervised(deployment, days)) == 1
    assert days.slept == [30] * 11


def test_a_stop_that_was_killed_keeps_no_server_from_being_judged(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first signal; what it noted lies there."""
    monkeypatch.setenv("STUB", "fails-later")

    def killed() -> None:
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(processes, "send", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            local.stop(deployment)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        record = server.load(folder(deployment.name))
        assert record is not None
        assert record.stopping_by is not None

    days = Days(deployment, ["upgrade"])
    days.upgrade = killed
    days.in_delays = [lambda: local.stop(deployment)]
    assert len(supervised(deployment, days)) == 1
    assert sum(days.slept) == 180 + 10
    assert [event for event, _ in happened(deployment)] == ["started", "ready", "ill", "ended", "stopped"]


def test_one_that_ended_while_somebody_still_stops_it_has_not_died(deployment: Deployment) -> None:
    def ended_already() -> None:
        place = folder(deployment.name)
        record = server.load(place)
        assert record is not None
        who = processes.birth(os.getpid())
        server.note(place, record.model_copy(update={"stopping_at": record.started_at, "stopping_by": who}))
        os.kill(record.leader.pid, signal.SIGKILL)

    days = Days(deployment, ["upgrade", "stop"])
    days.upgrade = ended_already
    assert len(supervised(deployment, days)) == 1
    assert [event for event, _ in happened(deployment)] == ["started", "ready", "stopped"]


class Killed(BaseException):
    """What ends a supervisor without a word."""


def test_the_count_of_ends_is_that_of_the_supervisors_before_too(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is killed while it waits for its next start."""
    monkeypatch.setenv("STUB", "dies")
    deployment.write(folder(deployment.name) / "deployment.json")

    def killed() -> None:
        raise Killed

    slept: list[list[float]] = []
    for lives, end in ((1, Killed), (1, Killed), (0, GaveUp)):
        days = Days(deployment, [])
        days.in_delays = [*[lambda: None] * len(slept[:1]), *[killed] * lives]
        watch = Watch(deployment, local, lambda _: None, POLICY, days.sleep, days, lambda: 1e6, days.drawn)
        with pytest.raises(end):
            keep_alive(watch, is_unattended=True)
        slept.append([each for each in days.slept if each >= 1])
    assert slept == [[10], [10, 20], [20]]
    assert [event for event, _ in happened(deployment)] == [*["started", "died"] * 3, "gave up"]


def test_the_log_of_a_first_death_that_no_supervisor_saw_is_kept(deployment: Deployment) -> None:
    deployment.write(folder(deployment.name) / "deployment.json")
    launch(deployment)
    stubbed.kill(deployment)
    stubbed.until(lambda: not members(deployment))
    log = server.log_text(folder(deployment.name))

    def killed() -> None:
        raise Killed

    days = Days(deployment, [])
    days.in_delays = [killed]
    watch = Watch(deployment, local, lambda _: None, POLICY, days.sleep, days, lambda: 1e6, days.drawn)
    with pytest.raises(Killed):
        keep_alive(watch, is_unattended=True)
    assert (folder(deployment.name) / "first-death" / "vllm.log").read_text() == log != ""


def test_a_supervisor_that_falls_is_one_more_end(deployment: Deployment) -> None:
    def fall(_: Endpoint) -> None:
        raise OSError(32, "Broken pipe")

    days = Days(deployment, [])
    with pytest.raises(OSError, match="Broken pipe"):
        supervise(deployment, fall, POLICY, days.sleep, days, drawn=days.drawn)
    assert happened(deployment)[-2:] == [
        ("ended", "what supervised it fell: BrokenPipeError"),
        ("stopped", ""),
    ]
    assert local.ends(deployment, POLICY) == Ends(0, 1)


def test_what_it_served_before_somebody_else_watched_it_counts(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(deployment)
    monkeypatch.setattr(processes, "age_s", lambda _: 4000.0)
    assert 0 <= local.served_s(deployment) < 3000
    late = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr("deploy.targets.local.supervised.datetime", SimpleNamespace(now=lambda _: late))
    assert local.served_s(deployment) == 4000.0


@pytest.mark.parametrize("end", [local.stop, local.down])
def test_who_stops_it_while_it_waits_for_its_next_start_is_heard(
    deployment: Deployment, end: Callable[[Deployment], object]
) -> None:
    days = Days(deployment, ["kill"])
    days.in_delays = [lambda: end(deployment)]
    assert len(supervised(deployment, days)) == 1
    assert (days.slept, members(deployment)) == ([30, 10], ())


def test_a_port_that_another_has_for_a_while_ends_no_supervision(deployment: Deployment) -> None:
    another = socket.socket()
    another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def take() -> None:
        another.bind(("127.0.0.1", deployment.plan.serve.port))
        another.listen()

    days = Days(deployment, ["kill", "stop"])
    days.in_delays = [take, another.close]
    assert len(supervised(deployment, days)) == 2
    assert days.slept == [30, 10, 20, 30]
    port = deployment.plan.serve.port
    assert happened(deployment)[3] == (
        "died",
        f"Port {port} of 127.0.0.1 cannot be listened on: Address already in use.",
    )


def test_what_an_upgrade_serves_in_its_stead_is_watched_and_is_what_starts_again(
    deployment: Deployment,
) -> None:
    """Its document has another drain by then; the one that is watched was started by somebody else."""
    later = with_drain(deployment, 2)

    def upgrade() -> None:
        local.let_go(deployment)
        local.turn_to(later)
        later.write(folder(later.name) / "deployment.json")

    days = Days(deployment, ["upgrade", "kill", "stop"])
    days.upgrade = upgrade
    assert len(supervised(deployment, days)) == 2
    assert days.slept == [30, 30, 10, 30]
    record = server.load(folder(deployment.name))
    assert record is not None
    assert record.shutdown_timeout_s == 2


def test_between_the_two_servers_of_an_upgrade_none_is_taken_for_stopped(deployment: Deployment) -> None:
    name, later = deployment.name, with_drain(deployment, 2)
    upgrading = settling.alone(name)

    def end() -> None:
        upgrading.__enter__()
        me = processes.birth(os.getpid())
        release.Trial(release="0" * 12, begun_at=datetime.now(UTC), by=me).write(release.trial_file(name))
        local.let_go(deployment)

    def start() -> None:
        local.turn_to(later)
        later.write(folder(name) / "deployment.json")
        release.trial_file(name).unlink()
        upgrading.__exit__(None, None, None)

    steps = [end, start]
    days = Days(deployment, ["upgrade", "upgrade", "stop"])
    days.upgrade = lambda: steps.pop(0)()
    assert len(supervised(deployment, days)) == 1
    assert days.slept == [30, 30, 30]


def with_drain(deployment: Deployment, seconds: int) -> Deployment:
    """The same deployment, served with another option."""
    serve = deployment.plan.serve.model_copy(update={"shutdown_timeout": seconds})
    return deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})


def test_at_the_first_start_it_is_said_at_once(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", deployment.plan.serve.port)), pytest.raises(HostError):
        supervised(deployment, Days(deployment, []))


def test_unless_a_unit_starts_it_which_gives_up_for_good(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_UNIT", deployment.name)
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, [])
    held = socket.create_server(("127.0.0.1", deployment.plan.serve.port))
    with held, pytest.raises(ServerError, match="Gave up after 3 starts that did not get ready") as caught:
        supervised(deployment, days)
    assert days.slept == [10, 20]
    assert caught.value.message.endswith("cannot be listened on: Address already in use.")
    assert local.status(deployment).detail.startswith("gave up after 3 starts that did not get ready")
    with pytest.raises(ServerError, match="It was given up before: 3 starts that did not get ready"):
        supervised(deployment, Days(deployment, []))
    events.note(folder(deployment.name), "asked")
    assert len(supervised(deployment, Days(deployment, ["stop"]))) == 1


def test_an_upgrade_that_is_at_work_while_a_unit_starts_is_waited_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the releases for a while; a unit that ended for that would be down for good."""
    deployment.write(folder(deployment.name) / "deployment.json")
    monkeypatch.setenv("CORRAL_UNIT", deployment.name)
    release.Trial(release="0" * 12, begun_at=datetime.now(UTC)).write(release.trial_file(deployment.name))
    upgrading = settling.alone(deployment.name)
    upgrading.__enter__()
    days = Days(deployment, ["stop"])
    days.in_delays = [lambda: upgrading.__exit__(None, None, None)]
    assert len(supervised(deployment, days)) == 1
    assert days.slept == [10, 30]
    assert happened(deployment)[0] == ("died", f"Another corral is upgrading {deployment.name} now.")


@pytest.mark.parametrize(("up_s", "waits"), [(899.0, 3), (900.0, 0)])
def test_a_gpu_that_appears_minutes_after_the_boot_is_waited_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, up_s: float, waits: int
) -> None:
    answers = ["0 of the 2 GPUs it needs are there"] * 3
    monkeypatch.setattr(local, "gpus_missing", lambda _: answers.pop() if answers else "")
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, ["stop"])
    assert len(supervised(deployment, days, up_s=up_s)) == 1
    assert days.slept == [5] * waits + [30]
    waiting = [each for each in happened(deployment) if each[0] == "waiting"]
    assert waiting == [("waiting", "0 of the 2 GPUs it needs are there")] * (waits > 0)


def test_who_stops_it_while_it_waits_for_gpus_is_heard(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens = [lambda: None, lambda: local.stop(deployment)]

    def missing(_: Deployment) -> str:
        happens.pop(0)()
        return "0 of the 2 GPUs it needs are there"

    monkeypatch.setattr(local, "gpus_missing", missing)
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, [])
    assert supervised(deployment, days, up_s=20.0) == []
    assert days.slept == [5, 5]
    assert happened(deployment) == [("waiting", "0 of the 2 GPUs it needs are there"), ("stopped", "")]


def test_a_start_again_waits_for_room_on_the_disk_and_counts_for_no_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long that takes; a first start, which somebody reads of, says what the disk refuses."""
    full = "/home/me takes nothing more: No space left on device; make room there (df -h /home/me)"
    answers = ["", *[full] * 400]

    def still_full(deployment: Deployment) -> str:
        return answers.pop() if len(answers) > 1 else ""

    days = Days(deployment, ["kill", "stop"])
    monkeypatch.setattr(local, "full", still_full)
    assert len(supervised(deployment, days)) == 2
    assert days.slept == [30, 10, *[5] * 400, 30]
    assert [event for event, _ in happened(deployment)] == [
        "started", "ready", "died", "waiting", "started", "ready", "stopped",
    ]  # fmt: skip
    assert f"supervise: {full}; waiting until there is room\n" in capsys.readouterr().err


def test_each_thing_that_a_start_waits_for_is_told_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, full = "0 of the 2 GPUs it needs are there", "/home/me takes nothing more"
    gpus, disk = [missing] * 3, [full] * 3
    monkeypatch.setattr(local, "gpus_missing", lambda _: gpus.pop() if gpus else "")
    monkeypatch.setattr(local, "full", lambda _: disk.pop() if disk else "")
    monkeypatch.setenv("CORRAL_UNIT", deployment.name)
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, ["stop"])
    assert len(supervised(deployment, days, up_s=20.0)) == 1
    assert days.slept == [*[5] * 6, 30]
    assert happened(deployment)[:2] == [("waiting", missing), ("waiting", full)]
    told = [line for line in capsys.readouterr().err.splitlines() if "; waiting until" in line]
    assert told == [
        f"supervise: {missing}; waiting until 15 minutes after the boot",
        f"supervise: {full}; waiting until there is room",
    ]


def test_an_upgrade_that_is_suspended_is_told_of_once_and_costs_no_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its server is down, and where the supervisor itself was killed meanwhile."""
    answers = ["", *["its upgrade is suspended."] * 4]
    monkeypatch.setattr(settling, "held_up", lambda _: answers.pop() if len(answers) > 1 else "")
    monkeypatch.setenv("CORRAL_UNIT", deployment.name)
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, ["stop"])
    assert len(supervised(deployment, days)) == 1
    assert days.slept == [5, 5, 5, 5, 30]
    monkeypatch.delenv("CORRAL_UNIT")  # somebody is there, so its first start waits for nothing
    answers += ["its upgrade is suspended."] * 2
    events.note(folder(deployment.name), "asked")
    assert len(supervised(deployment, Days(deployment, ["", "", "stop"]))) == 1
    assert [each for each in happened(deployment) if each[0] == "waiting"] == [
        ("waiting", "its upgrade is suspended.")
    ] * 2


def test_gpus_whose_memory_is_anothers_are_no_place_to_start(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = "700 MiB of GPU 0 is held by python (pid 77)"
    monkeypatch.setattr(local, "in_the_way", lambda _: held)
    deployment.write(folder(deployment.name) / "deployment.json")
    days = Days(deployment, [])
    with pytest.raises(ServerError, match=f"The last: It cannot start: {re.escape(held)}"):
        supervised(deployment, days)
    assert happened(deployment)[0] == ("died", held)
    assert members(deployment) == ()


def test_which_gpus_are_missing_and_who_holds_them(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = deployment.plan.machine.model_copy(update={"gpu_count": 2})
    needs_two = deployment.model_copy(
        update={"plan": deployment.plan.model_copy(update={"machine": machine})}
    )
    one = GpuFacts(
        index=0, name="H100", uuid="a", memory_total_mib=80_000, memory_used_mib=700, compute_capability=9.0
    )
    there = [GpuReport(problem="no driver"), GpuReport(gpus=(one,)), GpuReport(gpus=(one, one))]
    found = []
    for report in there:
        monkeypatch.setattr(gpus, "report", lambda report=report: report)
        found.append((local.gpus_missing(needs_two), local.in_the_way(needs_two)))
    assert found == [
        ("0 of the 2 GPUs it needs are there: no driver", ""),
        ("1 of the 2 GPUs it needs are there", ""),
        ("", ""),
    ]
    busy, clock = one.model_copy(update={"memory_used_mib": 70_000}), Clock()
    monkeypatch.setattr(gpus, "report", lambda: GpuReport(gpus=(busy, one)))
    monkeypatch.setattr(gpus, "users", lambda indexes: (f"python (pid {77 + indexes[0]})",))
    assert local.in_the_way(needs_two, clock.sleep, clock) == (
        "70000 MiB of GPU 0 is held by python (pid 77)"
    )
    assert (local.gpus_missing(deployment), local.in_the_way(deployment)) == ("", "")


def h100(number: int, bus: str) -> GpuFacts:
    """A GPU at an address."""
    return GpuFacts(
        index=number,
        name="H100",
        uuid=str(number),
        memory_total_mib=80_000,
        memory_used_mib=700,
        compute_capability=9.0,
        pci_bus_id=bus,
    )


XID = "NVRM: Xid (PCI:0000:{}:00): {}, pid=7, name=python3, Ch 00000008"


@pytest.mark.parametrize(
    ("there", "kernel", "gave_up"),
    [
        (("CB", "CC"), XID.format("cb", 48), "Xid 48: double bit ECC error; 0000:cb:00"),
        (("CB",), XID.format("cc", 79), "Xid 79: GPU has fallen off the bus; 0000:cc:00"),
        # Another server's: the two that the next start takes are well.
        (("CB", "CC", "CD"), XID.format("cd", 48), ""),
        (("CB", "CC"), XID.format("cd", 79), ""),
        (("CB", "CC"), XID.format("cb", 31), ""),
        (("CB", "CC"), None, ""),
    ],
)
def test_a_gpu_that_no_start_mends_is_given_up_at_once(
    there: tuple[str, ...],
    kernel: str | None,
    gave_up: str,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUB", "dies")
    found = GpuReport(gpus=tuple(h100(number, f"00000000:{bus}:00.0") for number, bus in enumerate(there)))
    monkeypatch.setattr(gpus, "report", lambda: found)
    monkeypatch.setattr(kernel_messages, "since", lambda _: kernel)
    machine = deployment.plan.machine.model_copy(update={"gpu_count": 2})
    needs_two = deployment.model_copy(
        update={"plan": deployment.plan.model_copy(update={"machine": machine})}
    )
    days = Days(needs_two, [])
    with pytest.raises(GaveUp) as caught:
        supervise(needs_two, lambda _: None, POLICY, days.sleep, days, up_s=lambda: 1e6, drawn=days.drawn)
    starts = [event for event, _ in happened(needs_two)].count("started")
    if not gave_up:
        assert (starts, caught.value.message[:22]) == (3, "Gave up after 3 starts")
        return
    assert starts == 1
    assert caught.value.message.startswith("Gave up after an end that no start mends: a GPU f")
    assert caught.value.message.endswith(f"({gave_up}).")
    assert "then corral serve tiny" in caught.value.hint
    assert happened(needs_two)[-1] == ("gave up", caught.value.message[len("Gave up after ") : -1])


def test_ctrl_c_ends_the_server_too(deployment: Deployment) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(deployment, lambda _: None, POLICY, interrupt)
    assert members(deployment) == ()


def test_what_another_serves_there_is_left_alone(deployment: Deployment) -> None:
    launch(deployment)
    other = with_port(deployment, deployment.plan.serve.port + 1)
    with pytest.raises(UsageError, match="other options"):
        supervise(other, lambda _: None, POLICY)
    assert members(deployment) != ()


def test_elsewhere_it_is_not_ours_to_supervise(deployment: Deployment) -> None:
    with pytest.raises(UsageError, match="Only a server of this machine"):
        supervise(deployment.model_copy(update={"target": "ec2"}), lambda _: None, POLICY)
