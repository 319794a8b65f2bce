"""Two hosts that each serve the plan are one deployment: one key, each with its endpoint, one gateway before both.

The hosts are folders (tests/fake_box.py), their servers and the tunnels to them processes, HAProxy the real one.
"""

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_box import Box
from test_owned import deployment, over
from test_owned_line import Corral
from test_owned_line import box as box
from test_owned_line import corral as corral
from test_owned_line import plan as plan
from told_places import told
from tutorials import Person

from deploy.gateway import gateway
from deploy.gateway.gateway_options import GatewayOptions
from deploy.keep_open import keep
from deploy.releases import canary, release, short_probe
from deploy.releases.release import Figures
from deploy.targets.deployment import folder, load
from deploy.targets.ssh import host_unit, one_key, replicas
from deploy.targets.ssh import place as ssh
from deploy.targets.ssh.tunnels import Tunnels
from infra import processes
from infra.errors import HostError, ServerError, UsageError
from infra.onhost import idle
from infra.ssh import Done, Host
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

SECRETS = "/opt/corral/scout/secrets.env"


@pytest.fixture
def boxes(box: Box, tmp_path: Path) -> Iterator[tuple[Box, Box]]:
    """The hosts gpu-1 and gpu-2; whatever they started ends with the test."""
    second = Box(tmp_path / "gpu-2", [])
    for name in ("systemctl", "journalctl"):
        second.tool(name, "box_systemd")
    (second.folder / "facts").write_text((box.folder / "facts").read_text())
    yield box, second
    for file in (*second.folder.glob("forward-*"), *second.folder.glob("*.pid")):
        number = int(file.read_text())
        with suppress(ProcessLookupError):
            os.kill(number, 9)
            while processes.birth(number):
                time.sleep(0.02)


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """An engine of this machine, as far as it is brought."""
    prefix = tmp_path / "engine"
    (prefix / "lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    (prefix / "lib/vllm").mkdir()
    (prefix / "pyvenv.cfg").touch()
    return str(prefix)


@pytest.fixture
def provisioned(boxes: tuple[Box, Box], corral: Corral, plan: Path, engine: str) -> tuple[Box, Box]:
    """Both hosts with engine, model and unit; nothing runs yet."""
    hosts = ["--target", "ssh", "--host", "gpu-1", "--host", "gpu-2"]
    code, _, said = corral("provision", str(plan), *hosts, "--engine", engine, "--name", "scout", "--yes")
    assert code == 0, said
    return boxes


def key_of(box: Box) -> str:
    (key,) = re.findall(r"^VLLM_API_KEY=(\S+)$", box.path(SECRETS).read_text(), re.MULTILINE)
    return str(key)


def status(corral: Corral) -> Any:
    return json.loads(corral("status", "scout", "--json")[1])


def test_one_key_is_made_here_and_brought_to_every_host_and_each_has_its_endpoint(
    boxes: tuple[Box, Box], corral: Corral, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ops@gpu2").symlink_to(boxes[1].folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    code, out, said = corral(*told("up plan.json --target ssh --host ops@gpu1 --host ops@gpu2 --name scout"))
    assert code == 0, said
    kept = folder("scout") / "api-key"
    key = kept.read_text().strip()
    assert [key_of(box) for box in boxes] == [key, key]
    holding = [
        path for path in tmp_path.rglob("*") if path.is_file() and key in path.read_text(errors="replace")
    ]
    assert sorted(holding) == sorted([kept, *(box.path(SECRETS) for box in boxes)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}

    found = status(corral)
    first = Endpoint.model_validate(found["endpoint"])
    ports = Tunnels.read(folder("scout") / "tunnels.json").local_ports
    assert [*ports] == ["ops@gpu1", "ops@gpu2"]
    assert first.base_url == f"http://127.0.0.1:{ports['ops@gpu1']}"
    second = first.model_copy(update={"base_url": f"http://127.0.0.1:{ports['ops@gpu2']}"})
    assert found["state"] == "serving"
    assert [(each["name"], each["state"], each["endpoint"]) for each in found["endpoints"]] == [
        ("gpu1", "serving", first.model_dump(mode="json")),
        ("gpu2", "serving", second.model_dump(mode="json")),
    ]
    assert out.startswith(f"scout answers at {first.base_url}\n")
    assert f"gpu2 answers at {second.base_url}; one address for all: corral gateway scout\n" in said
    assert [client.canary(each, 10).completion_tokens for each in (first, second)] == [1, 1]
    assert key not in f"{out}{said}{''.join(call for box in boxes for call in box.calls)}"

    assert corral("stop", "scout")[0] == 0
    assert [(each["name"], each["state"]) for each in status(corral)["endpoints"]] == [
        ("gpu1", "stopped"),
        ("gpu2", "stopped"),
    ]
    assert corral("down", "scout")[0] == 0
    assert [box.path("/opt/corral/scout").exists() for box in boxes] == [False, False]
    assert list(folder("scout").glob("api-key*")) == []


def test_a_host_of_an_earlier_corral_gets_the_one_key_and_its_server_takes_it_when_it_is_started_anew(
    provisioned: tuple[Box, Box], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = provisioned
    shared = (folder("scout") / "api-key").read_text()
    second.path(SECRETS).write_text("VLLM_API_KEY=its-own\n")
    (folder("scout") / "api-key.2").write_text("its-own\n")
    second.run(["systemctl", "start", "corral-scout.service"])
    assert [each["state"] for each in status(corral)["endpoints"]] == ["provisioned", "serving"]
    made = load("scout")
    with pytest.raises(UsageError) as refused:
        gateway.servers_of(made)
    assert (refused.value.message, refused.value.hint) == (
        "The server on gpu-2 has a key of its own, from an earlier corral.",
        "Give it the one of all, one server at a time: corral roll scout",
    )

    # Cut off just after the host has it: what runs there is still asked with its own.
    run = Host.run

    def cut(host: Host, command: Sequence[str], **how: Any) -> Done:
        done = run(host, command, **how)
        if one_key.BRING_SCRIPT in command:
            raise HostError("gpu-2 has gone.", "")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Host, "run", cut)
        with pytest.raises(HostError, match="has gone"):
            ssh.share_key(made)
    ssh.share_key(made)
    assert f"{key_of(second)}\n" == shared
    found = status(corral)["endpoints"][1]
    assert (found["state"], found["detail"].rpartition("; ")[2]) == (
        "serving",
        "it has a key of its own until it is started anew: corral roll scout",
    )
    assert Path(found["endpoint"]["api_key_file"]).read_text() == "its-own\n"
    assert one_key.with_another(made) == ("gpu-2",)

    code, _, said = corral("serve", "scout")
    assert code == 0, said
    assert "gpu-2: ending the server that has a key of its own\n" in said
    assert [each["state"] for each in status(corral)["endpoints"]] == ["serving", "serving"]
    assert [path.name for path in folder("scout").glob("api-key*")] == ["api-key"]


def test_the_servers_of_a_gateway_are_the_ends_of_the_tunnels(
    provisioned: tuple[Box, Box], corral: Corral
) -> None:
    made = load("scout")
    port = made.plan.serve.port
    text = gateway.settings(made, GatewayOptions(), "k")  # opens none
    assert list(provisioned[0].folder.glob("forward-*")) == []
    assert re.findall(r"^  server (\S+) (\S+) ", text, re.MULTILINE) == [
        ("gpu-1", f"127.0.0.1:{port}"), ("gpu-2", f"127.0.0.1:{port + 1}"),
    ]  # fmt: skip
    found = gateway.servers_of(made)
    ports = Tunnels.read(folder("scout") / "tunnels.json").local_ports
    assert [tuple(each) for each in found] == [
        ("gpu-1", "127.0.0.1", ports["gpu-1"], True, None), ("gpu-2", "127.0.0.1", ports["gpu-2"], True, None),
    ]  # fmt: skip
    assert [len(list(box.folder.glob("forward-*"))) for box in provisioned] == [1, 1]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_is_away_hides_no_other(
    lost: int, provisioned: tuple[Box, Box], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("serve", "scout")[0] == 0
    facts = provisioned[lost].folder / "facts"
    kept = facts.read_text() if facts.exists() else None
    facts.write_text("Welcome to the switch\n")
    there, away = ("gpu-2", "gpu-1") if lost == 0 else ("gpu-1", "gpu-2")

    code, out, _ = corral("status", "scout", "--json")
    states = {each["name"]: each["state"] for each in json.loads(out)["endpoints"]}
    assert (code, states) == (7, {there: "serving", away: "unknown"})

    code, out, _ = corral("hosts", "show", "gpu-1", "gpu-2", "--json")
    seen = json.loads(out)
    assert (code, [each["host"] for each in seen["hosts"]], [*seen["away"]]) == (11, [there], [away])
    assert f"\n{away}\n  What the host says" in f"\n{corral('hosts', 'show', 'gpu-1', 'gpu-2')[1]}"

    opened, said, asked = list[Endpoint](), list[str](), list[str]()

    def health(endpoint: Endpoint) -> None:
        asked.append(endpoint.base_url)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "health", health)
    with pytest.raises(KeyboardInterrupt):
        keep(load("scout"), opened.append, said.append, interrupted)
    ports = Tunnels.read(folder("scout") / "tunnels.json").local_ports
    assert f"http://127.0.0.1:{ports[there]}" in asked
    assert [each.base_url for each in opened] == ([] if lost == 0 else [f"http://127.0.0.1:{ports['gpu-1']}"])
    if lost == 0:
        assert said[0].startswith("connect: What the host says about itself cannot be read")
        assert said[1:] == [f"connect: gpu-2 answers at http://127.0.0.1:{ports['gpu-2']}"]

    if kept is not None:
        facts.write_text(kept)
    else:
        facts.unlink()
    assert corral("down", "scout")[0] == 0


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        (("gpu-1",), ("gpu-1",)),
        (("ops@gpu1", "ssh://ops@gpu2:22"), ("gpu1", "gpu2-22")),
        (("a@gpu", "b@gpu"), ("a-gpu", "b-gpu")),
        (("a@gpu", "a-gpu"), ("gpu", "a-gpu")),
        (("a:b", "a-b"), ("a-b-1", "a-b-2")),
    ],
)
def test_what_a_replica_is_called(hosts: tuple[str, ...], names: tuple[str, ...]) -> None:
    made = deployment(hosts=hosts)
    assert replicas.names(made) == names
    alone = replicas.replicas(made)
    assert {name: each.hosts for name, each in alone.items()} == {
        name: (host,) for name, host in zip(names, hosts, strict=True)
    }


def test_one_engine_over_several_hosts_is_one() -> None:
    wide = over(2, hosts=("a", "b"))
    assert replicas.replicas(wide) == {"a": wide}
    assert not one_key.is_shared(wide)


def test_a_roll_over_ssh_starts_one_host_after_the_other_and_turns_back_what_fails(
    provisioned: tuple[Box, Box],
    corral: Corral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
        return Figures(output_tokens_per_s=100.0, requests=16, failed=0)

    def pids() -> list[str]:
        return [(box.folder / "corral-scout.service.pid").read_text() for box in provisioned]

    monkeypatch.setattr(short_probe, "measured", measured)
    monkeypatch.setattr(idle, "EVERY_S", 0.01)
    _, second = provisioned
    second.path(SECRETS).write_text("VLLM_API_KEY=its-own\n")
    (folder("scout") / "api-key.2").write_text("its-own\n")
    second.run(["systemctl", "start", "corral-scout.service"])
    provisioned[0].run(["systemctl", "start", "corral-scout.service"])
    before = pids()
    code, out, said = corral("roll", "scout", "--json")
    assert (code, json.loads(out)["rolled"]) == (0, ["gpu-1", "gpu-2"]), said
    assert [old == new for old, new in zip(before, pids(), strict=True)] == [False, False]
    assert [path.name for path in folder("scout").glob("api-key*")] == ["api-key"]
    assert load("scout").release == ""

    # The next options: one host has them, and the other fails and is turned back.
    made = load("scout").plan
    serve = made.serve.model_copy(update={"max_num_seqs": 7})
    made.model_copy(update={"serve": serve}).write(tmp_path / "next.json")
    asked: list[str] = []

    def sense(endpoint: Endpoint, answer: tuple[str, ...]) -> canary.Answer:
        asked.append(endpoint.base_url)
        if len(asked) == 2:
            raise ServerError("The canary's answer is garbage.", "")
        return canary.Answer(text="a", tokens=("a",))

    monkeypatch.setattr(canary, "require_sense", sense)
    code, _, said = corral("roll", "scout", str(tmp_path / "next.json"), "--yes")
    assert code == 7, said
    old = load("scout").release
    found = status(corral)
    new = found["endpoints"][0]["release"]
    assert (found["release"], [each["state"] for each in found["endpoints"]]) == (old, ["serving", "serving"])
    assert (new != old, found["endpoints"][1]["release"]) == (
        True,
        None,
    )  # the first, which has no name there
    assert found["detail"].endswith("gpu-1 starts another release than the accepted one: corral roll scout")
    assert (
        f"error: The roll of scout stopped at gpu-2: The canary's answer is garbage. It is turned back to {old} and "
        f"serves. gpu-1: at {new}.\n"
    ) in said

    # Killed where it has turned the other: what was not kept is known as that, and is not what a start begins.
    kept, host = release.kept("scout", new), Host("gpu-2")
    assert kept is not None
    host_unit.release(kept.deployment, "turn", host)
    assert (host_unit.state("scout", host).trial, has_old(second)) == (new, False)
    host_unit.start(load("scout").model_copy(update={"hosts": ("gpu-2",)}), host)
    assert (host_unit.state("scout", host).trial, has_old(second)) == ("", True)


def has_old(box: Box) -> bool:
    """Whether what runs has the options of before."""
    pid = (box.folder / "corral-scout.service.pid").read_text()
    return "--max-num-seqs\0007\0" not in Path(f"/proc/{pid}/cmdline").read_text()
