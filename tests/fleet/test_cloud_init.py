"""The exact user data EC2 would get, executed by the real cloud-init: it ends with an answering endpoint.

The engine and the weights lie on the host, as they would on an image of one's own: a box without internet.
"""

import json
import shlex
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from deploy.targets import deployment as deployments
from deploy.targets.ec2 import judged_start, ordering
from deploy.targets.ec2.options import Ec2Options
from infra import cloud_init, host
from infra.errors import EndpointError
from infra.host_files import brought_later
from infra.phase import last_phase
from infra.ssh import Host
from serving.sizing.plan import Plan
from serving.vllm import client
from serving.vllm.endpoint import Endpoint
from serving.vllm.pack import pack

pytestmark = [pytest.mark.fleet, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]

# How long the stream in flight at a notice is to take: more than until the notice is seen. However slow the machine
# becomes meanwhile, it is less than the drain.
IN_FLIGHT_S, DRAIN_S = 25.0, 900
MOST_TOKENS = 16000


def told_setup(plan: Path) -> host.HostSetup:
    """What the box is told."""
    options = Ec2Options(
        engine="/srv/engine.tar", weights="/srv/model", ttl="8h", idle="30m", purchases=("on-demand", "spot")
    )
    asked = Plan.read(plan)
    serve = asked.serve.model_copy(update={"shutdown_timeout": DRAIN_S})
    deployment = deployments.make(asked.model_copy(update={"serve": serve}), "ec2", "tiny")
    return ordering.host_setup(deployment, options, "us-east-1")


def test_the_box_prepares_itself_answers_and_ends_in_time(
    new_machine: Callable[..., Any],
    plan: Path,
    prefix: Path,
    engine_cache: Path,
    tmp_path: Path,
    wait: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordering, "LONGEST_SPOT_DRAIN_S", DRAIN_S)
    machine = new_machine()
    seed = machine.tree / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    setup = told_setup(plan)
    (seed / "user-data").write_bytes(cloud_init.packed(cloud_init.user_data(setup)))
    (seed / "meta-data").write_text("instance-id: i-0123456789abcdef0\n")
    # The image's own settings, not the user data's: the test knows the host by its key, and comes as root.
    (machine.tree / "etc/cloud/cloud.cfg.d/99-test-host.cfg").write_text(
        "ssh_deletekeys: false\ndisable_root: false\nnetwork: {config: disabled}\n"
    )
    with (machine.folder / "engine.tar").open("wb") as archive:
        pack(prefix, archive)
    document = json.loads(plan.read_text())["serve"]
    machine.binds = [
        f"--bind-ro={machine.folder}/engine.tar:/srv/engine.tar",
        f"--bind-ro={tmp_path}/model:/srv/model",
        f"--bind-ro={Path(__file__).parents[1]}/data/fake_imds.py:/srv/fake_imds.py",
    ]
    Path(document["model"]).rename(tmp_path / "model")
    machine.begin_sooner(engine_cache, forked=True)
    machine.power_on()

    phase = machine.tree / "opt/corral/tiny/phase"  # a login takes longer than a look
    wait(lambda: phase.exists() and phase.read_text() == "prepared\n", machine.console)
    # It prints a dot for each moment it waits.
    assert machine.ssh("cloud-init status --wait").lstrip(".\n").strip() == "status: done"

    # The end is set before anything else could fail, and nothing upgrades a driver under the server.
    lines = machine.ssh("cat /run/systemd/shutdown/scheduled").splitlines()
    scheduled = dict(line.split("=", 1) for line in lines)
    expires_at_s = int(machine.ssh("cat /opt/corral/tiny/expires-at"))
    assert scheduled["MODE"] == "poweroff"
    assert abs(int(scheduled["USEC"]) / 1e6 - expires_at_s) < 60
    assert machine.ssh("systemctl is-enabled apt-daily-upgrade.timer || true") == "masked\n"
    assert machine.ssh("systemctl is-enabled corral-tiny.watch.timer") == "enabled\n"

    ssh = Host(machine.name)
    key = tmp_path / "key"
    key.write_text(machine.ssh("cut -d= -f2 /opt/corral/tiny/secrets.env"))
    key.chmod(0o600)
    port = document["port"]
    ssh.forward(port, "127.0.0.1", port)
    try:
        endpoint = Endpoint(
            base_url=f"http://127.0.0.1:{port}",
            served_model_name=document["served_model_name"],
            api_key_file=key,
        )
        journal = "journalctl --no-pager -o cat -u corral-tiny.service | tail -5"
        wait(lambda: answers(endpoint), lambda: machine.ssh(journal))
        client.canary(endpoint, 600)

        # The watch reads vLLM's real counters, and while they stay the same counts the time.
        watch = "systemctl start corral-tiny.watch.service; cat /run/corral-tiny.watch/activity"
        since_s, _, seen = machine.ssh(watch).partition(" ")
        assert [float(count) > 0 for count in seen.split(",")] == [True, True]
        assert machine.ssh(watch) == f"{since_s} {seen}"

        judged(machine, setup, wait)
        assert machine.ssh(watch) == f"{since_s} {seen}"

        taken_back(machine, endpoint, wait)
    finally:
        ssh.close_forward(port)

    # A stopped server is asked by nobody: half an hour later (by a clock of ours) the watch ends the box.
    since_s, _, seen = machine.ssh(watch).partition(" ")
    assert seen == "not started"
    machine.ssh(f"printf '%s %s' {float(since_s) - 1801} '{seen}' > /run/corral-tiny.watch/activity")
    machine.ssh("systemctl start --no-block corral-tiny.watch.service")
    machine.wait_until_it_ends_itself()


