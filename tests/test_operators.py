"""Two people with root on one host: what one of them made there, the other neither takes over nor takes away."""

import io
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_box import Box
from test_owned import deployment
from test_owned_line import ROOT, Corral, box, corral, plan, provisioned

from deploy.targets.deployment import Deployment, folder
from deploy.targets.ssh import operators
from deploy.targets.ssh.host_setup import removal_script
from infra.errors import DocumentError, HostError, UsageError
from infra.ssh import Host

__all__ = ["box", "corral", "plan", "provisioned"]  # the fixtures of the line
ANN, BOB = "a" * 32, "b" * 32
MADE = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def script(box: Box, order: str, id: str, kept: Deployment | None = None, then: str = "") -> str:
    """What the host says to an order."""
    command = operators.command(kept, "scout", Host("gpu-1"), order, id)  # type: ignore[arg-type]
    done = box.run(command, stdin=box.as_here(operators.SCRIPT + then).encode())
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


def recorded(box: Box, made: Deployment) -> None:
    """The record that a provisioning leaves on the host."""
    path = box.path(f"{ROOT}/record.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text())


def test_who_comes_first_has_the_name_until_it_is_taken_away(box: Box) -> None:
    begun = datetime.now(UTC).replace(microsecond=0)
    assert [script(box, order, ANN) for order in ("look", "claim", "look", "claim")] == [
        "free",
        "ours",
        "ours",
        "ours",
    ]
    owners = box.path(f"{ROOT}/owners")
    (line,) = owners.read_text().splitlines()
    id, who, since = line.split(" ")
    assert (id, who) == (ANN, operators.who())
    assert begun <= datetime.fromisoformat(since) <= datetime.now(UTC)
    assert owners.stat().st_mode & 0o777 == 0o600
    assert owners.parent.stat().st_mode & 0o777 == 0o755

    other = f"other {who} {since}"
    # Also with an old document of it, and without an id of one's own.
    for mine, kept in ((BOB, None), (BOB, deployment()), ("", None)):
        for order in ("look", "claim", "end"):
            assert script(box, order, mine, kept, then="echo gone") == other
    assert script(box, "end", ANN, then="echo gone") == "gone"
    assert script(box, "adopt", BOB) == "ours"
    assert [script(box, "look", id) for id in (ANN, BOB)] == ["ours", "ours"]


def test_a_record_that_names_nobody_is_ours_where_a_document_of_it_is_here(box: Box) -> None:
    recorded(box, deployment())
    other = script(box, "look", BOB)
    assert other.startswith("other somebody 20")
    assert script(box, "end", BOB, then="echo gone") == other
    elsewhere = deployment(hosts=("gpu-2",))
    assert script(box, "claim", BOB, elsewhere) == other
    assert script(box, "claim", BOB, elsewhere.model_copy(update={"target": "local", "hosts": ()})) == other
    later = deployment().model_copy(update={"created_at": MADE + timedelta(days=1)})
    assert script(box, "look", BOB, later) == "ours"
    assert script(box, "claim", BOB, later) == "ours"
    assert script(box, "look", ANN, later).startswith(f"other {operators.who()} ")
    # Whose home lost its id still has the document.
    assert [script(box, "look", id, deployment()) for id in ("", ANN)] == ["ours", "ours"]


def test_of_many_at_once_one_wins(box: Box) -> None:
    ids = [f"{number:032x}" for number in range(12)]
    with ThreadPoolExecutor(len(ids)) as pool:
        said = list(pool.map(lambda id: script(box, "claim", id), ids))
    assert sorted(line.partition(" ")[0] for line in said) == ["other"] * 11 + ["ours"]
    assert box.path(f"{ROOT}/owners").read_text().startswith(ids[said.index("ours")])


def test_who_is_at_work_there_is_waited_for(box: Box) -> None:
    """A claim decides after a removal has ended: the lock is held over what follows the script."""
    script(box, "claim", ANN)
    wait = ': >"$BOX/in"; for i in $(seq 200); do [ -e "$BOX/asked" ] && break; sleep 0.05; done; rm -rf "$root"\n'
    removal = operators.command(None, "scout", Host("gpu-1"), "end", ANN)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(box.run, removal, box.as_here(operators.SCRIPT).encode() + wait.encode())
        while not (box.folder / "in").exists():
            pass
        (box.folder / "tools/flock").write_text('#!/bin/sh\n: >"$BOX/asked"\nexec /usr/bin/flock "$@"\n')
        (box.folder / "tools/flock").chmod(0o755)
        assert script(box, "claim", BOB) == "ours"
        assert ended.result().returncode == 0
    assert box.path("/run/corral-scout.lock").stat().st_mode & 0o777 == 0o600
    (box.folder / "tools/flock").write_text("#!/bin/sh\nexit 1\n")
    assert script(box, "claim", BOB) == "busy"


def test_where_there_can_be_no_lock_nothing_is_taken_and_what_ends_goes_on(box: Box) -> None:
    script(box, "claim", ANN)
    lock = box.path("/run/corral-scout.lock")
    lock.unlink()
    lock.mkdir()  # no file can be made there
    assert script(box, "look", ANN) == "ours"
    assert script(box, "end", ANN, then="echo gone") == "gone"
    assert script(box, "end", BOB, then="echo gone").startswith("other ")
    command = operators.command(None, "scout", Host("gpu-1"), "claim", ANN)
    done = box.run(command, box.as_here(operators.SCRIPT).encode())
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no lock can be made there\n")


class Saying:
    """A host that says that to everything."""

    destination = "gpu-1"

    def __init__(self, said: str) -> None:
        self.said = said

    def run(self, command: tuple[str, ...], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, 0, self.said, "")


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("other ann@build-1 2026-11-24T10:00:00Z\n", UsageError, "is another operator's: ann@build-1's, since 2026-"),
        ("other \x1b]0;x\x07 2026\n", UsageError, "is another operator's: somebody's, since a time it does not say."),
        ("other\n", UsageError, "is another operator's: somebody's, since a time it does not say."),
        ("busy\n", HostError, "Another corral has been at work on gpu-1 for more than 60 s."),
        ("", HostError, "gpu-1 did not note whose scout is."),
        ("welcome\n", HostError, "gpu-1 did not note whose scout is."),
    ],
)  # fmt: skip
def test_a_name_is_ours_only_where_the_host_says_so(said: str, kind: Any, message: str) -> None:
    with pytest.raises(kind) as caught:
        operators.claim("scout", None, Saying(said))  # type: ignore[arg-type]
    assert message in caught.value.message
    assert caught.value.message.isprintable()


