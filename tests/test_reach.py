"""How the server of a rented box is reached from here, and what the box's own words come to."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from fake_aws import Clock, FakeAws
from renting import START, an_order, door

from deploy.targets.deployment import Deployment, folder, make
from deploy.targets.ec2 import boxes, tunnels
from infra.aws import failover, rented_machines, session
from infra.aws.session import Answer, Tunnel
from infra.errors import HostError, ServerError
from infra.ports import free_port
from infra.processes import Birth, birth
from infra.rented import Rented
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.endpoint import Endpoint

BOX = Rented(
    instance_id="i-1",
    deployment="t1",
    region="us-east-1",
    zone="us-east-1a",
    instance_type="g5.12xlarge",
    purchase="on-demand",
    state="running",
    launched_at=START,
    public_name="ec2-203-0-113-7.compute-1.amazonaws.com",
)
SECRETS = "HF_TOKEN=hf_x\nVLLM_API_KEY=sk-1\n"


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What Session Manager was asked for: the key, and tunnels, which are open at once."""
    calls: list[tuple[object, ...]] = []

    def run(*arguments: object) -> Answer:
        calls.append(arguments)
        return Answer(text=SECRETS, exit_code=0)

    def open_tunnel(path: Path, instance: str, region: str, port: int, local_port: int) -> Tunnel:
        calls.append((path, instance, region, port, local_port))
        return Tunnel(
            instance_id=instance, local_port=9999, holder=Birth(pid=1, start_ticks=0, boot_id="another")
        )

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(session, "open_tunnel", open_tunnel)
    monkeypatch.setattr(tunnels, "free_port", lambda wanted: wanted + 7)
    monkeypatch.setattr(
        tunnels, "wait_open", lambda tunnel, path, region: calls.append(("open", tunnel.local_port))
    )
    return calls


def test_a_network_that_is_let_in_asks_the_box_by_its_own_name(
    deployment: Deployment, asked: list[tuple[object, ...]]
) -> None:
    found = tunnels.endpoint(deployment, an_order(cidr="203.0.113.0/24", port=8123), BOX)
    key = folder("t1") / "api-key-i-1"
    assert found == Endpoint(
        base_url="http://ec2-203-0-113-7.compute-1.amazonaws.com:8123",
        served_model_name=deployment.plan.serve.served_model_name,
        api_key_file=key,
    )
    assert (key.read_text(), asked) == (
        "sk-1\n",
        [("i-1", "us-east-1", "sudo cat /opt/corral/t1/secrets.env")],
    )
    assert tunnels.endpoint(deployment, an_order(cidr="203.0.113.0/24", port=8123), BOX) == found
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("cidr", "name"), [(None, "ec2-203-0-113-7.compute-1.amazonaws.com"), ("203.0.113.0/24", "")]
)
def test_nobody_let_in_and_a_box_without_a_name_are_reached_through_a_tunnel(
    cidr: str | None, name: str, deployment: Deployment, asked: list[tuple[object, ...]]
) -> None:
    box = BOX.model_copy(update={"public_name": name})
    assert tunnels.base_url(deployment, an_order(cidr=cidr, port=8123), box) == "http://127.0.0.1:9999"
    tunnel = folder("t1") / "tunnel.json"
    assert asked == [(tunnel, "i-1", "us-east-1", 8123, 8130), ("open", 9999)]


def test_a_box_without_a_key_yet_is_asked_again_later(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "run", lambda *asked: Answer(text="HF_TOKEN=hf_x\n", exit_code=0))
    with pytest.raises(HostError, match="i-1 has no key for its server yet"):
        tunnels.key_file(deployment, an_order(), BOX)
    assert not (folder("t1") / "api-key-i-1").exists()


CONSOLE = "[ 1.0] cloud-init: corral: t1: engine\ncorral: other: failed: x\n[ 2.0] corral: t1: {}  \r\n"


