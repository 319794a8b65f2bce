"""What a roll does in which order, and leaves where it comes to no end: each replica served, in rotation, and said.

The engines and their gateway are names with a state; the real ones are in tests/test_roll.py.
"""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rack
from test_owned import deployment

from deploy.cli.main import run
from deploy.gateway import gateway, out_of_rotation
from deploy.releases import canary, release, settling, short_probe, started_anew
from deploy.releases.release import Figures, Trial
from deploy.targets import table
from deploy.targets.deployment import folder, load
from deploy.targets.local import place as local
from deploy.targets.place import State
from infra.errors import HostError, ServerError, UsageError
from serving.vllm import stopping
from serving.vllm.endpoint import Endpoint

NAME, UPGRADE = "front", ("--vllm-version", "2.0.0")
READY = f"hint: Look: corral logs {NAME}; the same command again goes on; once gpu1 serves: "
READY += f"corral gateway ready {NAME} gpu1."
Said = tuple[int, list[str]]
Roll = Callable[..., Said]


class Unit(rack.Unit):
    """An engine that is a word."""

    def __init__(self) -> None:
        self.version, self.kept, self.port = "1.0.0", "", 1
        self.now: State = "serving"
        self.starts = 0
        self.interrupted = 0
        """So many of the next starts are cut short by a Ctrl-C."""

    def start(self, version: str) -> None:
        if self.interrupted:
            self.interrupted -= 1
            raise KeyboardInterrupt
        self.version, self.now = version, "serving"
        self.starts += 1

    def state(self) -> State:
        return self.now

    def end(self) -> None:
        self.now = "stopped"