def test_who_one_is_is_made_once_and_says_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = {one.id for one in pool.map(lambda _: operators.operator(), range(8))}
    assert len(made) == 1
    path = tmp_path / "corral-home/operator.json"
    assert json.loads(path.read_text()) == {
        "document": "operator",
        "schema_version": 1,
        "id": made.pop(),
    }
    assert [each.stat().st_mode & 0o777 for each in (path, path.parent)] == [0o600, 0o700]
    assert [each.name for each in path.parent.iterdir()] == ["operator.json"]
    path.write_text("{}")
    assert operators.known_id() == ""
    with pytest.raises(DocumentError):
        operators.operator()


@pytest.fixture
def as_bob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, another operator on another machine."""

    def change() -> None:
        monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "bob"))
        monkeypatch.setattr(operators, "who", lambda: "bob@desk")

    return change


def test_anothers_is_left_alone_by_every_verb_and_shared_once_it_is_adopted(
    provisioned: Box, corral: Corral, plan: Path, tmp_path: Path, as_bob: Callable[[], None]
) -> None:
    box, ann = provisioned, operators.who()
    theirs = (folder("scout") / "deployment.json").read_text()
    before = {path: path.read_bytes() for path in box.path(ROOT).rglob("*") if path.is_file()}
    since = box.path(f"{ROOT}/owners").read_text().split()[2]
    as_bob()
    box.forget()
    whose = f"error: scout on gpu-1 is another operator's: {ann}'s, since {since}.\n"
    adopt = "corral hosts adopt gpu-1 scout\n"
    given = ["--target", "ssh", "--host", "gpu-1", "--engine", str(tmp_path / "engine"), "--name", "scout"]
    for verb in ("provision", "up"):
        code, said, complaint = corral(verb, str(plan), *given, "--yes")
        assert (code, said, complaint) == (
            2,
            "",
            f"{whose}hint: Choose another --name; or, to share theirs with them: {adopt}",
        )
    assert not folder("scout").exists()

    # One of the same name that was here, and is gone there.
    old = json.loads(theirs) | {"created_at": "2026-01-01T00:00:00Z"}
    path = folder("scout") / "deployment.json"
    (tmp_path / "bob").mkdir(mode=0o700, exist_ok=True)
    path.parent.mkdir()
    path.write_text(json.dumps(old))
    gone = f"forget yours, which is gone: rm {path}; "
    hint = f"hint: Choose another --name; or, to share theirs with them: {gone}{adopt}"
    for words in (["serve"], ["stop"], ["down"], ["logs"], ["connect"], ["egress"]):
        assert corral(*words, "scout") == (2, "", f"{whose}{hint}"), words
    assert corral("status", "scout")[1] == (
        f"scout (ssh): absent: what gpu-1 has of that name is another operator's: {ann}'s, since {since}\n"
        "Next: corral status --history scout\n"
    )
    assert [call for call in box.calls if "start" in call or "stop" in call or "disable" in call] == []
    assert {path: path.read_bytes() for path in before} == before

    path.unlink()
    assert corral("hosts", "adopt", "gpu-1", "scout")[0] == 0
    assert [line.split()[1] for line in box.path(f"{ROOT}/owners").read_text().splitlines()] == [
        ann,
        "bob@desk",
    ]
    code, said, complaint = corral("down", "scout", "--json")
    assert (code, json.loads(said)["left"]) == (0, []), complaint
    assert not box.path(ROOT).exists()


def test_a_host_is_shown_with_whose_each_deployment_on_it_is(
    provisioned: Box, corral: Corral, as_bob: Callable[[], None]
) -> None:
    """Ours, another's, one that names nobody, and one whose name no deployment has."""
    begun = datetime.now(UTC).replace(microsecond=0)
    box, ann = provisioned, operators.who()
    since = box.path(f"{ROOT}/owners").read_text().split()[2]
    for name, line in (("other", f"{BOB} bob@desk 2026-11-24T10:00:00Z\n"), ("old", ""), ("Web Site", "")):
        box.path(f"/opt/corral/{name}").mkdir()
        (box.path(f"/opt/corral/{name}") / "record.json").write_text("{}")
        (box.path(f"/opt/corral/{name}") / "owners").write_text(line)
    code, said, complaint = corral("hosts", "show", "gpu-1", "--json")
    (state,) = json.loads(said)["hosts"]
    assert code == 0, complaint
    since_old = state["owners"]["old"].pop("since")
    assert state["owners"] == {
        "scout": None,
        "other": {"who": "bob@desk", "since": "2026-11-24T10:00:00Z"},
        "old": {"who": "somebody"},
    }
    assert begun <= datetime.fromisoformat(since_old) <= datetime.now(UTC)
    assert corral("hosts", "show", "gpu-1")[1].splitlines()[-4:] == [
        "  Web: Site inactive",
        f"  old: inactive, somebody's, since {since_old}",
        "  other: inactive, bob@desk's, since 2026-11-24T10:00:00Z",
        "  scout: inactive, yours",
    ]
    as_bob()
    assert f"  scout: inactive, {ann}'s, since {since}\n" in corral("hosts", "show", "gpu-1")[1]