@pytest.mark.parametrize(
    ("phase", "sentence", "hint"),
    [
        (
            "failed: pip",
            "The box could not prepare itself: failed: pip.",
            "Read all: corral logs t1",
        ),
        (
            "interrupted: EC2 takes it back",
            "i-1: interrupted: EC2 takes it back.",
            "When it is gone, rent anew with the same options: corral up plan.json --target ec2 --name t1",
        ),
        # Half an hour for the engine, and for its 65 GB of weights at 100 MB a second.
        (
            "weights",
            "The box was not prepared after 41 minutes; last: weights.",
            "Read why: corral logs t1; it still costs: corral down t1",
        ),
    ],
)
def test_a_box_that_does_not_get_ready_is_told_by_its_own_last_word(
    phase: str,
    sentence: str,
    hint: str,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(rented_machines, "failing_checks", lambda *_: "")
    monkeypatch.setattr(failover, "console", lambda aws, region, instance: CONSOLE.format(phase))
    aws = door(FakeAws(clock), clock, tmp_path)
    told: list[str] = []
    aws.say = told.append
    with pytest.raises(ServerError) as error:
        boxes.wait_prepared(aws, deployment, BOX)
    assert (error.value.message, error.value.hint) == (sentence, hint)
    # What does not move is said again every half minute, until 41 minutes are over.
    waited = [0.5 * turn for turn in range(83)] if phase == "weights" else [0]
    assert told == [f"serve: i-1: {phase} ({minutes:.0f} of at most 41 minutes)" for minutes in waited]


def test_a_box_is_prepared_when_it_says_so(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0.0)
    said = iter(["", "", "", "engine", "engine", "prepared"])
    monkeypatch.setattr(rented_machines, "failing_checks", lambda *_: "")
    monkeypatch.setattr(failover, "console", lambda *asked: f"corral: t1: {next(said)}\n")
    aws = door(FakeAws(clock), clock, tmp_path)
    told: list[str] = []
    aws.say = told.append
    boxes.wait_prepared(aws, deployment, BOX)
    assert (told, clock()) == (
        [
            "serve: i-1: booting (0 of at most 41 minutes)",
            "serve: i-1: engine (1 of at most 41 minutes)",
            "serve: i-1: prepared (1 of at most 41 minutes)",
        ],
        5 * 15.0,
    )
    assert next(said, None) is None


def test_a_tunnel_whose_process_ended_is_not_waited_for(tmp_path: Path) -> None:
    """It is known at once, whatever time there would have been."""
    ended = subprocess.Popen(["sleep", "1000"])
    holder = birth(ended.pid)
    assert holder is not None
    ended.kill()
    ended.wait()
    tunnel = Tunnel(instance_id="i-1", local_port=1, holder=holder)
    tunnel.write(tmp_path / "tunnel.json")
    with pytest.raises(HostError) as error:
        tunnels.wait_open(tunnel, tmp_path / "tunnel.json", "us-east-1")
    assert (error.value.message, error.value.hint) == (
        "Session Manager opened no tunnel.",
        f"Read why: cat {tmp_path}/tunnel.log; or check: aws ssm describe-instance-information "
        "--region us-east-1",
    )


def test_a_port_that_another_took_meanwhile_is_given_up_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first tunnel ends at once, as the plugin does where it cannot listen."""
    path = tmp_path / "tunnel.json"
    ports: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        mine = birth(os.getpid())
        assert mine is not None

        def open_tunnel(place: Path, instance: str, region: str, port: int, local_port: int) -> Tunnel:
            ports.append(local_port)
            gone = Birth(pid=1, start_ticks=0, boot_id="another")
            tunnel = Tunnel(
                instance_id=instance,
                local_port=listening.getsockname()[1],
                holder=gone if len(ports) == 1 else mine,
            )
            tunnel.write(place)
            return tunnel

        monkeypatch.setattr(session, "open_tunnel", open_tunnel)
        monkeypatch.setattr(tunnels, "free_port", lambda wanted: wanted)
        found = tunnels.opened(path, BOX, 8123)
    assert (found.holder, ports) == (mine, [8123, 8124])


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) > port
