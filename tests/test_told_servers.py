"""Lines that README, docs and helps tell of servers that answer: behind a gateway, and by their address.

They are in tests/data/told_in_their_place.toml, as those of test_told_in_their_place.py.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import own_tls
import pytest
import rack
from doors import ENGINE_KEY
from following import with_flags
from ports import free_port
from probing import on_any_machine
from test_owned import deployment as owned
from test_probe_sweep import meeting
from test_server_log import log, sized
from test_told_in_their_place import PLANS, measured
from told_places import faults, home, in_place_of

from deploy.gateway import haproxy
from deploy.releases import canary, short_probe
from deploy.targets import table
from deploy.targets.deployment import folder
from infra.home import home as corral_home
from serving.probe import buffering, repeats, request_maker
from serving.probe import sweep as sweeping
from serving.probe.pacing import schedule_s
from serving.probe.report import ProbeReport
from serving.probe.run import run
from serving.probe.spec import Load, Target, Workload
from serving.sizing.plan import Plan

__all__ = ["home"]

OF_LOOPBACK = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
QUICK = {"ttft_ms": 1, "itl_ms": 0.1, "tokens_per_chunk": 100}


# --- behind a gateway


def the_first_round_alone(
    target: Target, load: Load, workload: Workload, folder: Path, *asked: Any
) -> ProbeReport:
    """A run of a series; from the second round on what the endpoint's first one had."""
    first = folder.with_name(f"{folder.name[0]}-1")
    if folder == first:
        return run(target, load, workload, folder, *asked)
    shutil.copytree(first, folder)
    return ProbeReport.read(folder / "probe.json")


@pytest.fixture
def front(home: Path, has_haproxy: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment of one server, which is well; what is measured of a release is not asked of it."""

    def it_meets_the_limits(
        target: Target, load: Load, workload: Workload, folder: Path, *asked: Any
    ) -> ProbeReport:
        report = meeting(100).model_copy(update={"model": "fake"})
        report.write(folder / "probe.json")
        return report

    on_any_machine(monkeypatch)
    # A tunnel that waits for a core holds an answer back, which is no buffer's doing.
    monkeypatch.setattr(buffering, "FASTEST_S", math.inf)
    monkeypatch.setattr(short_probe, "measured", measured)
    monkeypatch.setattr(canary, "asked", lambda endpoint: canary.Answer(text="a b", tokens=("a", "b")))
    monkeypatch.setattr(sweeping, "run", it_meets_the_limits)
    monkeypatch.setattr(repeats, "run", the_first_round_alone)
    monkeypatch.setitem(table.PLACES, "rack", table.Row("rack"))
    monkeypatch.setattr(rack, "CONFIG", QUICK)
    made = owned(hosts=("scout",), port=free_port(), served_model_name="fake")
    priced = Plan.read(PLANS / "scout-int4.json")
    plan = priced.model_copy(update={"serve": made.plan.serve, "workload": made.plan.workload})
    made = made.model_copy(update={"target": "rack", "plan": plan})
    made.write(folder("scout") / "deployment.json")
    (folder("scout") / "api-key").write_text(f"{ENGINE_KEY}\n")
    made.model_copy(update={"name": "demo"}).write(folder("demo") / "deployment.json")
    shutil.copy(folder("scout") / "api-key", folder("demo"))
    changed = made.plan.serve.model_copy(update={"max_num_seqs": 8})
    made.plan.model_copy(update={"serve": changed}).write(home / "next.json")
    plan.write(home / "plan.json")
    rack.UNITS["scout"] = rack.Unit(ENGINE_KEY)
    rack.UNITS["scout"].start("1.0.0")
    yield
    haproxy.stop(folder("scout") / "gateway", 0)
    rack.clear()


def as_slow_as_its_machine() -> None:
    """What was measured, as if the server had the weights to read."""
    report = ProbeReport.read(Path("probe/probe.json"))
    assert report.ttft_s
    first, further = (report.ttft_s.model_copy(update={"mean": mean_s}) for mean_s in (0.5, 0.03))
    report.model_copy(update={"ttft_s": first, "tpot_s": further}).write(Path("probe/probe.json"))


@pytest.mark.slow
@pytest.mark.usefixtures("front")
def test_behind_a_gateway(fake_llm: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens at ports of the test's own."""
    port, metrics_port = str(free_port()), str(free_port())
    other = in_place_of({"http://10.0.0.5:8000": fake_llm(**QUICK)})

    def at_our_ports(words: list[str]) -> list[str]:
        starts = words[0] == "gateway" and words[1] in ("scout", "start")
        words = [word.replace("9101", metrics_port).replace("llama-4-scout", "fake") for word in other(words)]
        return with_flags(words, ["--port", port]) if starts else words

    watched = "export scout --to prometheus --ttft 2 --budget-usd-per-month 20000 -o watch"
    before = {watched: lambda: shutil.rmtree("watch"), "calibrate scout": as_slow_as_its_machine}
    assert faults("front", monkeypatch, before, at_our_ports) == {}


# --- servers by their address


def a_hundred_times_faster(load: Load) -> Iterator[float]:
    """The moments of an open loop: those of a minute within 0.6 s."""
    return (time_s / 100 for time_s in schedule_s(load))


@pytest.mark.slow
def test_of_servers_by_their_address(
    fake_llm: Callable[..., str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_any_machine(monkeypatch)
    own_tls.made(home / "ca.pem", home / "key.pem", *OF_LOOPBACK)
    (home / "both.pem").write_text((home / "key.pem").read_text() + (home / "ca.pem").read_text())
    (home / "key").write_text("sk-1\n")
    (home / "server.log").write_text(log())
    sized().write(home / "plan.json")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-1")
    monkeypatch.setenv("KEY", "sk-2")
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))  # as if a known authority had signed it
    monkeypatch.setattr(buffering, "FASTEST_S", math.inf)  # two chunks come as one to a machine that is busy
    monkeypatch.setattr(request_maker, "schedule_s", a_hundred_times_faster)
    monkeypatch.setattr(repeats, "run", the_first_round_alone)
    plain_server = fake_llm(names=("fake", "scout", "support-adapter"), **QUICK)
    tls = {"certificate": str(home / "both.pem"), **QUICK}
    addresses = {
        "https://10.0.0.5": fake_llm(key="sk-1", **tls),
        "https://gpu1/v4/chat/completions": f"{fake_llm(header='api-key: sk-2', **tls)}/v4/chat/completions",
        "https://gateway.example.com": fake_llm(**tls),
        "http://10.0.0.5:8000": plain_server,
        "https://api.anthropic.com": plain_server,
        "claude-haiku-5-5": "fake",
    }
    assert faults("server", monkeypatch, here=in_place_of(addresses)) == {}
    kept = sorted(corral_home().glob("probes/*/probe.json"))
    rate = Load(shape="poisson", request_rate=5.0, duration_s=60.0)
    assert [ProbeReport.read(path).sent for path in kept][1] == len([*schedule_s(rate)])
    with urlopen(f"{plain_server}/truth") as answer:
        asked = Counter(body["model"] for body in json.load(answer)["bodies"])
    assert (asked["scout"], asked["support-adapter"]) == (97, 33)