def test_of_several_hosts_anothers_is_left_alone_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deploy.targets.ssh import host_removal

    other = operators.Owner(who="ann@build-1", since="2026-11-24T10:00:00Z")
    made = deployment(hosts=("gpu-1", "gpu-2"))
    assert host_removal.left_alone(made, [["left path /x"], other]) == [["left path /x"], []]
    assert capsys.readouterr().err == (
        "warning: scout on gpu-2 is another operator's: ann@build-1's, since 2026-11-24T10:00:00Z; it is left alone.\n"
    )
    with pytest.raises(UsageError, match="gpu-1 is another operator's"):
        host_removal.left_alone(made, [other, other])


def test_the_removal_follows_the_question_under_one_lock(box: Box) -> None:
    script(box, "claim", ANN)
    assert script(box, "end", BOB, then=removal_script()).startswith("other ")
    assert box.path(ROOT).exists()
    assert script(box, "end", ANN, then=removal_script()) == ""
    assert not box.path(ROOT).exists()


# --- corral hosts adopt believes no host


@pytest.fixture
def record(box: Box, corral: Corral) -> Callable[..., tuple[int, str, str]]:
    """Adopt `scout` of a host that has this record of it."""

    def adopted(**changes: Any) -> tuple[int, str, str]:
        serve = changes.pop("serve", {})
        said = json.loads(deployment().text())
        said["plan"]["serve"] |= serve
        path = box.path(f"{ROOT}/record.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said | changes))
        return corral("hosts", "adopt", "gpu-1", "scout")

    return adopted


PLUG_INS = (
    ["--tool-parser-plugin", "/opt/x.py"], ["--reasoning-parser-plugin=/x.py"], ["--trust-remote-code"],
    ["--middleware", "x.y"], ["--worker-cls", "x"], ["--logits-processors", "x"], ["--api-key", "k"],
    ["--allowed-local-media-path", "/"], ["--config", "/etc/x.yaml"], ["--load-format", "pt"],
    ["--chat-template", "/etc/shadow"], ["--trust_remote"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"name": "prod"}, 4, "The record of scout on gpu-1 is of something else: prod, on ssh."),
        ({"target": "local"}, 4, "The record of scout on gpu-1 is of something else: scout, on local."),
        ({"name": "prod", "target": "ec2"}, 4, "The record of scout on gpu-1 is of something else: prod, on ec2."),
        ({"name": "../../etc"}, 4, "name: it cannot be the name of a deployment."),
        ({"name": "--x"}, 4, "name: it cannot be the name of a deployment."),
        ({"hosts": ["gpu-2", "gpu-3"]}, 4, "The record of scout on gpu-1 is of these hosts: gpu-2, gpu-3."),
        ({"hosts": ["gpu-1", "-oProxyCommand=x"]}, 4, "hosts.1: it begins with a hyphen, so a program would"),
        ({"hosts": ["gpu-1", "a b"]}, 2, "'a b' is not a host that ssh can reach."),
        ({"serve": {"model": "--trust-remote-code"}}, 4, "plan.serve.model: it begins with a hyphen"),
        ({"serve": {"model": "x\x1b[2J"}}, 4, "plan.serve.model: it holds a control character"),
        ({"engine": "--x"}, 4, "engine: it begins with a hyphen"),
        *[({"serve": {"extra_args": each}}, 2, "is not passed on to vLLM: ") for each in PLUG_INS],
    ],
)  # fmt: skip
def test_a_record_is_held_to_what_was_asked(
    changes: dict[str, Any], code: int, message: str, record: Callable[..., tuple[int, str, str]]
) -> None:
    found, said, complaint = record(**changes)
    assert (found, said) == (code, "")
    assert message in complaint
    assert "hint: " in complaint
    home = folder("scout").parent
    assert not home.exists() or [path.name for path in home.rglob("*.json")] == []