def judged(machine: Any, setup: host.HostSetup, wait: Callable[..., Any]) -> None:
    """The judge is brought as Session Manager would bring it, and asks the server often: it is nobody for the watch."""
    machine.ssh(judged_start.unpacked(brought_later(setup)))
    machine.ssh(
        "sed -i 's/look_every_s: float = 30.0/look_every_s: float = 0.5/' /opt/corral/tiny/bin/judge.py"
    )
    machine.ssh(shlex.join(host.start_command("tiny")))
    asked = "cat /run/corral-tiny.judge/asked || true"  # not there, or empty, before it is written
    wait(lambda: int([*machine.ssh(asked).split(), "0", "0"][1]) > 9, lambda: machine.ssh(asked))


def taken_back(machine: Any, endpoint: Endpoint, wait: Callable[..., Any]) -> None:
    """EC2 announces the end of a spot box: what runs is answered whole, nothing new begins, and all of it is said."""
    # The address of EC2's metadata service, on the loopback of the box's own network namespace.
    imds = machine.tree / "srv/imds"
    machine.ssh(
        "ip address add 169.254.169.254/32 dev lo && mkdir /srv/imds && "
        "systemd-run --quiet python3 /srv/fake_imds.py 169.254.169.254 80 /srv/imds"
    )
    asked, phase = imds / "asked", machine.tree / "opt/corral/tiny/phase"
    wait(lambda: asked.exists() and "404" in asked.read_text(), lambda: "the service was not asked")

    notice = '{"action": "terminate", "time": "2026-11-26T08:22:00Z"}'
    began_s = time.time()
    short = Stream(endpoint, tokens=200)
    short.join()
    tokens = min(MOST_TOKENS, round(IN_FLIGHT_S * 200 / (short.ended_s - began_s)))
    stream = Stream(endpoint, tokens)
    while not stream.begun.wait(0.1):
        assert stream.is_alive()
    # By the box's own files, as a login there takes longer than the stream when the disk is slow.
    (imds / "notice").write_text(notice)
    words = "interrupted by EC2: spot notice, ends at 2026-11-26T08:22:00Z"
    wait(lambda: phase.read_text() == f"{words}\n", phase.read_text)
    # It is said before the server is told to stop, and stays refused from the first refusal on.
    wait(lambda: not is_served(endpoint), lambda: "new requests are still answered")
    refused_s = time.time()
    assert not is_served(endpoint)
    stream.join()
    assert (stream.finish_reason, stream.tokens_made) == ("length", tokens)
    assert stream.ended_s > refused_s  # it was in flight when nothing new began any more

    show = "systemctl show corral-tiny.service --property=ActiveState --property=Result --property=NRestarts"
    wait(lambda: "ActiveState=inactive" in machine.ssh(show), lambda: machine.ssh(show))
    assert sorted(machine.ssh(show).split()) == ["ActiveState=inactive", "NRestarts=0", "Result=success"]
    last = json.loads(machine.ssh("tail -n 1 /opt/corral/tiny/history.jsonl"))
    assert (last["event"], last["cause"]) == ("stopped", words)
    # Whoever starts it again, it stays stopped, and nothing else is said.
    machine.ssh("systemctl start corral-tiny.service; /opt/corral/tiny/bin/phase prepared")
    assert "ActiveState=inactive" in machine.ssh(show)
    console = (machine.folder / "console").read_text(errors="replace")
    assert last_phase(console, "tiny").words == words


class Stream(Thread):
    """A completion that is being streamed."""

    def __init__(self, endpoint: Endpoint, tokens: int) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.tokens = endpoint, tokens
        self.begun = Event()
        self.finish_reason, self.tokens_made, self.ended_s = "", 0, 0.0
        self.start()

    def run(self) -> None:
        assert self.endpoint.api_key_file
        body = {
            "model": self.endpoint.served_model_name,
            "prompt": "Once",
            "max_tokens": self.tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        request = urllib.request.Request(
            f"{self.endpoint.base_url}/v1/completions",
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.endpoint.api_key_file.read_text().strip()}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    self.note(json.loads(line.removeprefix(b"data: ")))
        self.ended_s = time.time()

    def note(self, event: dict[str, Any]) -> None:
        """What one event tells."""
        self.begun.set()
        for choice in event["choices"]:
            self.finish_reason = choice["finish_reason"] or self.finish_reason
        if event.get("usage"):
            self.tokens_made = event["usage"]["completion_tokens"]


def is_served(endpoint: Endpoint) -> bool:
    """Whether a new request is answered."""
    try:
        client.canary(endpoint, 10)
    except EndpointError:
        return False
    return True


def answers(endpoint: Endpoint) -> bool:
    """Whether the endpoint lists its model."""
    try:
        return client.models(endpoint) == (endpoint.served_model_name,)
    except EndpointError:
        return False