class Front:
    """The gateway before them: whom it gives requests, as far as it reaches them."""

    def __init__(self, *hosts: str) -> None:
        self.out: set[str] = set()
        self.unreached: set[str] = set()
        self.hosts = hosts
        self.drained: list[str] = []
        self.refuses = False

    def in_front(self, name: str) -> tuple[str, ...]:
        if self.refuses:
            raise HostError("gw does not answer.", "")
        return self.hosts

    def up(self, name: str) -> tuple[str, ...]:
        return tuple(
            host
            for host in self.hosts
            if host not in self.out | self.unreached and rack.UNITS[host].state() == "serving"
        )

    def without_requests(self, name: str) -> tuple[str, ...]:
        up = self.up(name)
        return tuple(host for host in self.in_front(name) if host not in up)

    def drain(self, name: str, server: str, within_s: float) -> None:
        self.out.add(server)
        self.drained.append(server)

    def put_in(self, name: str, server: str) -> bool:
        self.out.discard(server)
        return server in self.up(name)


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Front:
    """Two engines that serve, and the gateway before them."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    monkeypatch.setitem(table.PLACES, "rack", table.Row("rack"))
    monkeypatch.setattr(rack, "UNITS", {"gpu1": Unit(), "gpu2": Unit()})
    monkeypatch.setattr(rack, "BROKEN", set[str]())
    made = deployment().model_copy(update={"name": NAME, "target": "rack", "hosts": ("gpu1", "gpu2")})
    made.write(tmp_path / NAME / "deployment.json")
    front = Front("gpu1", "gpu2")
    for name in ("in_front", "without_requests", "drain", "put_in"):
        monkeypatch.setattr(out_of_rotation, name, getattr(front, name))
    said = canary.Answer(text="a b", tokens=("a", "b"))
    monkeypatch.setattr(canary, "asked", lambda endpoint: said)
    monkeypatch.setattr(canary, "require_sense", lambda endpoint, before: said)
    figures = Figures(output_tokens_per_s=100.0, requests=16, failed=0)
    monkeypatch.setattr(short_probe, "measured", lambda endpoint, most: figures)
    monkeypatch.setattr(stopping, "until_idle", lambda *_: None)
    monkeypatch.setattr(gateway, "load", lambda name: SimpleNamespace(asked=SimpleNamespace(queue_s=30)))
    return front


@pytest.fixture
def roll(front: Front, capsys: pytest.CaptureFixture[str]) -> Roll:
    """The line; its code, and what it says beside the steps."""

    def line(*words: str) -> Said:
        capsys.readouterr()
        code = run(["roll", NAME, *words, "--yes"])
        said = capsys.readouterr().err.splitlines()
        return code, [line for line in said if line.startswith(("error: ", "hint: ", "warning: "))]

    return line


def starts() -> list[int]:
    return [rack.UNITS[host].starts for host in ("gpu1", "gpu2")]  # type: ignore[attr-defined]


def versions() -> list[str]:
    return [rack.UNITS[host].version for host in ("gpu1", "gpu2")]


def cut(error: BaseException, calls: int = 1) -> Callable[..., None]:
    """Raises it so many times, then does nothing."""
    left = [error] * calls

    def call(*_: Any) -> None:
        if left:
            raise left.pop()

    return call


def test_what_fails_is_turned_back_the_same_again_goes_on_and_without_a_release_all_go_back(
    front: Front, roll: Roll
) -> None:
    rack.BROKEN.add("2.0.0@gpu2")
    code, said = roll(*UPGRADE)
    old, new = load(NAME).release, rack.UNITS["gpu1"].kept
    assert (code, said) == (7, [
        f"error: The roll of {NAME} stopped at gpu2: 2.0.0 died. It is turned back to {old} and serves. gpu1: at "
        f"{new}.",
        f"hint: Look: corral logs {NAME}; the same command again goes on; all back to {old}: corral roll {NAME}.",
    ])  # fmt: skip
    assert (versions(), front.up(NAME), starts()) == (["2.0.0", "1.0.0"], ("gpu1", "gpu2"), [1, 1])
    assert roll() == (0, [])
    assert (versions(), front.up(NAME), load(NAME).release) == (["1.0.0", "1.0.0"], ("gpu1", "gpu2"), old)
    rack.UNITS["gpu1"].start("2.0.0")
    rack.UNITS["gpu1"].kept = new
    rack.BROKEN.clear()
    front.drained.clear()
    assert roll(*UPGRADE) == (0, [])
    assert (versions(), front.drained, load(NAME).release) == (["2.0.0", "2.0.0"], ["gpu2"], new)


def test_one_that_was_turned_and_not_kept_is_done_again(front: Front, roll: Roll) -> None:
    assert roll(*UPGRADE) == (0, [])
    new = load(NAME).release
    rack.UNITS["gpu2"].kept = f"{new} on trial"
    front.drained.clear()
    assert roll(*UPGRADE) == (0, [])
    assert (rack.UNITS["gpu2"].kept, front.drained) == (new, ["gpu2"])


@pytest.mark.parametrize("words", [(), UPGRADE])
def test_ctrl_c_at_the_canary_leaves_every_replica_in_rotation(
    words: tuple[str, ...], front: Front, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    sense = canary.require_sense
    interrupted = iter((False, True))

    def asked(endpoint: Endpoint, before: tuple[str, ...]) -> canary.Answer:
        if next(interrupted):
            raise KeyboardInterrupt
        return sense(endpoint, before)

    with monkeypatch.context() as patch:
        patch.setattr(canary, "require_sense", asked)
        code, said = roll(*words)
    assert code == 130
    assert said[0].startswith(f"error: The roll of {NAME} stopped at gpu2: it was interrupted. It ")
    assert (versions()[1], front.up(NAME)) == ("1.0.0", ("gpu1", "gpu2"))
    front.drained.clear()
    assert roll(*words) == (0, [])
    assert front.drained == ["gpu2"]


def test_what_was_started_anew_is_known_for_a_day_and_until_the_roll_is_done(
    front: Front, roll: Roll
) -> None:
    def stopped() -> None:
        """A roll that has started the first anew, and not the other."""
        front.drained.clear()
        rack.BROKEN.add("1.0.0@gpu2")
        assert roll()[0] == 7
        rack.BROKEN.clear()
        assert front.drained == ["gpu1", "gpu2"]
        front.drained.clear()

    stopped()
    assert roll() == (0, [])
    assert (front.drained, starts(), started_anew.file(NAME).exists()) == (["gpu2"], [1, 1], False)
    assert roll() == (0, [])
    assert starts() == [2, 2]
    # One that does not serve any more is started again, and whatever cannot be read is of none.
    stopped()
    rack.UNITS["gpu1"].now = "dead"  # type: ignore[attr-defined]
    assert roll()[0] == 0
    assert sorted(front.drained) == ["gpu1", "gpu2"]
    for note in ("{", started_anew.StartedAnew(at=datetime(2026, 11, 28, tzinfo=UTC), replicas=("gpu1",))):
        stopped()
        started_anew.file(NAME).write_text(note if isinstance(note, str) else note.model_dump_json())
        assert roll() == (0, [])
        assert sorted(front.drained) == ["gpu1", "gpu2"]
    # Nor is it of another release, or of a deployment that was taken away.
    stopped()
    assert roll(*UPGRADE) == (0, [])
    assert not started_anew.file(NAME).exists()
    started_anew.file(NAME).write_text("{}")
    assert (release.forget(NAME), started_anew.file(NAME).exists()) == ((), False)


def test_who_asks_is_told_what_there_will_be_where_no_other_takes_the_requests(
    front: Front, roll: Roll
) -> None:
    rack.UNITS["gpu2"].end()
    load(NAME).model_copy(update={"hosts": ("gpu1",)}).write(folder(NAME) / "deployment.json")
    said = f"warning: No other server of {NAME} is well: requests wait in its gateway for up to 30 s, then get 503."
    assert roll() == (0, [said])
    assert roll(*UPGRADE) == (0, [said])
    front.hosts = ()
    said = "warning: No gateway gives gpu1 its requests: it finishes those it has, and refuses others until it is back."
    assert roll() == (0, [said])


def test_the_ill_replica_comes_first_and_none_is_ended_before_it_is_idle(
    front: Front, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks it directly is waited for, too."""
    seen: list[tuple[str, State]] = []

    def until_idle(*_: object) -> None:
        seen.append((front.drained[-1], rack.UNITS[front.drained[-1]].state()))

    monkeypatch.setattr(stopping, "until_idle", until_idle)
    rack.UNITS["gpu2"].now = "dead"  # type: ignore[attr-defined]
    assert roll()[0] == 0
    assert seen == [("gpu2", "dead"), ("gpu1", "serving")]


