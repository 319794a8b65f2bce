"""`corral upgrade`: the next release is tried, kept or taken back, and killed anywhere leaves one that starts."""

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import shelf
import stubbed
from killed import killed_at

from deploy.cli.main import run
from deploy.launch import launch
from deploy.line import provision
from deploy.releases import canary, release, settling, short_probe
from deploy.releases.release import Figures, Release, Trial
from deploy.releases.settling import holding
from deploy.releases.upgrade import known
from deploy.targets import table
from deploy.targets.deployment import Deployment, folder, load, make
from infra import processes
from infra.errors import DocumentError, EndpointError, ServerError
from serving.sizing.plan import Plan
from serving.vllm import events
from serving.vllm.endpoint import Endpoint

NAME = "scout"
PROBE = "Next: corral probe scout --concurrency 16 --requests 200 --input-tokens 1000 --output-tokens 1000\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


SPEED: dict[str, float] = {}
SAID: dict[str, tuple[str, ...]] = {}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What each version answers, and how fast it is: by its address."""

    def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
        return Figures(output_tokens_per_s=SPEED.get(endpoint.base_url[7:], 100.0), requests=16, failed=0)

    def answer(endpoint: Endpoint) -> canary.Answer:
        tokens = SAID.get(endpoint.base_url[7:], ("a", "b"))
        return canary.Answer(text=" ".join(tokens), tokens=tokens)

    monkeypatch.setattr(short_probe, "measured", measured)
    monkeypatch.setattr(canary, "asked", answer)
    monkeypatch.setitem(table.PLACES, "shelf", table.Row("shelf"))
    yield
    for kept in (SPEED, SAID, shelf.BROKEN, shelf.GONE):
        kept.clear()


@pytest.fixture
def deployment(plan: Plan) -> Deployment:
    """Served by engine 1.0.0."""
    made = make(plan, "shelf", NAME)
    made.write(folder(NAME) / "deployment.json")
    shelf.put(NAME, "1.0.0")
    return made


Said = tuple[int, str, str]


def upgrade(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    code = run(["upgrade", NAME, *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def accepted() -> tuple[str, str]:
    """The version that is accepted, and the one that runs."""
    return shelf.engine_version(load(NAME)), shelf.runs(NAME)


def happened() -> list[tuple[str, str]]:
    """What is on record of the deployment, without the times."""
    return [(each.event, each.cause) for each in events.read(folder(NAME))]


def documents() -> dict[str, tuple[str, str | None, str]]:
    """Of each release that is kept: its version, what became of it, and why."""
    kept = [Release.read(path) for path in (folder(NAME) / "releases").glob("*.json")]
    return {one.vllm_version: (one.vllm_version, one.outcome, one.why) for one in kept}


def test_the_next_release_is_kept_and_the_way_back_is_too(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = upgrade(capsys, "--vllm-version", "2.0.0", "--json")
    assert code == 0, err
    done = json.loads(out)
    new, old = done["release"]["id"], done["previous"]["id"]
    assert (accepted(), done["changed"], new != old) == (("2.0.0", "2.0.0"), True, True)
    assert (load(NAME).release, done["release"]["previous"]) == (new, old)
    assert [line for line in err.splitlines() if line.startswith("upgrade: ")] == [
        f"upgrade: a short probe of the release that serves, {old}",
        f"upgrade: ending {old} and starting {new}",
        "upgrade: the canary",
        "upgrade: a short probe of it",
    ]
    assert not release.trial_file(NAME).exists()

    assert upgrade(capsys, "--vllm-version", "2.0.0")[:2] == (
        0,
        f"scout is release {new}: vLLM 2.0.0, {deployment.plan.serve.model}, 100.0 tokens/s in a short probe "
        f"already; nothing was done.\n{PROBE}",
    )
    code, out, err = upgrade(capsys, "--rollback")
    assert (code, accepted()) == (0, ("1.0.0", "1.0.0")), err
    assert out.splitlines()[0].startswith(f"scout serves release {old}: vLLM 1.0.0, ")
    assert happened() == [
        ("upgraded", f"from {old} to {new}, vLLM 2.0.0"),
        ("rolled back", f"from {new} to {old}, vLLM 1.0.0, as asked"),
    ]
    assert upgrade(capsys, "--rollback")[::2] == (
        2,
        f"error: scout has no release before this one ({old}).\n"
        "hint: Nothing was changed. Bring another: corral upgrade scout plan.json\n",
    )
    assert accepted() == ("1.0.0", "1.0.0")


@pytest.mark.parametrize(
    ("broken", "said", "speed", "words", "why"),
    [
        ({"2.0.0"}, (), 100.0, (), "2.0.0 died"),
        (set(), ("!",) * 32, 100.0, (), "The canary's answer is garbage: it says '!' 32 times over"),
        (
            set(),
            ("a", "b"),
            79.0,
            (),
            "The short probe makes 79.0 tokens a second, where the release before makes 100.0: more than 20% slower",
        ),
        (
            set(),
            ("a", "b"),
            49.0,
            ("--slower-at-most", "50%"),
            "The short probe makes 49.0 tokens a second, where the release before makes 100.0: more than 50% slower",
        ),
    ],
    ids=["dies", "garbage", "slow", "slow-by-bound"],
)
def test_one_that_is_not_as_good_is_taken_back(
    broken: set[str], said: tuple[str, ...], speed: float, words: tuple[str, ...], why: str,
    deployment: Deployment, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shelf.BROKEN |= broken
    SAID["2.0.0"], SPEED["2.0.0"] = said or ("a", "b"), speed
    code, out, err = upgrade(capsys, "--vllm-version", "2.0.0", *words)
    assert (code, out) == (7, "")
    new = next(path for path in (folder(NAME) / "releases").glob("*.json") if Release.read(path).outcome)
    old = next(path for path in (folder(NAME) / "releases").glob("*.json") if path != new)
    assert (
        f"error: scout was not upgraded to {new.stem}: {why}. The accepted release, {old.stem}, serves again.\n"
        in err
    )
    assert accepted() == ("1.0.0", "1.0.0")
    assert load(NAME) == deployment.model_copy(update={"engine": "1.0.0", "release": old.stem})
    assert documents() == {"1.0.0": ("1.0.0", None, ""), "2.0.0": ("2.0.0", "taken back", why)}
    assert not release.trial_file(NAME).exists()
    assert happened() == [("rolled back", f"{new.stem}, vLLM 2.0.0: {why}")]
    assert upgrade(capsys, "--rollback")[0] == 2  # it never was the accepted one


@pytest.mark.parametrize("speed", [80.0, 100.0, 300.0])
def test_one_that_is_slower_within_the_bound_is_kept(
    speed: float, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    SPEED["2.0.0"] = speed
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    assert accepted() == ("2.0.0", "2.0.0")


def test_one_that_was_stopped_is_not_started_by_an_upgrade_that_fails(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.put(NAME, "")
    shelf.BROKEN.add("2.0.0")
    code, _, err = upgrade(capsys, "--vllm-version", "2.0.0")
    assert (code, accepted()) == (7, ("1.0.0", ""))
    assert "does not run.\n" in err


def test_what_was_measured_of_a_release_is_kept_for_the_next(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    SPEED["2.0.0"] = 200.0
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    SPEED["2.0.0"], SPEED["3.0.0"] = 1.0, 150.0  # busy with others' requests now
    assert upgrade(capsys, "--vllm-version", "3.0.0")[0] == 7
    assert accepted() == ("2.0.0", "2.0.0")


def test_ctrl_c_goes_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(canary, "require_sense", interrupted)
    code, _, err = upgrade(capsys, "--vllm-version", "2.0.0")
    assert (code, accepted()) == (130, ("1.0.0", "1.0.0"))
    assert "it was interrupted. The accepted release, " in err


def test_ctrl_c_just_after_it_was_accepted_goes_back_too(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Deployment.write

    def interrupted(self: Deployment, path: Path) -> None:
        write(self, path)
        if (path.name, self.engine) == ("deployment.json", "2.0.0"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Deployment, "write", interrupted)
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 130
    assert accepted() == ("1.0.0", "1.0.0")


def test_a_release_that_was_kept_before_a_kill_still_says_which_it_is(deployment: Deployment) -> None:
    """Its own document was written, and `deployment.json` does not name it yet."""
    first = release.keep(known(deployment, holding(deployment)))
    assert first.deployment.release == first.id
    assert known(deployment, holding(deployment)) == first


def test_the_same_release_is_brought_again_where_it_does_not_serve_and_its_engine_is_gone(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    one = load(NAME).release
    shelf.GONE.add("2.0.0")
    assert upgrade(capsys, "--vllm-version", "2.0.0")[1].endswith(f" already; nothing was done.\n{PROBE}")
    shelf.put(NAME, "")
    code, out, err = upgrade(capsys, "--vllm-version", "2.0.0")
    assert (code, accepted(), load(NAME).release) == (0, ("2.0.0", "2.0.0"), one), err
    assert out.startswith(f"scout serves release {one}: vLLM 2.0.0, ")
    assert release.before(NAME, one).vllm_version == "1.0.0"


def test_a_stop_in_the_middle_is_not_undone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        shelf.put(NAME, "")
        raise EndpointError("nobody answers", "")

    monkeypatch.setattr(canary, "require_sense", stopped)
    code, _, err = upgrade(capsys, "--vllm-version", "2.0.0")
    assert (code, accepted()) == (7, ("1.0.0", ""))
    assert "scout was stopped while it was tried. The accepted release, " in err


def test_a_mistake_of_ours_goes_back_too(
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of its details
    monkeypatch.setattr(canary, "require_sense", lambda *_: [].pop())
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 1
    assert accepted() == ("1.0.0", "1.0.0")


@pytest.mark.parametrize("is_at_work", [True, False])
def test_who_looks_takes_no_lock_from_an_upgrade(
    is_at_work: bool,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    me = processes.birth(os.getpid())
    assert me is not None
    gone = me.model_copy(update={"start_ticks": me.start_ticks + 1})
    trial = Trial(release="0" * 12, begun_at=deployment.created_at, by=me if is_at_work else gone)
    trial.write(release.trial_file(NAME))
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", lambda *_: pytest.fail("a lock is taken"))
        run(["status", NAME])
    said = capsys.readouterr().out
    assert ("is on trial" in said, "was cut short" in said) == (is_at_work, not is_at_work)


def test_an_upgrade_that_ends_while_somebody_looks_is_none(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trial(release="0" * 12, begun_at=deployment.created_at).write(release.trial_file(NAME))

    def read(path: Path) -> None:
        path.unlink()
        raise DocumentError(f"{path} is gone.", "")

    monkeypatch.setattr(release, "Trial", SimpleNamespace(read=read))
    assert release.trial(NAME) is None


def test_whoever_settles_what_was_cut_short_is_known_to_be_at_work(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that who supervises it takes no end for a wish."""
    Trial(release="0" * 12, begun_at=deployment.created_at).write(release.trial_file(NAME))
    seen: list[bool] = []

    def let_go(_: Deployment) -> None:
        on_trial = release.trial(NAME)
        seen.append(on_trial is not None and settling.is_at_work(on_trial))

    monkeypatch.setattr(shelf, "let_go", let_go)
    settling.settled(NAME)
    assert (seen, release.trial(NAME)) == ([True], None)


