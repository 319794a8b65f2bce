"""What owned hosts are brought and told, as values: nothing here connects to anything."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bundling import a_checkpoint, planned_for, tree

from deploy.cli.main import run
from deploy.provision_request import Asking
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ssh import bringing, host_checks, host_setup, owned_hosts, tunnels
from deploy.targets.ssh import place as ssh
from deploy.targets.ssh.host_setup import Brought
from deploy.targets.ssh.options import SshOptions
from deploy.targets.ssh.owned_hosts import HostState
from deploy.targets.ssh.tunnels import Tunnels
from deploy.up_request import dry_text
from infra.errors import CorralError, HostError, ServerError, UsageError
from infra.ssh import Host
from serving.model import checkpoint_files
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data" / "hosts"


def deployment(hosts: tuple[str, ...] = ("gpu-1",), engine: str = "", **serve: Any) -> Deployment:
    plan = Plan.read(DATA / "plan.json")
    plan = plan.model_copy(update={"serve": plan.serve.model_copy(update=serve)})
    made = datetime(2026, 11, 24, tzinfo=UTC)
    return Deployment(name="scout", target="ssh", plan=plan, created_at=made, hosts=hosts, engine=engine)


def over(count: int, **changes: Any) -> Deployment:
    """The same, of an engine that spans several hosts."""
    found = deployment(**changes)
    machine = found.plan.machine.model_copy(update={"hosts": count})
    return found.model_copy(update={"plan": found.plan.model_copy(update={"machine": machine})})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return a_checkpoint(tmp_path / "a 'model'")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    prefix = tmp_path / "engine"
    (prefix / "lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    (prefix / "pyvenv.cfg").touch()
    return prefix


def test_a_folder_here_is_brought_and_served_from_its_place_there(model: Path, engine: Path) -> None:
    bring = host_setup.brought(deployment(model=str(model), engine=str(engine)))
    assert bring.model_dump() == {
        "engine": engine,
        "wheelhouse": None,
        "python": "3.11",
        "version": "0.33.0",
        "wheels": (),
        "model": model,
        "model_files": tuple(sorted(tree(model))),
        "chat_template": None,
        "adapters": (),
        "disk_gib": pytest.approx(12.0 + sum(map(len, tree(model).values())) / 2**30),
    }
    setup = host_setup.host_setup(deployment(model=str(model), engine=str(engine)), bring)
    assert setup.argv[:2] == ("serve", "/opt/corral/scout/model")
    assert (setup.weights, setup.api_key, setup.rented) == ("", "generated", False)
    assert setup.engine.model_dump() == {
        "requirement": "vllm==0.33.0",
        "wheelhouse": "",
        "archive": "-",
        "python": "python3.11",
        "lock": None,
    }
    assert str(model) not in setup.model_dump_json()


def test_a_repository_is_fetched_by_the_host_and_pip_asked_for_the_plans_version() -> None:
    asked = deployment(model="meta-llama/Llama-4-Scout-17B-16E-Instruct")
    setup = host_setup.host_setup(asked, host_setup.brought(asked))
    assert setup.weights == "hf://meta-llama/Llama-4-Scout-17B-16E-Instruct"
    assert setup.argv[1] == "/opt/corral/scout/model"
    assert setup.engine.requirement == "vllm==0.33.0"
    assert setup.engine.archive == setup.engine.wheelhouse == ""


def test_a_model_that_lies_on_the_host_is_served_from_there_even_in_a_home() -> None:
    asked = deployment(model="/home/ops/my models/scout")
    setup = host_setup.host_setup(asked, host_setup.brought(asked))
    assert setup.argv[1] == "/home/ops/my models/scout"
    assert (setup.weights, setup.read_only_paths) == ("", ("/home/ops/my models/scout",))


def test_wheels_and_a_chat_template_are_brought(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl").touch()
    template = tmp_path / "my template.jinja"
    template.write_text("{{ messages }}")
    asked = deployment(engine=str(wheels), chat_template=str(template))
    bring = host_setup.brought(asked)
    setup = host_setup.host_setup(asked, bring)
    assert setup.engine.wheelhouse == "/opt/corral/scout/wheelhouse"
    assert setup.argv[setup.argv.index("--chat-template") + 1] == "/opt/corral/scout/chat_template.jinja"
    written = {file.path: file.content for file in bringing.files_for(asked, setup)}
    assert written["/opt/corral/scout/chat_template.jinja"] == "{{ messages }}"
    assert Deployment.parse(written["/opt/corral/scout/record.json"], "record") == asked


def test_the_engine_is_noted_as_a_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for typed, noted in (("vllm-env", str(tmp_path / "vllm-env")), ("/srv/vllm", "/srv/vllm"), (None, "")):
        made, _ = ssh.wished(deployment(), SshOptions(hosts=("gpu-1",), engine=typed))
        assert (made.hosts, made.engine) == (("gpu-1",), noted)


def test_a_packed_engine_is_told_from_one_that_is_brought(tmp_path: Path) -> None:
    (tmp_path / "engine.tar").write_bytes(b"")
    with pytest.raises(UsageError) as error:
        host_setup.brought(deployment(engine=str(tmp_path / "engine.tar")))
    assert error.value.message == (
        f"{tmp_path}/engine.tar is a packed engine, which rented machines take from S3; hosts over SSH are brought "
        "the engine."
    )


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"engine": "/nowhere"},
            UsageError,
            "There is no engine to bring at /nowhere.",
        ),
        (
            {"engine": "/usr"},
            UsageError,
            "/usr is neither an engine's environment nor a folder of wheels.",
        ),
        ({"hosts": ()}, UsageError, "The plan is for 1 hosts, and 0 are named."),
        ({"hosts": ("a", "a")}, UsageError, "A host is named twice."),
        ({"hosts": ("a b",)}, UsageError, "'a b' is not a host that ssh can reach."),
    ],
)
@pytest.mark.parametrize("verb", [ssh.requests, ssh.preflight, ssh.provision])
def test_a_wrong_request_touches_no_host(
    verb: Callable[[Deployment], object],
    changes: dict[str, Any],
    kind: type[CorralError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # an attempt to run ssh would be another error
    with pytest.raises(kind) as error:
        verb(deployment(**changes))
    assert error.value.message == message
    assert not folder("scout").exists()


def test_without_gpus_corrals_own_engine_is_brought_or_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    asked = deployment()
    machine = asked.plan.machine.model_copy(update={"gpu": "cpu", "gpu_count": 0})
    asked = asked.model_copy(update={"plan": asked.plan.model_copy(update={"machine": machine})})
    with pytest.raises(ServerError, match="There is no vLLM on this machine"):
        host_setup.brought(asked)


def test_an_engine_over_several_hosts_gets_one_rank_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("Host gpu-1\n HostName 10.0.0.5\nHost gpu-2\n HostName 10.0.0.6\n")
    monkeypatch.setenv("CORRAL_SSH_CONFIG", str(config))
    requests = ssh.requests(over(2, hosts=("gpu-1", "gpu-2")))
    assert [request["run"] for request in requests] == [
        [["/opt/corral/scout/bin/prepare"], ["/opt/corral/scout/bin/join", rank, "10.0.0.5", "10.0.0.6"]]
        for rank in ("0", "1")
    ]
    written: Any = requests[0]["write"]
    assert written == requests[1]["write"]
    assert "/opt/corral/scout/bin/join" in [file["path"] for file in written]


def test_a_plan_for_two_hosts_wants_two() -> None:
    with pytest.raises(UsageError, match="The plan is for 2 hosts, and 3 are named"):
        ssh.requests(over(2, hosts=("a", "b", "c")))


def test_a_listener_outside_of_the_loopback_is_refused_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (check,) = host_checks.listen_check(deployment(host="0.0.0.0"))
    found = "on 0.0.0.0, without TLS, and some paths without a key"
    assert (check.outcome, check.found) == ("failed", found)
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", "1")
    (check,) = host_checks.listen_check(deployment(host="0.0.0.0"))
    assert (check.outcome, check.found, check.fix) == (
        "warning", found, "Let nobody onto that network whom you do not trust with the prompts."
    )  # fmt: skip
    assert host_checks.listen_check(deployment(host="::1")) == ()


@pytest.mark.parametrize(
    ("trusted", "listens"),
    [
        (
            "",
            "would be refused: listen on 0.0.0.0, without TLS, and some paths without a key. Keep 127.0.0.1, which is "
            "reached through SSH; or, on a network you trust, set CORRAL_ALLOW_REMOTE=1.",
        ),
        (
            "1",
            "warning: listen on 0.0.0.0, without TLS, and some paths without a key. Let nobody onto that network whom "
            "you do not trust with the prompts.",
        ),
    ],
)
def test_a_dry_run_says_which_hosts_what_leaves_to_whom_and_who_could_reach_the_server(
    trusted: str, listens: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", trusted)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "vllm-0.33.0-py3-none-any.whl").write_bytes(b"12345")
    made = deployment(hosts=("ops@gpu-1", "gpu-2"), engine=str(wheels), model=str(model), host="0.0.0.0")
    names = [path.name for path in checkpoint_files.own_files(model)]
    size = sum((model / name).stat().st_size for name in names)
    said = dry_text(Asking(made, SshOptions(hosts=made.hosts)), 2).splitlines()
    assert said[1:] == [
        f"weights: the folder {model}",
        "where: ops@gpu-1, gpu-2 (a server on each)",
        f"leaves this machine: {len(names)} files, {size:,} bytes, of {model} ({', '.join(names)}), "
        "to ops@gpu-1:/opt/corral/scout/model, gpu-2:/opt/corral/scout/model",
        f"leaves this machine: 1 file, 5 bytes, of {wheels} (vllm-0.33.0-py3-none-any.whl), "
        "to ops@gpu-1:/opt/corral/scout/wheelhouse, gpu-2:/opt/corral/scout/wheelhouse",
        listens,
        "engine: vLLM 0.33.0",
        "2 steps, shown by --json; nobody was asked, and nothing done.",
    ]


def test_a_dry_run_of_one_server_over_hosts_says_so() -> None:
    assert ssh.outlined(over(2, hosts=("a", "b")), SshOptions()) == ("where: a, b (one server over them)",)
    assert ssh.outlined(deployment(), SshOptions()) == ("where: gpu-1",)


def test_each_of_several_hosts_that_are_away_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(destination: str) -> HostState:
        raise HostError(f"There is no host called {destination}.", "Check the name.")

    monkeypatch.setattr(owned_hosts, "_state", away)
    assert run(["hosts", "show", "gpu-1", "gpu-2"]) == 11
    told = "gpu-1\n  There is no host called gpu-1.\ngpu-2\n  There is no host called gpu-2.\n"
    assert capsys.readouterr() == (told, "")
    assert run(["hosts", "show", "gpu-1", "gpu-2", "--json"]) == 11
    assert json.loads(capsys.readouterr().out) == {
        "hosts": [],
        "away": {name: f"There is no host called {name}." for name in ("gpu-1", "gpu-2")},
    }
    assert run(["hosts", "show", "gpu-1"]) == 11
    assert capsys.readouterr() == ("", "error: There is no host called gpu-1.\nhint: Check the name.\n")


def test_a_dry_run_shows_per_host_what_is_written_and_run_and_no_secret(model: Path) -> None:
    asked = deployment(hosts=("gpu-1", "gpu-2"))
    requests = ssh.requests(asked.model_copy(update={"plan": planned_for(asked.plan, model)}))
    assert [request["host"] for request in requests] == ["gpu-1", "gpu-2"]
    assert requests[0]["run"] == [
        ["/opt/corral/scout/bin/prepare"],
        [
            "sh",
            "-c",
            "rm -f /opt/corral/scout/gave-up /opt/corral/scout/ends /opt/corral/scout/first-cause "
            "/run/corral-scout/ends\n"
            'systemctl reset-failed "$1" 2>/dev/null\n'
            'systemctl enable "$1" && exec systemctl --no-block start "$1"\n',
            "start",
            "corral-scout.service",
        ],
    ]
    written: Any = requests[0]["write"]
    assert [file["path"] for file in written] == [
        "/opt/corral/scout/record.json",
        "/opt/corral/scout/setup.env",
        "/opt/corral/scout/server.env",
        "/opt/corral/scout/egress.nft",
        "/opt/corral/scout/bin/prepare",
        "/opt/corral/scout/bin/phase",
        "/opt/corral/scout/bin/lock",
        "/opt/corral/scout/bin/confine",
        "/opt/corral/scout/bin/owned",
        "/opt/corral/scout/bin/idle",
        "/etc/systemd/system/corral-scout.service",
        "/etc/systemd/system/corral-scout.lock.service",
        "/etc/systemd/system/corral-scout.lock.timer",
        "/opt/corral/scout/bin/heal",
        "/opt/corral/scout/bin/judging",
        "/opt/corral/scout/bin/codes.py",
        "/opt/corral/scout/bin/history.py",
        "/opt/corral/scout/bin/judge.py",
        "/opt/corral/scout/bin/marks.py",
        "/opt/corral/scout/bin/sums.py",
        "/opt/corral/scout/bin/xid.py",
        "/opt/corral/scout/xids",
        "/opt/corral/scout/gpus",
        "/etc/systemd/system/corral-scout.judge.service",
        "/etc/systemd/system/corral-scout.service.d/judge.conf",
    ]
    assert "VLLM_API_KEY=s" not in json.dumps(requests)


@pytest.mark.parametrize(
    ("model", "bring", "refused"),
    [
        ("/models/scout", {"engine": Path("/engine")}, ""),
        ("/models/scout", {"wheelhouse": Path("/wheels")}, ""),
        ("/models/scout", {}, "a package index for vLLM (bring it: --engine)"),
        ("org/model", {"engine": Path("/engine")}, "the model hub for org/model"),
    ],
)
def test_offline_a_host_fetches_nothing_from_the_internet(
    model: str, bring: dict[str, Path], refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    brought = Brought.model_validate({"version": "0.33.0"} | bring)
    if not refused:
        host_setup.refuse_downloads(deployment(model=model), brought)
        return
    with pytest.raises(UsageError) as error:
        host_setup.refuse_downloads(deployment(model=model), brought)
    assert refused in error.value.message


def test_a_port_that_another_has_by_now_is_given_up_for_the_next(tmp_path: Path) -> None:
    """And kept instead; a host that cannot be reached keeps its port."""
    asked: list[int] = []
    away: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = deployment(port=port)
        (folder("scout")).mkdir(parents=True)
        Tunnels(local_ports={"gpu-1": port}).write(folder("scout") / "tunnels.json")
        (folder("scout") / "api-key").write_text("k\n")

        class Forwarding:
            destination = "gpu-1"

            def forward(self, local_port: int, host: str, there: int) -> None:
                asked.append(local_port)
                if away:
                    raise HostError("gpu-1 is away.")
                if local_port == port:
                    raise HostError("gpu-1 cannot be reached: Could not request local forwarding.")

        found = tunnels.endpoint(made, Forwarding())  # type: ignore[arg-type]
    assert (asked[0], len(asked), found.base_url) == (port, 2, f"http://127.0.0.1:{asked[1]}")
    assert Tunnels.read(folder("scout") / "tunnels.json").local_ports == {"gpu-1": asked[1]}
    away.append(True)
    with pytest.raises(HostError, match="is away"):
        tunnels.endpoint(made, Forwarding())  # type: ignore[arg-type]
    assert Tunnels.read(folder("scout") / "tunnels.json").local_ports == {"gpu-1": asked[1]}


def test_a_tunnel_by_a_hosts_earlier_name_ends_with_the_servers_and_not_with_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`hosts adopt` by another name leaves it; the next deployment by that name would be given it."""
    ended: list[tuple[str, int]] = []
    monkeypatch.setattr(
        Host, "close_forward", lambda host, local_port: ended.append((host.destination, local_port))
    )
    kept = folder("scout") / "tunnels.json"
    Tunnels(local_ports={"ops@gpu1": 8000, "gpu-1": 8001}).write(kept)
    tunnels.close(deployment())
    assert (ended, Tunnels.read(kept).local_ports) == ([("gpu-1", 8001)], {"ops@gpu1": 8000})
    assert tunnels.forget(deployment()) == ()
    assert (ended[1:], kept.exists()) == ([("ops@gpu1", 8000)], False)
