"""Two operators of one deployment: one at a time rolls or upgrades it, and neither undoes what the other brought."""

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from fake_box import Box
from stubbed import until
from test_owned import deployment
from test_owned_line import Corral
from test_owned_line import box as box
from test_owned_line import corral as corral

from deploy.releases import release, settling
from deploy.releases.release import Release
from deploy.targets.deployment import folder, load
from deploy.targets.place import Replica, Status
from deploy.targets.ssh import at_work, host_unit
from deploy.targets.ssh.fleet import connected
from infra.errors import UsageError

THEIRS = "0123456789ab"
# One that holds it, says so, and goes on until it is killed.
HOLDS = """\
import sys
from deploy.targets.deployment import Deployment
from deploy.targets.ssh import at_work, host_unit
from deploy.targets.ssh.fleet import connected
at_work.who = lambda: "bob@laptop"
with at_work.alone(Deployment.parse(sys.argv[1], "argv")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def made(box: Box) -> str:
    """The name of a deployment on one host, as far as it is known here."""
    deployment().write(folder("scout") / "deployment.json")
    return "scout"


@pytest.mark.parametrize(
    "verb", [("roll",), ("upgrade", "--vllm-version", "0.33.1"), ("upgrade", "--rollback")]
)
def test_the_second_is_told_who_is_at_work_and_is_free_once_that_corral_was_killed(
    verb: tuple[str, ...], made: str, corral: Corral
) -> None:
    text = load(made).text()
    command = [sys.executable, "-c", HOLDS, text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bobs:
        assert bobs.stdout
        assert bobs.stdout.readline() == "held\n"
        first, *words = verb
        code, _, said = corral(first, made, *words)
        assert (code, re.sub("since [0-9TZ:-]{20}", "since then", said)) == (
            2,
            "error: bob@laptop's corral is rolling or upgrading scout on gpu-1, since then.\n"
            "hint: See how far it is: corral status scout; the host is free again as soon as that corral has ended.\n",
        )
        bobs.kill()
    until(lambda: is_free(made))


def is_free(name: str) -> bool:
    """Whether nobody is at work on it."""
    try:
        with at_work.alone(load(name)):
            return True
    except UsageError:
        return False


def test_it_is_free_when_the_work_is_done_or_fails(made: str) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), at_work.alone(load(made)):
            raise ZeroDivisionError
    with at_work.alone(load(made)):
        assert not is_free(made)


def test_what_the_other_tries_is_not_ended_by_a_start(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    on_trial = host_unit.UnitState(active="active", trial=THEIRS)
    monkeypatch.setattr(host_unit, "bring_judge", lambda *_: None)
    monkeypatch.setattr(host_unit, "state", lambda *_: on_trial)
    monkeypatch.setattr(host_unit, "release", lambda made, order, host: ended.append(order))
    with at_work.alone(load(made)), pytest.raises(UsageError, match="is rolling or upgrading scout on gpu-1"):
        host_unit.start(load(made), connected("gpu-1"))
    assert ended == []


def test_what_the_other_has_brought_is_told_and_not_undone(made: str) -> None:
    present = load(made)

    def status(*starts: str | None) -> Status:
        names = [f"gpu-{number}" for number, _ in enumerate(starts, 1)]
        each = [
            Replica(name=name, state="serving", detail="", release=id)
            for name, id in zip(names, starts, strict=True)
        ]
        return Status(
            name=made, target="ssh", state="serving", detail="well", endpoints=tuple(each[1:] and each),
            release=starts[0],
        )  # fmt: skip

    accepted = release.id_of(present, "0.33.0")
    two = present.model_copy(update={"hosts": ("gpu-1", "ops@gpu-2")})
    for of, found, named, host in (
        (present, status(THEIRS), "scout", "gpu-1"),
        (two, status(THEIRS, THEIRS), "gpu-1, gpu-2", "gpu-1"),
        (two, status(accepted, THEIRS), "gpu-2", "ops@gpu-2"),
    ):
        with pytest.raises(UsageError) as refused:
            settling.refuse_anothers(of, found)
        assert (refused.value.message, refused.value.hint) == (
            f"{named} starts a release that is not known here: another operator has brought it.",
            f"Take it over: corral hosts adopt {host} scout",
        )
        assert settling.told(found, of).detail == (
            f"well; {named} starts a release of another operator's: corral hosts adopt {host} scout"
        )
    # What was brought from here is for `roll` to settle.
    kept = Release(id=THEIRS, vllm_version="0.33.0", deployment=present, tried_at=datetime.now(UTC))
    for found in (status(None), status(accepted), status(f"{THEIRS} on trial")):
        settling.refuse_anothers(present, found)
    release.keep(kept)
    settling.refuse_anothers(two, status(accepted, THEIRS))
    assert settling.told(status(accepted, THEIRS), two).detail == (
        "well; gpu-2 starts another release than the accepted one: corral roll scout"
    )