def test_the_version_of_a_plan_is_brought_where_it_is_another(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = deployment.plan
    serve = plan.serve.model_copy(update={"max_num_seqs": 7})
    for version, wanted in ((plan.vllm_version, "1.0.0"), ("2.0.0", "2.0.0"), ("v2.0.0", "2.0.0")):
        serve = serve.model_copy(update={"max_num_seqs": (serve.max_num_seqs or 0) + 1})
        plan.model_copy(update={"serve": serve, "vllm_version": version}).write(tmp_path / "next.json")
        code, _, err = upgrade(capsys, str(tmp_path / "next.json"))
        assert (code, accepted()) == (0, (wanted, wanted)), err
    plan.model_copy(update={"vllm_version": "9.9.9"}).write(tmp_path / "next.json")
    code, _, err = upgrade(capsys, str(tmp_path / "next.json"))
    assert (code, accepted()) == (2, ("2.0.0", "2.0.0"))
    assert err.startswith("error: There is no 9.9.9.")
    # What is named beside the plan goes before it.
    assert upgrade(capsys, str(tmp_path / "next.json"), "--vllm-version", "1.0.0")[0] == 0
    assert accepted() == ("1.0.0", "1.0.0")


def test_killed_at_any_change_of_the_disk_one_accepted_release_starts(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 before each change in turn, forward and back; then `serve`, or the same upgrade again."""
    seen, again = set(), {("1.0.0", 1), ("2.0.0", 1)}  # of the rest a quarter is enough
    for words, wanted in ((["--vllm-version", "2.0.0"], "2.0.0"), (["--rollback"], "1.0.0")):
        if words == ["--rollback"]:
            assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
        start = {path: path.read_bytes() for path in folder(NAME).rglob("*") if path.is_file()}
        change = 1
        while killed_at(change, lambda words=words: run(["upgrade", NAME, *words])):  # type: ignore[misc]
            named, ran = accepted()
            seen.add((named, ran, release.trial_file(NAME).exists()))
            launch(load(NAME))
            assert accepted() == (named, named), (words, change)
            assert not release.trial_file(NAME).exists()
            if (named, change % 4) in again:
                is_back = words == ["--rollback"] and named == "1.0.0"
                assert upgrade(capsys, *words)[0] == (2 if is_back else 0)
                assert accepted() == (wanted, wanted), (words, change)
            restore(start)
            change += 3 if words == ["--rollback"] else 1  # the way back is the same code
        assert change > 10
        restore(start)
    assert {(named, trial) for named, _, trial in seen} >= {
        ("1.0.0", True),
        ("2.0.0", True),
        ("1.0.0", False),
    }
    assert ("1.0.0", "2.0.0", True) in seen  # what is on trial runs, and is not accepted


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 2, "Nothing new is named: neither a plan, nor a version, an engine, a commit or an adapter."),
        (("--rollback", "--vllm-version", "2.0.0"), 2, "--rollback is the way back, and takes nothing new."),
        (("no.json", "--rollback"), 2, "--rollback is the way back, and takes no plan."),
        (("no.json",), 4, "There is no plan at no.json."),
        (("--vllm-version", "9.9.9"), 2, "There is no 9.9.9."),
        (("--vllm-version", "latest"), 2, "--vllm-version 'latest' cannot be right."),
        (("--revision", "main"), 2, "--revision 'main' cannot be right."),
        (("--revision", "a" * 40), 2, "MODEL is a folder, and has no commits."),
        (
            ("--vllm-version", "2.0.0", "--slower-at-most", "110%"),
            2,
            "--slower-at-most 1.1 is not between 0 and 1.",
        ),
        (("unfit.json",), 3, "This plan does not fit: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    words: tuple[str, ...], code: int, sentence: str, deployment: Deployment, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    deployment.plan.model_copy(update={"fits": False}).write(Path("unfit.json"))
    before = sorted(path for path in folder(NAME).rglob("*") if path.name != "upgrade.lock")
    found, out, err = upgrade(capsys, *words)
    assert (found, out, accepted()) == (code, "", ("1.0.0", "1.0.0"))
    assert err.startswith(f"error: {sentence}".replace("MODEL", deployment.plan.serve.model))
    assert len(err.splitlines()) == 2
    assert sorted(path for path in folder(NAME).rglob("*") if path.name != "upgrade.lock") == before


def test_a_release_that_is_not_there_any_more_is_refused_with_what_is_missing(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    old = release.before(NAME, load(NAME).release)
    shelf.GONE.add("1.0.0")
    code, _, err = upgrade(capsys, "--rollback")
    assert (code, accepted()) == (2, ("2.0.0", "2.0.0"))
    assert err == (
        f"error: The release before this one, {old.id}, is not there any more: its engine 1.0.0.\n"
        "hint: Nothing was changed. Bring it again by its plan: corral upgrade scout plan.json\n"
    )
    release.kept_at(NAME, old.id).unlink()
    assert upgrade(capsys, "--rollback")[2].startswith(
        f"error: The release before this one, {old.id}, is not known any more: its document is gone.\n"
    )
    assert accepted() == ("2.0.0", "2.0.0")


def test_what_cannot_be_read_of_releases_keeps_nothing_from_starting_or_ending(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    for path in (folder(NAME) / "releases").iterdir():
        path.write_text("{")
    release.trial_file(NAME).write_text("{")
    shelf.put(NAME, "3.0.0")  # what was on trial
    assert run(["serve", NAME]) == 0
    assert (accepted(), release.trial_file(NAME).exists()) == (("2.0.0", "2.0.0"), False)
    assert upgrade(capsys, "--rollback")[0] == 4
    assert upgrade(capsys, "--vllm-version", "3.0.0")[0] == 0
    (folder(NAME) / "releases" / "mine").mkdir()
    assert release.forget(NAME) != ()


def test_what_was_on_trial_is_ended_before_the_name_is_provisioned_anew(deployment: Deployment) -> None:
    release.Trial(release="0" * 12, begun_at=datetime.now(UTC)).write(release.trial_file(NAME))
    shelf.put(NAME, "3.0.0")
    provision(load(NAME), None, lambda offer: None)
    assert (shelf.runs(NAME), release.trial_file(NAME).exists()) == ("", False)


def test_two_at_once_are_locked_and_status_says_so(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[Said] = []

    def meanwhile(*_: Any) -> canary.Answer:
        said.extend(upgrade(capsys, *words) for words in (["--rollback"], ["--vllm-version", "3.0.0"]))
        said.append((run(["serve", NAME]), *capsys.readouterr()))
        said.append((run(["status", NAME]), *capsys.readouterr()))
        return canary.Answer(text="a", tokens=("a",))

    monkeypatch.setattr(canary, "require_sense", meanwhile)
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    busy = "error: Another corral is upgrading scout now.\nhint: See how far it is: corral status scout\n"
    assert [(code, err[-len(busy) :]) for code, _, err in said[:3]] == [(2, busy)] * 3
    assert said[3][1].endswith(f"; release {load(NAME).release} is on trial\n{PROBE}")
    assert accepted() == ("2.0.0", "2.0.0")


@pytest.fixture
def suspended() -> Iterator[int]:
    """An upgrade that somebody has suspended in its trial; its process."""
    child = os.fork()
    if child == 0:
        try:
            with settling.alone(NAME):
                trial = Trial(release="0" * 12, begun_at=datetime.now(UTC), by=processes.birth(os.getpid()))
                trial.write(release.trial_file(NAME))
                os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(1)  # no second pytest goes on
    os.waitpid(child, os.WUNTRACED)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_whoever_meets_an_upgrade_that_is_suspended_is_told_how_it_goes_on(
    deployment: Deployment, suspended: int, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = "Let process PID go on: kill -CONT PID; or end it: kill PID; kill -CONT PID".replace(
        "PID", str(suspended)
    )
    refused = (2, "", f"error: Another corral is upgrading scout now, and is suspended.\nhint: {go_on}\n")
    assert upgrade(capsys, "--rollback") == refused
    assert (run(["serve", NAME]), *capsys.readouterr()) == refused
    assert run(["status", NAME]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"; release {'0' * 12} is on trial; its upgrade is suspended. {go_on}\n{PROBE}")


def test_status_tells_the_release_and_what_was_cut_short(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade(capsys, "--vllm-version", "2.0.0")[0] == 0
    one = load(NAME).release
    assert run(["status", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == one
    release.Trial(release="0" * 12, begun_at=datetime.now(UTC)).write(release.trial_file(NAME))
    assert run(["status", NAME]) == 0
    said = capsys.readouterr().out
    assert said.endswith(
        f"; an upgrade to {'0' * 12} was cut short: corral serve scout starts the accepted release\n{PROBE}"
    )


def test_the_next_plan_keeps_the_address(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = deployment.plan.serve
    other = serve.model_copy(update={"port": 9, "served_model_name": "other", "max_num_seqs": 3})
    deployment.plan.model_copy(update={"serve": other}).write(tmp_path / "next.json")
    code, _, err = upgrade(capsys, str(tmp_path / "next.json"))
    assert code == 0, err
    assert load(NAME).plan.serve == other.model_copy(update={"port": serve.port})
    assert "warning: it will serve other; whoever asks for tiny gets a 404 then\n" in err


def test_where_there_is_one_release_only_the_way_is_said(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table.PLACES, "moon", table.Row("moon", "moon.MoonOptions"))
    make(plan, "moon", NAME).write(folder(NAME) / "deployment.json")
    code, _, err = upgrade(capsys, "--vllm-version", "2.0.0")
    assert (code, err) == (
        2,
        "error: scout is on moon, where corral brings no release beside another.\n"
        "hint: Bring it up under another name, switch to that, then take this one away: corral up plan.json "
        "--target moon --name scout-2; corral down scout\n",
    )


@pytest.mark.parametrize(
    ("text", "said", "before", "why"),
    [
        ("", {}, (), "it says nothing"),
        (
            "a b",
            {"tokens": ["a", "b"], "token_logprobs": [-0.1, float("nan")]},
            (),
            "its probabilities are no numbers",
        ),
        ("!" * 8, {"tokens": ["!"] * 8}, (), "it says '!' 8 times over"),
        ("!" * 7, {"tokens": ["!"] * 7}, (), ""),
        ("!" * 8, {"tokens": ["!"] * 8}, ("b",) * 8, ""),  # a toy that always did
        ("\N{REPLACEMENT CHARACTER}a", {"tokens": ["x", "y"], "token_logprobs": [None, -3.0]}, (), ""),
        ("b b b b b b b b", {}, ("a", "b"), "it says 'b' 8 times over"),
    ],
)
def test_what_garbage_is(text: str, said: dict[str, Any], before: tuple[str, ...], why: str) -> None:
    assert canary.garbage(canary.answer_of(text, said), before) == why


def restore(files: dict[Path, bytes]) -> None:
    """The folder as it was."""
    for path in folder(NAME).rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def test_the_short_probe_counts_what_a_server_makes_and_what_fails(
    fake_llm: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one, on a server that streams: a model of a short context is asked for less."""
    monkeypatch.undo()
    endpoint = Endpoint(base_url=fake_llm(), served_model_name="fake", api_key_file=None)
    figures = short_probe.measured(endpoint, 64)
    assert figures
    assert (figures.requests, figures.failed, figures.output_tokens_per_s > 0) == (16, 0, True)
    failing = figures.model_copy(update={"failed": 3})
    with pytest.raises(ServerError, match=r"Of the short probe's 16 requests 3 failed\."):
        short_probe.require_as_good(failing, None, 0.2)
    short_probe.require_as_good(figures, None, 0.2)
