"""`corral roll` behind the real HAProxy: one replica at a time, no request lost, stopped by the first that fails."""

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import rack
from doors import ENGINE_KEY, NAME, Door, door
from stubbed import until

from deploy.cli.main import run
from deploy.cli.probe import answering
from deploy.gateway import gateway, rotation
from deploy.releases import canary, release, short_probe
from deploy.releases.release import Figures
from deploy.targets import table
from deploy.targets.deployment import load
from infra.errors import ServerError
from infra.onhost import idle
from serving.probe.endpoint_options import EndpointOptions
from serving.vllm.endpoint import Endpoint

pytestmark = pytest.mark.usefixtures("has_haproxy")

ASKED = {"model": "fake", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 20}
PROMPTS: tuple[Any, ...] = ("a word or two", [3, 4, 5, 6, 7])
Said = tuple[int, str, str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home; what is measured of a release, and what it answers, is not asked of these servers."""

    def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
        return Figures(output_tokens_per_s=100.0, requests=16, failed=0)

    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(short_probe, "measured", measured)
    monkeypatch.setattr(idle, "EVERY_S", 0.05)
    monkeypatch.setattr(canary, "asked", lambda endpoint: canary.Answer(text="a b", tokens=("a", "b")))
    monkeypatch.setitem(table.PLACES, "rack", table.Row("rack"))
    yield tmp_path / "home"
    rack.clear()


@contextmanager
def racked(home: Path, *hosts: str, **asked: Any) -> Iterator[Door]:
    """So many engines behind one gateway that runs, all well."""
    for host in hosts:
        rack.UNITS[host] = rack.Unit(ENGINE_KEY)
        rack.UNITS[host].start("1.0.0")
    with door(home, target="rack", hosts=hosts, **asked) as front:
        until(lambda: states(front) == dict.fromkeys(hosts, "UP"))
        front.key("good", requests_per_minute=100_000)
        yield front


def states(front: Door) -> dict[str, str]:
    """Without how far a check has come."""
    return {each.name: each.state.split()[0] for each in rotation.in_front(front.folder)}


class Load:
    """Streams that follow one another, of text and of token ids, until it is over."""

    def __init__(self, front: Door, count: int) -> None:
        self.front, self.is_over = front, threading.Event()
        self.whole, self.lost = 0, list[tuple[int, bytes]]()
        self.threads = [threading.Thread(target=self.ask, args=(PROMPTS[each % 2],)) for each in range(count)]

    def ask(self, prompt: Any) -> None:
        while not self.is_over.is_set():
            with self.front.asking("/v1/completions", ASKED | {"prompt": prompt}) as answer:
                try:
                    said = answer.read()
                except Exception as error:
                    said = repr(error).encode()
            if answer.status == 200 and said.endswith(b"data: [DONE]\n\n"):
                self.whole += 1
            else:
                self.lost.append((answer.status, said[-200:]))

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        until(lambda: self.whole >= 2 * len(self.threads))
        return self

    def __exit__(self, *_: object) -> None:
        before = self.whole
        until(lambda: self.whole >= before + len(self.threads))
        self.is_over.set()
        for thread in self.threads:
            thread.join(60)


def rolled(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    capsys.readouterr()
    code = run(["roll", NAME, *words, "--yes"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_roll_under_load_loses_no_request(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with racked(home, "gpu1", "gpu2", "gpu3") as front:
        before = {name: unit.process for name, unit in rack.UNITS.items()}
        with Load(front, 6) as load_:
            code, out, err = rolled(capsys, "--json")
        assert code == 0, err
        said = json.loads(out)
        assert (said["rolled"], said["skipped"], said["release"] == said["previous"]) == (
            ["gpu1", "gpu2", "gpu3"], [], True,
        )  # fmt: skip
        assert load_.lost == []
        assert [unit.had for unit in rack.UNITS.values()] == [[0.0]] * 3
        assert all(rack.UNITS[name].process is not process for name, process in before.items())
        assert states(front) == dict.fromkeys(rack.UNITS, "UP")


def test_a_replica_that_is_killed_loses_what_it_had_and_nothing_else(home: Path) -> None:
    with racked(home, "gpu1", "gpu2") as front:
        with Load(front, 6) as load_:
            process = rack.UNITS["gpu1"].process
            assert process
            process.send_signal(signal.SIGSTOP)  # what it has now is all that it will have
            until(lambda: requests_at(front, "gpu1") >= 3)
            had = requests_at(front, "gpu1")
            process.kill()
            until(lambda: states(front)["gpu1"] == "DOWN")
        assert len(load_.lost) <= had
        assert states(front)["gpu2"] == "UP"


def requests_at(front: Door, server: str) -> int:
    return next(each.sessions for each in rotation.in_front(front.folder) if each.name == server)


def test_the_next_release_is_served_by_one_after_the_other_and_the_same_again_does_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with racked(home, "gpu1", "gpu2") as front:
        code, out, err = rolled(capsys, "--vllm-version", "2.0.0", "--json")
        assert code == 0, err
        said = json.loads(out)
        made = load(NAME)
        assert (said["release"], said["rolled"], made.release) == (
            made.release,
            ["gpu1", "gpu2"],
            made.release,
        )
        assert {unit.version for unit in rack.UNITS.values()} == {"2.0.0"}
        kept = release.kept(NAME, made.release)
        assert kept is not None
        assert (kept.outcome, kept.previous) == ("accepted", said["previous"])
        code, out, _ = rolled(capsys, "--vllm-version", "2.0.0", "--json")
        again = json.loads(out)
        assert (code, again["rolled"], again["skipped"]) == (0, [], ["gpu1", "gpu2"])
        assert states(front) == {"gpu1": "UP", "gpu2": "UP"}


def test_a_restart_whose_canary_fails_stays_out_of_rotation(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbage(endpoint: Endpoint, before: tuple[str, ...]) -> NoReturn:
        raise ServerError("The canary's answer is garbage.", "")

    with racked(home, "gpu1", "gpu2") as front:
        monkeypatch.setattr(canary, "require_sense", garbage)
        code, _, err = rolled(capsys)
        assert (code, err.splitlines()[-2]) == (
            7,
            f"error: The roll of {NAME} stopped at gpu1: The canary's answer is garbage. Its gateway gives it no "
            "requests. gpu2: as before.",
        )
        assert states(front) == {"gpu1": "DRAIN", "gpu2": "UP"}


def test_a_probe_by_name_asks_the_gateway_or_says_which_replica(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"requests": 4, "concurrency": 4, "input-tokens": 8, "output-tokens": 4, "warmup-requests": 0}
    few = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    with racked(home, "gpu1", "gpu2") as front:
        for _ in range(2):
            capsys.readouterr()
            run(["probe", NAME, *few, "--output", str(home / "probed"), "--json"])
            said = capsys.readouterr()
            report = json.loads(said.out)
            assert (report["url"], report["succeeded"]) == (front.asked.base_url, 4), said.err
            assert report["servers"] == 2  # compare shares their tokens among them
            assert f"probe: {NAME}'s gateway, before 2 replicas, with a key of its own\n" in said.err
            shutil.rmtree(home / "probed")
        lines = front.audit()
        assert {line["server"] for line in lines if line["path"] == "/v1/completions"} == {"gpu1", "gpu2"}
        assert {line["key"].rpartition("-")[0] for line in lines if line["path"] == "/v1/completions"} == {
            "corral-probe"
        }
        assert len({line["key"] for line in lines if line["key"].startswith("corral-probe")}) == 1
        gateway.stop(NAME, 0)
        target = answering(NAME, EndpointOptions())
        assert (target.base_url, target.servers) == (f"http://127.0.0.1:{rack.UNITS['gpu1'].port}", 1)
        assert (
            f"probe: gpu1 alone, of 2 replicas; before all of them: corral gateway {NAME}\n"
            in capsys.readouterr().err
        )
