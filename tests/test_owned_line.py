"""The line on an owned host from provision to down, over SSH to a host that is a folder: the real scripts, a strict
client, a server's unit that is really started, and the key's way from the host to the requests."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bad_disk import CLOSED, FULL, Disk
from box_tools import start
from bundling import a_checkpoint, checkpoint, planned_for, tree
from fake_box import ABSOLUTE, Box
from ports import free_port

from deploy import line
from deploy.cli.main import run
from deploy.targets.deployment import Target, folder, make
from deploy.targets.ssh.operators import who
from infra.egress_proof import LIMITS, NAMED_BY_LISTS, Egress, limits
from infra.errors import AuthError
from infra.onhost import egress_look as onhost
from infra.onhost import sums
from serving.sizing.plan import Plan
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

DATA = Path(__file__).parent / "data"
ROOT = "/opt/corral/scout"
Corral = Callable[..., tuple[int, str, str]]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """The host gpu-1; whatever it started ends with the test."""
    real = shutil.which("ssh")
    made = Box(tmp_path / "box", [])
    for name in ("systemctl", "journalctl"):
        made.tool(name, "box_systemd")
    facts = (DATA / "hosts/debian.txt").read_text().replace("1795486910", str(int(time.time())))
    (made.folder / "facts").write_text(facts.replace("104857600 /", "904857600 /"))
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(f'#!/bin/sh\nexec {start("fake_ssh")} "$@"\n')
    (tools / "ssh").chmod(0o755)
    given = {"PATH": f"{tools}:{os.environ['PATH']}", "REAL_SSH": str(real), "BOX": str(made.folder)}
    for name, value in {**given, "ABSOLUTE": ABSOLUTE.pattern, "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    yield made
    for file in (*made.folder.glob("forward-*"), *made.folder.glob("*.pid")):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), 9)


@pytest.fixture
def corral(capsys: pytest.CaptureFixture[str]) -> Corral:
    """Run a command: its exit code, and what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan for two H100, of a model that is here."""
    model = a_checkpoint(tmp_path / "the 'model'")
    found = planned_for(Plan.read(DATA / "hosts/plan.json"), model)
    serve = found.serve.model_copy(update={"port": free_port(), "shutdown_timeout": 1})
    found.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    return tmp_path / "plan.json"


@pytest.fixture
def provisioned(box: Box, corral: Corral, plan: Path, tmp_path: Path) -> Box:
    """The host with the engine, the model and the unit; nothing runs yet."""
    prefix = tmp_path / "engine"
    (prefix / "lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    (prefix / "lib/vllm").mkdir()
    (prefix / "pyvenv.cfg").touch()
    given = ["--target", "ssh", "--host", "gpu-1", "--engine", str(prefix), "--name", "scout", "--yes"]
    code, _, said = corral("provision", str(plan), *given)
    assert code == 0, said
    return box


def test_an_owned_host_from_provision_to_down(provisioned: Box, corral: Corral) -> None:
    box = provisioned
    assert json.loads(corral("status", "scout", "--json")[1])["state"] == "provisioned"
    assert tree(box.path(ROOT) / "model") == checkpoint()[0]

    code, said, complaint = corral("serve", "scout", "--json")
    assert code == 0, complaint
    endpoint = Endpoint.model_validate_json(said)
    assert client.canary(endpoint, 10).completion_tokens == 1
    status = json.loads(corral("status", "scout", "--json")[1])
    assert (status["state"], status["endpoint"]["base_url"]) == ("serving", endpoint.base_url)
    assert corral("logs", "scout")[1] == (box.folder / "journal").read_text()

    code, said, complaint = corral("stop", "scout", "--json")
    assert (code, json.loads(said)["state"]) == (0, "stopped"), complaint
    assert list(box.folder.glob("forward-*")) == []
    code, said, complaint = corral("down", "scout", "--json")
    assert (code, json.loads(said)["left"]) == (0, []), complaint
    assert not box.path(ROOT).exists()
    assert not (folder("scout") / "deployment.json").exists()


def test_what_ends_it_on_its_host_is_told_to_wait_for_nobody_while_that_lasts(
    provisioned: Box, corral: Corral
) -> None:
    with line.hurried("scout"):
        assert (provisioned.path(ROOT) / "now").exists()
    assert not (provisioned.path(ROOT) / "now").exists()
    assert (
        corral("down", "scout", "--now")[0] == 0
    )  # the host's folder is gone when it is told that it is over
    with line.hurried("scout"):
        pass
    assert not provisioned.path(ROOT).exists()


@pytest.mark.parametrize(("number", "calls"), [(errno.ENOSPC, FULL), (errno.EROFS, CLOSED)])
def test_an_owned_host_is_seen_stopped_and_cleared_where_nothing_can_be_written_here(
    number: int,
    calls: tuple[str, ...],
    provisioned: Box,
    corral: Corral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = provisioned
    assert corral("serve", "scout")[0] == 0
    (folder("scout") / "tunnels.json").unlink()
    with monkeypatch.context() as patch:
        Disk(tmp_path / "corral-home", number, calls).patched(patch)
        status = json.loads(corral("status", "scout", "--json")[1])
        assert status["state"] == "serving"
        assert corral("logs", "scout")[1] == (box.folder / "journal").read_text()
        code, said, complaint = corral("stop", "scout", "--json")
        assert (code, json.loads(said)["state"]) == (0, "stopped"), complaint
        code, said, complaint = corral("down", "scout", "--json")
    left = [f"file {folder('scout') / 'api-key'}: {os.strerror(number)}"] if "unlink" in calls else []
    assert (code, json.loads(said)["left"]) == (10 if left else 0, left), complaint
    assert not box.path(ROOT).exists()


def test_the_key_goes_from_the_host_to_the_requests_and_nowhere_else(
    provisioned: Box, corral: Corral, tmp_path: Path
) -> None:
    box = provisioned
    said = [corral("serve", "scout", "--json"), corral("status", "scout"), corral("logs", "scout")]
    endpoint = Endpoint.model_validate_json(said[0][1])
    secrets = box.path(f"{ROOT}/secrets.env")
    (key,) = re.findall(r"^VLLM_API_KEY=([0-9a-f]{64})$", secrets.read_text(), re.MULTILINE)
    assert endpoint.api_key_file == folder("scout") / "api-key"
    assert endpoint.api_key_file.read_text() == f"{key}\n"
    holding = [
        path for path in tmp_path.rglob("*") if path.is_file() and key in path.read_text(errors="replace")
    ]
    assert sorted(holding) == sorted([secrets, endpoint.api_key_file])
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}
    assert key not in "".join(word for one in said for word in map(str, one)) + "".join(box.calls)

    endpoint.api_key_file.write_text("another\n")
    with pytest.raises(AuthError):
        client.canary(endpoint, 10)
    # Taken away, it is fetched again; after a `down` it is gone.
    endpoint.api_key_file.unlink()
    assert json.loads(corral("status", "scout", "--json")[1])["state"] == "serving"
    assert endpoint.api_key_file.read_text() == f"{key}\n"
    assert corral("down", "scout")[0] == 0
    assert not endpoint.api_key_file.exists()


def test_another_machine_learns_of_a_deployment_from_its_host(
    provisioned: Box, corral: Corral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = (folder("scout") / "deployment.json").read_text()
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "another machine"))
    since = provisioned.path(f"{ROOT}/owners").read_text().split()[2]
    code, said, _ = corral("hosts", "show", "gpu-1")
    assert code == 0
    assert said.splitlines() == [
        "gpu-1",
        "  system  Debian GNU/Linux 12 (bookworm), Linux 6.1.0-40-amd64, x86_64, 64 CPUs",
        "  gpus    NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3",
        "  driver  580.95.05",
        "  memory  500.0 of 503.9 GiB available",
        "  disk    862.9 GiB free for /opt/corral",
        "  python  3.11",
        "  tools   gcc, nft, nvidia-smi, python3-dev, python3-venv, tar",
        "  root    by sudo",
        f"  scout: inactive, {who()}'s, since {since}",
    ]
    code, said, complaint = corral("hosts", "adopt", "gpu-1", "scout")
    assert (code, said) == (0, "scout on gpu-1 is known here now: corral status scout\n"), complaint
    assert (folder("scout") / "deployment.json").read_text() == here
    assert json.loads(corral("status", "scout", "--json")[1])["state"] == "provisioned"

    code, _, complaint = corral("hosts", "adopt", "gpu-1", "sco")
    assert (code, complaint) == (
        4,
        "error: gpu-1 carries no deployment called sco.\nhint: See which: corral hosts show gpu-1\n",
    )
    other = json.loads(here) | {"created_at": "2026-01-01T00:00:00Z"}
    (folder("scout") / "deployment.json").write_text(json.dumps(other))
    code, _, complaint = corral("hosts", "adopt", "gpu-1", "scout")
    assert (code, complaint) == (
        2,
        "error: Another deployment called scout is known here.\nhint: Look at it: corral status scout\n",
    )
    assert json.loads((folder("scout") / "deployment.json").read_text()) == other


def test_a_host_that_carries_nothing_and_one_that_cannot_be_reached(box: Box, corral: Corral) -> None:
    code, said, _ = corral("hosts", "show", "gpu-1", "--json")
    (found,) = json.loads(said)["hosts"]
    assert (code, found["host"], found["deployments"]) == (0, "gpu-1", {})
    assert corral("hosts", "show", "gpu-1")[1].endswith("\n  no deployment of ours\n")
    (box.folder / "facts").write_text("Welcome to the switch\n")
    code, _, complaint = corral("hosts", "show", "gpu-1")
    assert (code, complaint.startswith("error: What the host says about itself cannot be read")) == (11, True)


# --- corral egress


COUNTERS = ("loopback", "peers", "replies", "dropped")
RULES = "table inet corral-scout { the rules }"
MODEL = {"config.json": "cd" * 32}
SERVED = {
    "vllm_version": "0.33.0",
    "engine_sha256": "ab" * 32,
    "model": MODEL,
    "rules_sha256": "ef" * 32,
}
TARGETS = ("1.1.1.1:443", "8.8.8.8:53", "[2606:4700:4700::1111]:443", "192.0.2.7:9")


def look(*attempts: dict[str, Any], packets: int = 100, dropped: int = 0, **changes: Any) -> str:
    """What infra/onhost/egress_look.py prints; tests/test_egress.py runs it for real."""
    counts = dict.fromkeys(COUNTERS, 0) | {"loopback": packets, "dropped": dropped}
    counters = [{"counter": {"name": name, "packets": count, "bytes": 0}} for name, count in counts.items()]
    match = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 64998}}
    rule = {"rule": {"chain": "output", "expr": [match, {"goto": {"target": "server"}}]}}
    said = {
        "hostname": "gpu-1",
        "boot_id": "b",
        "kernel": "6.1.0-40-amd64",
        "pid": 7,
        "uid": 64998,
        "nft": json.dumps({"nftables": [*counters, rule]}),
        "rules": RULES,
        "rules_at_start": RULES,
        "attempts": attempts,
        "sockets": [],
        "holds_abstract_sockets": True,
        "served": SERVED,
    }
    return json.dumps(said | changes)


def stopped(target: str) -> dict[str, Any]:
    """An attempt that the lock stopped."""
    return {"target": target, "tried": True, "connected": False, "said": "No route to host", "dropped": 1}


def says(box: Box, *looks: str) -> None:
    """What the host will say at each look; the last one stands."""
    (box.folder / "looks").write_text("\n".join(looks))


@pytest.fixture
def serving(provisioned: Box, corral: Corral) -> Box:
    """The host with its server running."""
    code, _, said = corral("serve", "scout")
    assert code == 0, said
    provisioned.forget()
    return provisioned


def test_egress_is_proved_by_what_the_host_says_before_and_after_real_answers(
    serving: Box, corral: Corral, tmp_path: Path
) -> None:
    says(serving, look(*map(stopped, TARGETS)), look(packets=150))
    code, said, complaint = corral("egress", "scout")
    head, *lines = said.splitlines()
    assert re.fullmatch(r"scout: proved, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", head)
    rules = hashlib.sha256(RULES.encode()).hexdigest()[:12]
    assert lines == [
        f"gpu-1: corral-scout.service, Linux 6.1.0-40-amd64, rules {rules}",
        f"  vLLM 0.33.0, engine abababababab; weights {onhost.over(MODEL)[:12]} of 1 file",
        *[f"  {target}: stopped (no route to host, 1 packet counted)" for target in TARGETS],
        "  during 5 completions, packets sent: loopback 50, peers 0, replies 0, stopped 0",
        "What this does not show:",
        *[f"  {limit}" for limit in (*LIMITS, NAMED_BY_LISTS)],
        "Next: corral probe scout --concurrency 1 --requests 200 --input-tokens 1 --output-tokens 1",
    ]
    trying = [f"gpu-1: trying {target} from inside the server's unit\n" for target in TARGETS]
    assert (code, complaint) == (0, "".join(trying))
    asked = [call for call in serving.calls if call.startswith("python3")]
    targets = " ".join(TARGETS)
    looks = [f"scout {targets}", f"scout.gateway {targets}", f"scout.listener {targets}", "scout"]
    assert asked == [f"python3 -I - {look}" for look in looks]
    script = (serving.folder / "egress.py").read_text()
    assert script == serving.as_here(Path(onhost.__file__).read_text())

    says(serving, look(stopped("example.org:443")), look(packets=150))
    report = tmp_path / "egress.json"
    wish = ["--target", "example.org:443", "--output", str(report), "--json"]
    code, said, _ = corral("egress", "scout", *wish)
    assert (code, Egress.parse(said, "stdout")) == (0, Egress.read(report))
    assert [one.target for one in Egress.read(report).hosts[0].before.attempts] == ["example.org:443"]
    assert Egress.read(report).limits == (*LIMITS, NAMED_BY_LISTS)

    says(serving, look(stopped("example.org:443"), holds_abstract_sockets=False), look(packets=150))
    code, said, _ = corral("egress", "scout", "--target", "example.org:443")
    assert (code, said.splitlines()[-3]) == (0, f"  {limits(('gpu-1',))[-1]}")


HINT = "hint: The report names all; its counters are the kernel's.\n"


def test_what_is_not_proved_is_told_after_the_report_with_its_own_exit_code(
    serving: Box, corral: Corral
) -> None:
    reached = {"target": "1.1.1.1:443", "tried": True, "connected": True, "said": "connected", "dropped": 0}
    says(
        serving, look(reached, nft="", rules="", rules_at_start=""), look(nft="", rules="", rules_at_start="")
    )
    code, said, complaint = corral("egress", "scout", "--target", "1.1.1.1:443")
    assert code == 11
    assert "\n  1.1.1.1:443: reached (connected)\n  problem: 1.1.1.1:443 was reached from inside" in said
    assert complaint.endswith(
        "error: Not proved: 1.1.1.1:443 was reached from inside corral-scout.service on gpu-1 (and 1 more).\n"
        + HINT
    )
    says(serving, look(stopped("1.1.1.1:443")), look(packets=150, dropped=3))
    code, said, complaint = corral("egress", "scout", "--target", "1.1.1.1:443", "--json")
    assert (code, Egress.parse(said, "stdout").verdict) == (11, "not proved")
    assert complaint.endswith(
        "error: Not proved: the server on gpu-1 tried to send out: the lock stopped 3 packets meanwhile.\n"
        + HINT
    )


def test_nothing_is_shown_of_a_server_that_does_not_run_or_does_not_answer(
    serving: Box, corral: Corral
) -> None:
    says(serving, look(pid=0, uid=0))
    code, said, complaint = corral("egress", "scout", "--target", "1.1.1.1:443")
    assert (code, said) == (7, "")
    assert (
        "error: scout does not serve, so nothing can be shown of it.\nhint: Start it: corral serve scout\n"
        in complaint
    )
    says(serving, "Python 3.8 cannot")
    code, _, complaint = corral("egress", "scout", "--target", "1.1.1.1:443")
    assert (code, "error: The host's answer about its egress lock cannot be read.\n" in complaint) == (
        11,
        True,
    )
    says(serving, look(stopped("1.1.1.1:443")))
    serving.run(["systemctl", "stop", "corral-scout.service"])
    code, said, complaint = corral("egress", "scout", "--target", "1.1.1.1:443")
    assert (code, said) == (8, ""), complaint


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        (
            "ssh",
            ["--target", "1.1.1.1"],
            "error: '1.1.1.1' is not HOST:PORT.\nhint: Such as 1.1.1.1:443, or [2606:4700:4700::1111]:443\n",
        ),
        (
            "ec2",
            [],
            "error: Egress is proved on these targets: local, ssh; scout is on ec2.\n"
            "hint: Where it is locked, too, see it there: nft list table inet corral-scout\n",
        ),
    ],
)
def test_a_wrong_target_or_place_is_refused_before_any_host_is_asked(
    target: Target, given: list[str], message: str, box: Box, corral: Corral
) -> None:
    made = make(Plan.read(DATA / "hosts/plan.json"), target, "scout")
    made.model_copy(update={"hosts": ("gpu-1",)}).write(folder("scout") / "deployment.json")
    assert corral("egress", "scout", *given) == (2, "", message)
    assert list(box.folder.glob("ssh-*")) == []


def test_a_host_that_an_earlier_corral_prepared_is_brought_the_judge_of_this_one(
    provisioned: Box, corral: Corral
) -> None:
    """Its old ones judged by their own rules until somebody provisioned it again."""
    box = provisioned
    judging = [
        "bin/heal",
        "bin/judging",
        "bin/codes.py",
        "bin/history.py",
        "bin/judge.py",
        "bin/marks.py",
        "bin/sums.py",
        "bin/xid.py",
        "xids",
        "gpus",
    ]
    units = ["corral-scout.service.d/judge.conf", "corral-scout.judge.service"]
    files = [f"{ROOT}/{name}" for name in judging] + [f"/etc/systemd/system/{name}" for name in units]
    before = {path: box.path(path).read_text() for path in files}
    for path in files:
        box.path(path).write_text("of an earlier corral\n")
    assert corral("serve", "scout")[0] == 0
    assert {path: box.path(path).read_text() for path in files} == before


def test_the_weights_on_a_host_are_read_where_they_lie(provisioned: Box, corral: Corral) -> None:
    """Its own python3 reads them, with what judges the server there."""
    model = provisioned.path(ROOT) / "model"
    code, out, err = corral("fetch", "--verify", "scout")
    unknown = (
        f"gpu-1:{model}: nothing says what it should be\n",
        "error: Nothing says what the weights of scout should be: they were not fetched from the Hub, and no sums are "
        "noted.",
    )
    assert (code, (out, err.splitlines()[1])) == (4, unknown)
    # So it is of a path of the host's own, which is not read, though all is right with a draft beside it.
    draft, elsewhere = model.with_name("draft"), model.with_name("elsewhere")
    model.rename(elsewhere)
    draft.mkdir()
    (draft / "config.json").write_text("{}")
    assert sums.changed(draft, model.with_name("draft.sums"), False) == ""
    code, out, err = corral("fetch", "--verify", "scout")
    right = f"gpu-1:{draft}: 1 files, 0.00 GiB, every checksum right by the first start's sums\n"
    assert (code, (out, err.splitlines()[1])) == (4, (unknown[0] + right, unknown[1]))
    shutil.rmtree(draft)
    elsewhere.rename(model)
    assert sums.changed(model, model.parent / "weights.sums", False) == ""  # as its first start does
    sizes = [path.stat().st_size for path in model.iterdir()]
    code, out, _ = corral("fetch", "--verify", "scout", "--json")
    row = {"at": f"gpu-1:{model}", "is_model": True, "by": "the first start's"}
    row |= {"files": len(sizes), "bytes": sum(sizes)}
    assert (code, json.loads(out)) == (0, {"name": "scout", "folders": [row | {"problems": []}]})
    (model / "config.json").write_bytes(b"x" + (model / "config.json").read_bytes()[1:])
    code, out, err = corral("fetch", "--verify", "scout")
    assert (code, out, err.splitlines()[1:]) == (
        4,
        f"gpu-1:{model}: config.json is changed: its sha256 is another\n",
        [
            "error: scout must not be started with these weights: 1 problem(s).",
            "hint: Stop it, then run the command that made it again, provision or up: what is of the Hub is fetched "
            "again, a folder of your own brought as it lies here: corral stop scout",
        ],
    )


def test_why_the_weights_on_a_host_cannot_be_read_is_told(provisioned: Box, corral: Corral) -> None:
    heal = provisioned.path(f"{ROOT}/bin/heal")
    brought = "error: gpu-1 cannot verify its weights: it has not been brought what reads them."
    serve = "hint: That comes when it is served: corral serve scout"
    see = f"hint: See all that it says there: sudo /usr/bin/python3 -ISB {ROOT}/bin/heal verify scout"
    for text, told in {
        "": [brought, serve],  # an earlier corral's
        "print('[]')\nraise MemoryError('none is left')": [
            "error: gpu-1 cannot verify its weights: MemoryError: none is left.", see,
        ],
        "import os\nos._exit(9)": [
            "error: gpu-1 cannot verify its weights: it said nothing and ended with 9.", see,
        ],
    }.items():  # fmt: skip
        heal.write_text(text)
        code, out, err = corral("fetch", "--verify", "scout")
        assert (code, out, err.splitlines()[1:]) == (11, "", told)
    heal.unlink()
    code, out, err = corral("fetch", "--verify", "scout")
    assert (code, out, err.splitlines()[1:]) == (11, "", [brought, serve])