def test_what_it_would_be_started_with_is_looked_for_before_anything_is_drained(
    front: Front, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        rack, "require_whole", cut(ServerError("There is no vLLM on this machine.", "Install it."))
    )
    assert roll() == (7, ["error: There is no vLLM on this machine.", "hint: Install it."])
    assert (front.drained, starts(), rack.UNITS["gpu1"].state()) == ([], [0, 0], "serving")
    assert roll() == (0, [])


def test_a_server_of_this_machine_is_not_ended_for_an_engine_that_is_gone(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORRAL_VLLM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="There is no vLLM on this machine"):
        local.require_whole(deployment())
    gone = deployment().model_copy(update={"engine": str(tmp_path / "bin/vllm")})
    with pytest.raises(ServerError, match="release is not there any more"):
        local.require_whole(gone)


def test_nothing_is_rolled_where_nothing_is_served(front: Front, roll: Roll) -> None:
    for unit in rack.UNITS.values():
        unit.end()
    assert roll() == (
        2, [f"error: {NAME} is stopped: there is nothing to roll.", f"hint: Start it: corral serve {NAME}"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [("roll", NAME), ("roll", NAME, *UPGRADE), ("upgrade", NAME, *UPGRADE), ("upgrade", NAME, "--rollback")],
)
def test_what_another_operator_has_brought_is_not_undone(
    words: tuple[str, ...], front: Front, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rack, "alone", lambda made: nullcontext(), raising=False)
    rack.UNITS["gpu2"].kept = "0123456789ab"
    assert run([*words, "--yes"]) == 2
    assert capsys.readouterr().err == (
        "error: gpu2 starts a release that is not known here: another operator has brought it.\n"
        f"hint: Take it over: corral hosts adopt gpu2 {NAME}\n"
    )
    assert (starts(), front.drained) == ([0, 0], [])


@pytest.mark.parametrize("words", [(), UPGRADE])
def test_a_replica_that_its_gateway_does_not_find_well_ends_the_roll(
    words: tuple[str, ...], front: Front, roll: Roll
) -> None:
    front.unreached = {"gpu1"}
    code, said = roll(*words)
    old, new = load(NAME).release, rack.UNITS["gpu1"].kept
    assert (code, said) == (7, [
        f"error: The roll of {NAME} stopped at gpu1: Its gateway does not find it well, and gives it requests as soon "
        f"as it does. {f'It has {new}' if words else 'It serves'}. gpu2: as before.",
        f"hint: Look: corral logs {NAME}; the same command again goes on"
        + (f"; all back to {old}: corral roll {NAME}." if words else "."),
    ])  # fmt: skip
    assert (starts(), front.up(NAME)) == ([1, 0], ("gpu2",))
    # As long as that is so, it is asked first and the other serves on.
    assert (roll(*words)[0], front.up(NAME), starts()[1]) == (7, ("gpu2",), 0)
    front.unreached = set()
    assert roll(*words) == (0, [])
    assert (front.up(NAME), starts()[1]) == (("gpu1", "gpu2"), 1)


@pytest.mark.parametrize("words", [(), UPGRADE])
@pytest.mark.parametrize("at", ["drain", "until_idle"])
@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (KeyboardInterrupt(), 130, "it was interrupted"),
        (HostError("gpu1 does not answer.", ""), 7, "gpu1 does not answer"),
    ],
)
def test_a_server_that_was_not_touched_is_not(
    words: tuple[str, ...],
    at: str,
    error: BaseException,
    code: int,
    cause: str,
    front: Front,
    roll: Roll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(out_of_rotation if at == "drain" else stopping, at, cut(error))
    assert roll(*words) == (code, [
        f"error: The roll of {NAME} stopped at gpu1: {cause}. Its server was not touched. gpu2: as before.",
        f"hint: Look: corral logs {NAME}; the same command again goes on.",
    ])  # fmt: skip
    assert (starts(), front.up(NAME)) == ([0, 0], ("gpu1", "gpu2"))


def test_a_gateway_that_cannot_be_asked_ends_the_roll_before_a_replica_is_touched(
    front: Front, roll: Roll
) -> None:
    front.refuses = True
    code, said = roll()
    assert (code, starts()) == (HostError.exit_code, [0, 0])
    assert said[0] == "error: gw does not answer."


def test_what_a_ctrl_c_finds_ended_is_started_again(front: Front, roll: Roll) -> None:
    rack.UNITS["gpu1"].interrupted = 1  # type: ignore[attr-defined]
    code, said = roll()
    assert (code, said[0]) == (
        130, f"error: The roll of {NAME} stopped at gpu1: it was interrupted. It serves. gpu2: as before.",
    )  # fmt: skip
    assert (starts(), front.up(NAME)) == ([1, 0], ("gpu1", "gpu2"))


@pytest.mark.parametrize("words", [(), UPGRADE])
def test_a_second_ctrl_c_says_what_is_on_its_way_back(
    words: tuple[str, ...], front: Front, roll: Roll
) -> None:
    rack.UNITS["gpu1"].interrupted = 2  # type: ignore[attr-defined]
    assert roll(*words) == (130, [
        f"error: The roll of {NAME} stopped at gpu1: it was interrupted. It is still on its way back. Its gateway "
        "gives it no requests. gpu2: as before.",
        READY,
    ])  # fmt: skip
    assert roll(*words) == (0, [])
    assert (front.up(NAME), starts()) == (("gpu1", "gpu2"), [1, 1])


@pytest.mark.parametrize("words", [(), UPGRADE])
def test_one_that_does_not_start_is_stopped_and_the_same_again_goes_on(
    words: tuple[str, ...], front: Front, roll: Roll
) -> None:
    rack.BROKEN.update({"1.0.0@gpu1", "2.0.0@gpu1"})
    code, said = roll(*words)
    old = load(NAME).release
    stays = f" It does not start again with {old}: 1.0.0 died." if words else ""
    assert (code, said) == (7, [
        f"error: The roll of {NAME} stopped at gpu1: {'2' if words else '1'}.0.0 died.{stays} Its gateway gives it "
        "no requests. gpu2: as before.",
        READY,
    ])  # fmt: skip
    assert rack.UNITS["gpu1"].state() == "stopped"
    rack.BROKEN.clear()
    assert roll(*words) == (0, [])
    assert (front.up(NAME), starts()) == (("gpu1", "gpu2"), [1, 1])


def test_after_an_upgrade_that_was_killed_all_are_started(front: Front, roll: Roll) -> None:
    """Whatever is on trial is ended on every host first."""
    Trial(release="0123456789ab", begun_at=datetime.now(UTC)).write(release.trial_file(NAME))
    assert roll()[0] == 0
    assert (front.up(NAME), starts()) == (("gpu1", "gpu2"), [1, 1])


def test_nothing_is_started_from_here_while_a_roll_is_at_work(front: Front) -> None:
    with settling.alone(NAME), pytest.raises(UsageError, match="Another corral is upgrading front now"):
        settling.settled(NAME)
    settling.settled(NAME)


def test_one_that_has_the_release_but_no_requests_gets_them_again(
    front: Front, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in = front.put_in
    monkeypatch.setattr(out_of_rotation, "put_in", cut(ServerError("The gateway refuses.", ""), 2))
    code, said = roll(*UPGRADE)
    new = rack.UNITS["gpu1"].kept
    assert (code, said[0]) == (
        7,
        f"error: The roll of {NAME} stopped at gpu1: The gateway refuses. It has {new}. Its gateway gives it no "
        "requests. gpu2: as before.",
    )
    monkeypatch.setattr(out_of_rotation, "put_in", put_in)
    assert roll(*UPGRADE) == (0, [])
    assert (front.up(NAME), starts()) == (("gpu1", "gpu2"), [1, 1])
    # Also where nothing is left to do but that.
    front.out = {"gpu2"}
    assert roll(*UPGRADE) == (0, [])
    assert (front.up(NAME), starts()) == (("gpu1", "gpu2"), [1, 1])
