"""By hand (scripts/bench-roll): two real vLLM on booted hosts, rolled under load as one deployment; then one is killed.

Two probes ask its gateway all the while: one with texts, one with prompts of token ids, which a vLLM that is about to
end answers with 200 and nothing. Judged is that no request is lost by the roll, and of the killed engine none but what
it had. Beside that: the gateway and the tunnel to one engine, in turns in an open loop. No run of the tests has it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from ports import free_port

from deploy.gateway import gateway, haproxy, rotation
from deploy.targets.deployment import folder
from serving.sizing.fit import engine_version

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.engine,
    pytest.mark.usefixtures("has_haproxy"),
    pytest.mark.timeout(3000),
]

NAME, UNIT = "two", "corral-two.service"
MAIN = "from deploy.cli.start import main; main()"
TOKEN_IDS = json.dumps({"prompt": list(range(3, 67))})
PATHS = {"text": "/v1/chat/completions", "token ids": "/v1/completions"}
ASKED = {"text": ("--api", "chat"), "token ids": ("--api", "completions", "--extra-body", TOKEN_IDS)}
LOAD = ("--concurrency", "3", "--duration-s", "2400", "--input-tokens", "64", "--output-tokens", "32")
OPEN_LOOP = ("--request-rate", "3", "--duration-s", "15", "--repeat", "3")
ENOUGH = 10
Figures = dict[str, Any]


def test_no_request_is_lost(
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    plan: Path,
    prefix: Path,
    engine_cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machines = [new_machine(), new_machine()]
    for machine in machines:
        machine.begin_sooner(engine_cache, forked=True)
        machine.power_on()
    named = [word for machine in machines for word in ("--host", machine.name)]
    corral(
        "provision", str(plan), "--target", "ssh", *named, "--engine", str(prefix), "--name", NAME, "--yes"
    )
    first = corral("serve", NAME)
    corral("gateway", NAME, "--port", str(free_port()))
    figures: Figures = {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "load_average": os.getloadavg()[0],
        "vllm": engine_version(),
        "haproxy": haproxy_version(),
    }

    with loaded(tmp_path / "roll") as reports:
        begun_s = time.monotonic()
        rolled = corral("roll", NAME)["rolled"]
        took_s = time.monotonic() - begun_s
    figures["roll"] = {"seconds": round(took_s, 1)} | {kind: told(each) for kind, each in reports.items()}
    told_to(capsys, figures)
    assert sorted(rolled) == sorted(machine.name for machine in machines)
    assert [each["errors"] for each in reports.values()] == [{}, {}]
    assert {line["server"] for line in audit() if line["path"] in PATHS.values()} == set(rolled)

    with loaded(tmp_path / "killed") as reports:
        victim = machines[0]
        victim.ssh(f"systemctl kill --signal=STOP {UNIT}")  # what it has now is all that it will have
        time.sleep(1)
        had = requests_at(victim.name)
        victim.ssh(f"systemctl kill --signal=KILL {UNIT}")
        until(lambda: "UP" not in states()[victim.name])
        until(lambda: states() == {machine.name: "UP" for machine in machines})
    lost = [line for line in audit() if line["path"] in PATHS.values() and is_lost(line)]
    figures["killed"] = {"had": had, "lost": len(lost)} | {kind: told(each) for kind, each in reports.items()}
    told_to(capsys, figures)
    assert sum(sum(each["errors"].values()) for each in reports.values()) <= had
    assert {line["server"] for line in lost} <= {victim.name}

    corral("gateway", "drain", NAME, machines[1].name)
    figures["open_loop"] = beside(first["base_url"], tmp_path / "beside")
    told_to(capsys, figures)
    assert corral("down", NAME)["left"] == []


@contextmanager
def loaded(place: Path) -> Iterator[Figures]:
    """Both probes, of which each has answers when it begins and more before it ends; their reports when it has."""
    place.mkdir()
    reports: Figures = {}
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for kind in ASKED:
            running[kind] = probing(place / PATHS[kind].rpartition("/")[0].replace("/", "-"), kind)
            until_more(kind)
        yield reports
        for kind in ASKED:
            until_more(kind)
        for kind, process in running.items():
            process.send_signal(signal.SIGINT)
            reports[kind] = json.loads(process.communicate()[0])
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


def probing(results: Path, kind: str) -> subprocess.Popen[str]:
    """A probe of that kind, until it is interrupted."""
    command = [
        sys.executable, "-c", MAIN, "probe", NAME, *ASKED[kind], *LOAD, "--output", str(results), "--json"
    ]  # fmt: skip
    with results.with_suffix(".err").open("w") as said:
        return subprocess.Popen(command, stdout=PIPE, stderr=said, text=True)


def beside(tunnel: str, results: Path) -> Figures:
    """The gateway before one engine and the tunnel to it, in turns: TTFT and tokens/s of each run."""
    key = (folder(NAME) / "api-key").read_text().strip()
    command = [
        sys.executable, "-c", MAIN, "probe", NAME, tunnel, *OPEN_LOOP, "--input-tokens", "64",
        "--output-tokens", "32", "--output", str(results), "--json",
    ]  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | {"CORRAL_API_KEY": key}, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    made: Figures = json.loads(done.stdout)
    return made


def until(so: Callable[[], bool]) -> None:
    """Wait until it is so; the test's own limit ends a wait for what never is."""
    while not so():
        time.sleep(0.2)


def until_more(kind: str) -> None:
    """Wait for some more answers to that kind of request."""
    had = answered(kind)
    until(lambda: answered(kind) >= had + ENOUGH)


def audit() -> list[Figures]:
    """What the gateway noted of each request."""
    lines = haproxy.audit(gateway.folder(NAME)).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def answered(kind: str) -> int:
    """How many requests of that kind were answered to their end."""
    return sum(
        line["path"] == PATHS[kind] and not is_lost(line) and line["end"] == "----" for line in audit()
    )


def is_lost(line: Figures) -> bool:
    """Whether a request was not answered to its end, but for one that its client gave up, as a probe's last are."""
    return not line["end"].startswith("C") and (line["status"], line["end"]) != (200, "----")


def states() -> dict[str, str]:
    """How the gateway sees each server."""
    return {each.name: each.state.split()[0] for each in rotation.in_front(gateway.folder(NAME))}


def requests_at(server: str) -> int:
    """What a server has of the gateway."""
    return next(each.sessions for each in rotation.in_front(gateway.folder(NAME)) if each.name == server)


def told(report: Figures) -> Figures:
    """What a probe's report says of what was lost, and of the longest wait."""
    said = {name: report[name] for name in ("sent", "succeeded", "unfinished", "errors")}
    return said | {"ttft_s": {name: report["ttft_s"][name] for name in ("p50", "p99")}}


def haproxy_version() -> str:
    """As it says it."""
    said = subprocess.run([haproxy.found(), "-v"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def told_to(capsys: pytest.CaptureFixture[str], figures: Figures) -> None:
    """Print what is known so far: a failure has its figures too."""
    with capsys.disabled():
        print(f"\n{json.dumps(figures, indent=2)}", flush=True)