def test_of_a_record_what_it_starts_is_shown_and_no_path_of_another_machine_is_kept(
    record: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "hosts": ["known-as"],
        "hf_token_file": "/home/you/.ssh/id_rsa",
        "serve": {"extra_args": ["--seed", "7"]},
    }
    code, said, complaint = record(**changes)
    assert (code, said) == (0, "scout on gpu-1 is known here now: corral status scout\n")
    assert complaint.startswith(
        "scout on gpu-1 is started with: vllm serve /models/scout --served-model-name scout "
    )
    assert complaint.endswith(" --seed 7\n")
    kept = Deployment.read(folder("scout") / "deployment.json")
    assert (kept.name, kept.target, kept.hosts, kept.hf_token_file) == ("scout", "ssh", ("gpu-1",), "")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("n\n", 2, "Take it over? [y/N] error: Not confirmed; nothing was taken over.\n"),
        ("y\n", 0, "Take it over? [y/N] "),
    ],
)
def test_who_is_there_is_asked_before_it_is_taken_over(
    answer: str,
    code: int,
    said: str,
    record: Callable[..., tuple[int, str, str]],
    box: Box,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("infra.say", "deploy.provision_request"):
        monkeypatch.setattr(f"{module}.is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found, _, complaint = record()
    assert (found, complaint.partition("\n")[2]) == (code, said)
    assert (folder("scout") / "deployment.json").exists() == (code == 0)
    assert box.path(f"{ROOT}/owners").exists() == (code == 0)


def test_a_record_without_an_end_is_not_read_to_it(
    record: Callable[..., tuple[int, str, str]], box: Box, corral: Corral
) -> None:
    record()
    (folder("scout") / "deployment.json").unlink()
    path = box.path(f"{ROOT}/record.json")
    path.write_text(path.read_text() + " " * 5 * 2**20 + "x")
    code, _, _ = corral("hosts", "adopt", "gpu-1", "scout")
    assert code == 0  # what follows 4 MiB is not heard of


def test_a_fleet_is_adopted_only_where_every_host_carries_it(
    record: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the door is one host, so that all of a fleet have one record, until one says another."""
    from deploy.targets.ssh import owned_hosts

    code, _, complaint = record(hosts=["gpu-1", "gpu-2"])
    assert code == 0, complaint
    assert Deployment.read(folder("scout") / "deployment.json").hosts == ("gpu-1", "gpu-2")
    (folder("scout") / "deployment.json").unlink()

    read = owned_hosts._read
    monkeypatch.setattr(
        owned_hosts,
        "_read",
        lambda host, name: read(host, name).model_copy(
            update={"created_at": MADE} if host.destination == "gpu-2" else {}
        ),
    )
    code, _, complaint = record(hosts=["gpu-1", "gpu-2"])
    assert (code, complaint.splitlines()[0]) == (
        4,
        "error: The scout of gpu-2 is not the one of gpu-1, which names that host.",
    )
