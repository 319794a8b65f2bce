"""A server on this machine, from start to nothing left, with a stand-in for vLLM that misbehaves on request."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stubbed
from fake_aws import Clock
from ports import free_port
from stubbed import Patience, members, until

from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from deploy.targets.local import starting
from deploy.targets.prove_egress import prove
from infra import processes
from infra.errors import HostError, ServerError, UsageError
from serving.sizing.plan import Plan
from serving.vllm import engine, log_reader, log_writer, server

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub; whatever the test leaves running is ended."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    yield made
    stubbed.kill(made)


@pytest.fixture(autouse=True)
def patience(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Patience:
    """The clock by which `serve` waits here."""
    return Patience(deployment, monkeypatch)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command as a process, and return when it has said something; it is ended with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str, says: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", "from deploy.cli.start import main; main()", *words]
        corral = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
        begun.append(corral)
        assert corral.stderr
        while says not in corral.stderr.readline():
            assert corral.poll() is None
        return corral

    yield start
    for corral in begun:
        corral.kill()
        corral.wait()
        assert corral.stderr
        corral.stderr.close()


def with_options(deployment: Deployment, **update: object) -> Deployment:
    """The same deployment, served otherwise."""
    serve = deployment.plan.serve.model_copy(update=update)
    return deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})


def test_serve_returns_when_it_answers_and_stop_leaves_nothing(deployment: Deployment) -> None:
    endpoint = local.serve(deployment)
    assert local.status(deployment).state == "serving"
    assert local.serve(deployment) == endpoint  # at once: it serves already
    key = endpoint.api_key_file
    assert key is not None
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_text().strip()
    record = server.load(folder(deployment.name))
    assert record is not None
    assert secret not in record.model_dump_json()
    assert secret not in str(local.requests(deployment))
    assert secret not in Path(f"/proc/{record.leader.pid}/cmdline").read_text()
    local.stop(deployment)
    assert (members(deployment), local.status(deployment).state) == ((), "stopped")
    local.stop(deployment)  # safe to repeat
    assert local.down(deployment).left == ()
    assert not key.exists()


def test_what_a_server_compiled_is_there_for_the_next_one_and_nobody_elses(deployment: Deployment) -> None:
    cache = folder(deployment.name).parent / "cache" / "vllm"
    (requested,) = local.requests(deployment)
    local.serve(deployment)
    record = server.load(folder(deployment.name))
    assert record is not None
    given = Path(f"/proc/{record.leader.pid}/environ").read_bytes().split(b"\0")
    assert f"VLLM_CACHE_ROOT={cache}".encode() in given
    assert requested["environment"]["VLLM_CACHE_ROOT"] == str(cache)  # type: ignore[index]
    (cache / "compiled").touch()
    assert local.down(deployment).left == ()
    assert ((cache / "compiled").exists(), cache.stat().st_mode & 0o777) == (True, 0o700)


def test_the_way_to_a_server_here_is_where_it_listens(deployment: Deployment) -> None:
    with pytest.raises(ServerError, match=f"{deployment.name} is not served"):
        local.endpoint(deployment)
    served = local.serve(deployment)
    assert local.endpoint(deployment) == served
    local.stop(deployment)
    with pytest.raises(UsageError, match="runs on this machine"):
        local.shell(deployment)


def test_a_server_with_other_options_is_not_silently_kept(deployment: Deployment) -> None:
    local.serve(deployment)
    with pytest.raises(UsageError, match="is being served with other options"):
        local.serve(with_options(deployment, port=1))


@pytest.mark.parametrize(
    ("host", "allowed", "said"),
    [
        ("127.0.0.1", "", ()),
        (
            "0.0.0.0",
            "",
            (
                "would be refused: The server would listen on 0.0.0.0, where others can reach it without TLS. Keep "
                "127.0.0.1 and put a gateway in front; or, on a network you trust, set CORRAL_ALLOW_REMOTE=1.",
            ),
        ),
        (
            "::",
            "1",
            (
                "warning: The server listens on :: without TLS, and answers some paths without a key: let nobody onto "
                "that network whom you do not trust with the prompts.",
            ),
        ),
    ],
)
def test_a_dry_run_says_who_could_reach_the_server(
    host: str, allowed: str, said: tuple[str, ...], deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", allowed)
    assert local.outlined(with_options(deployment, host=host), None) == said


@pytest.mark.parametrize(("host", "allowed"), [("0.0.0.0", ""), ("0.0.0.0", "0"), ("::", "")])
def test_a_server_that_others_could_reach_is_not_started(
    host: str, allowed: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", allowed)
    with pytest.raises(UsageError) as error:
        local.serve(with_options(deployment, host=host))
    assert error.value.message == (
        f"The server would listen on {host}, where others can reach it without TLS."
    )
    assert members(deployment) == ()


def test_a_server_that_others_may_reach_is_started_and_it_is_said(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", "1")
    said = {}
    for host in ("0.0.0.0", "127.0.0.1"):
        options = deployment.plan.serve.model_copy(update={"host": host})
        starting.refuse_unsafe_start(options, stubbed_engine(deployment))
        said[host] = [line for line in capsys.readouterr().err.splitlines() if " listens on " in line]
    assert said == {
        "0.0.0.0": [
            "warning: The server listens on 0.0.0.0 without TLS, and answers some paths without a key: let nobody onto "
            "that network whom you do not trust with the prompts."
        ],
        "127.0.0.1": [],
    }


def stubbed_engine(deployment: Deployment) -> engine.Engine:
    """The engine a start would find."""
    return engine.find(folder(deployment.name).parent, os.environ)


def test_a_start_that_fails_half_way_leaves_no_process(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = server.start

    def broken(*arguments: Any) -> server.Server:
        start(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server, "start", broken)
    with pytest.raises(OSError, match="No space"):
        local.serve(deployment)
    assert members(deployment) == ()


def test_down_ends_a_server_and_removes_what_it_wrote(deployment: Deployment) -> None:
    local.serve(deployment)
    written = {path.name for path in folder(deployment.name).iterdir()}
    gone = local.down(deployment)
    assert (gone.counts, gone.left, members(deployment)) == ({"processes": 0, "files": 0}, (), ())
    left = {path.name for path in folder(deployment.name).iterdir()}
    assert {"vllm.log", "server.json"} <= written - left


def test_whoever_waits_knows_of_a_stop_before_the_server_ends(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the waiting `serve` says when the server dies of the first signal, before the stop is over."""
    local.serve(deployment)
    place = folder(deployment.name)
    said: list[str] = []

    def send(pids: tuple[int, ...], number: int) -> None:
        died = ServerError("it died", "")
        said.append(str(starting.explained(deployment.name, place, died, server.load(place))))
        for pid in pids:
            os.kill(pid, number)

    monkeypatch.setattr(processes, "send", send)
    local.stop(deployment)
    assert said[0] == f"{deployment.name} was stopped while it started."


@pytest.mark.parametrize("how", ["ignores-sigterm", "leaves-a-child", "child-in-its-own-session"])
def test_stop_leaves_nothing_of_a_server_that_resists(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("STUB", how)
    monkeypatch.setattr("serving.vllm.stopping.AFTER_SECOND_TERM_S", 0.2)
    monkeypatch.setattr("serving.vllm.stopping.ORPHANS_S", 0.2)
    if how == "ignores-sigterm":  # it does so for as long as it is given, so that need not be long
        clock = Clock()
        monkeypatch.setattr("serving.vllm.stopping.stop.__defaults__", (clock.sleep, clock))
    local.serve(deployment)
    local.stop(deployment)
    assert members(deployment) == ()


def test_orphans_of_a_killed_leader_are_seen_and_ended(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "leaves-a-child")
    local.serve(deployment)
    record = server.load(folder(deployment.name))
    assert record is not None
    os.kill(record.leader.pid, signal.SIGKILL)
    until(lambda: processes.birth(record.leader.pid) is None)
    found = local.status(deployment)
    assert found.state == "dead"
    assert found.detail.endswith(f"1 of its processes are left: corral stop {deployment.name}")
    local.stop(deployment)
    assert members(deployment) == ()


def test_a_server_whose_record_was_never_written_is_found_by_its_marker(deployment: Deployment) -> None:
    local.serve(deployment)
    server.record_file(folder(deployment.name)).unlink()
    assert len(server.workers(folder(deployment.name))) == 1
    local.stop(deployment)
    assert members(deployment) == ()


@pytest.mark.parametrize("end", [local.stop, local.down])
def test_a_server_whose_record_is_corrupt_is_ended(
    deployment: Deployment, end: Callable[[Deployment], object]
) -> None:
    local.serve(deployment)
    server.record_file(folder(deployment.name)).write_text("{")
    assert members(deployment)
    end(deployment)
    assert members(deployment) == ()
    assert not server.record_file(folder(deployment.name)).exists()


def test_a_record_of_another_boot_or_of_a_reused_number_names_nobody(deployment: Deployment) -> None:
    local.serve(deployment)
    place = folder(deployment.name)
    record = server.load(place)
    assert record is not None
    local.stop(deployment)
    for update in ({"boot_id": "another"}, {"pid": os.getpid()}):
        record.model_copy(update={"leader": record.leader.model_copy(update=update)}).write(
            server.record_file(place)
        )
        assert server.members(place) == ()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "dies",
            "The server did not start: a GPU ran out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.).",
        ),
        ("engine-dead", "The server did not start: its log gives no reason; its last line: "),
    ],
)
def test_a_server_that_dies_at_its_start_is_explained_though_it_exits_with_0(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, how: str, sentence: str
) -> None:
    monkeypatch.setenv("STUB", how)
    with pytest.raises(ServerError) as caught:
        local.serve(deployment)
    assert caught.value.message.startswith(sentence)
    assert caught.value.hint
    assert members(deployment) == ()


@pytest.mark.parametrize(
    ("how", "last"),
    [
        ("dies", ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."]),
        ("ends", ["first line", "second line", "last line: nothing more to do"]),
    ],
)
def test_a_server_that_exits_with_0_at_its_start_is_a_failure_at_the_next_look(
    deployment: Deployment,
    patience: Patience,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
    last: list[str],
) -> None:
    """That is half a second after its exit; with the last lines of its log."""
    monkeypatch.setenv("STUB", how)
    with pytest.raises(ServerError) as caught:
        local.serve(deployment)
    assert patience.now_s in (0, 0.5)  # it may have ended before the first look
    assert caught.value.message.startswith("The server did not start: ")
    told = capsys.readouterr().err.splitlines()
    assert told[told.index(f"serve: the last lines of its log ({len(last)}):") + 1 :] == [
        f"serve: | {line}" for line in last
    ]


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("html", "no JSON but an HTML page"),
        ("other-name", "it serves another and not tiny"),
    ],
)
def test_a_server_that_answers_something_else_is_not_ready(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, how: str, detail: str
) -> None:
    monkeypatch.setenv("STUB", how)
    monkeypatch.setattr("serving.vllm.startup_log.COMPILE_S", 1)
    with pytest.raises(ServerError, match="was not ready after 1 s; it is degraded") as caught:
        local.serve(deployment)
    assert detail in caught.value.message
    assert members(deployment) == ()


@pytest.mark.parametrize(
    ("how", "detail"),
    [("fails", "something went wrong"), ("other-name", "it serves another and not tiny")],
)
def test_a_server_that_will_never_be_ready_is_not_waited_for_as_long_as_it_may_load(
    deployment: Deployment,
    patience: Patience,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
    detail: str,
) -> None:
    monkeypatch.setenv("STUB", how)
    with pytest.raises(ServerError, match="The server is there, and was degraded for 30 s") as caught:
        local.serve(deployment)
    assert detail in caught.value.message
    assert 30 <= patience.now_s < 40
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "it is there, but degraded" in line]
    assert detail in said
    assert members(deployment) == ()


def test_a_server_that_says_200_and_generates_nothing_is_hung(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.serve(deployment)
    local.stop(deployment)
    monkeypatch.setenv("STUB", "canary-hangs")
    monkeypatch.setattr("serving.vllm.health.look.__defaults__", (0.3,))
    monkeypatch.setattr("serving.vllm.startup_log.COMPILE_S", 1)
    with pytest.raises(ServerError, match="not ready after 1 s; it is hung"):
        local.serve(deployment)


def test_starting_and_an_interrupted_start(
    deployment: Deployment, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it loads: the server goes with it, though it ignores SIGTERM by then."""
    monkeypatch.setenv("STUB", "loads-for-ever")
    deployment.write(folder(deployment.name) / "deployment.json")
    corral = start("serve", deployment.name, says="the weights are loaded")
    found = local.status(deployment)
    assert (found.state, found.detail) == ("starting", "the weights are loaded, in 0.02 s")
    with pytest.raises(UsageError, match=f"Another corral is starting {deployment.name} now"):
        local.serve(deployment)
    corral.send_signal(signal.SIGINT)
    _, said = corral.communicate()
    assert corral.returncode == 130
    assert said.endswith("error: Interrupted.\n")
    assert members(deployment) == ()


def test_corral_killed_while_it_waits_leaves_a_server_that_can_be_found_and_ended(
    deployment: Deployment, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "loads-for-ever")
    deployment.write(folder(deployment.name) / "deployment.json")
    corral = start("serve", deployment.name, says="the weights are loaded")
    corral.kill()
    corral.wait()
    assert local.status(deployment).state == "starting"
    monkeypatch.setattr("serving.vllm.stopping.WHILE_STARTING_S", 0.2)
    monkeypatch.setattr("serving.vllm.stopping.AFTER_SECOND_TERM_S", 0.2)
    local.stop(deployment)
    assert members(deployment) == ()


def test_a_port_in_use_is_refused_before_anything_starts(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", deployment.plan.serve.port)), pytest.raises(HostError) as caught:
        local.serve(deployment)
    port = deployment.plan.serve.port
    assert caught.value.message == f"Port {port} of 127.0.0.1 cannot be listened on: Address already in use."
    assert server.load(folder(deployment.name)) is None


def test_a_server_for_the_network_or_without_a_kv_size_is_refused(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"would listen on 0\.0\.0\.0"):
        local.serve(with_options(deployment, host="0.0.0.0"))
    (tmp_path / "lib" / "python3.11" / "site-packages" / "vllm-0.32.0+cpu.dist-info").mkdir(parents=True)
    with pytest.raises(UsageError, match="gives no KV cache size"):
        local.serve(with_options(deployment, kv_cache_memory_bytes=None))
    assert server.load(folder(deployment.name)) is None


@pytest.mark.parametrize(("version", "says"), [("0.21.0", "CVE-2026-48746"), ("0.8.5", "CVE-2026-48746")])
def test_a_vllm_whose_key_can_be_bypassed_is_not_started(
    deployment: Deployment, tmp_path: Path, version: str, says: str
) -> None:
    (tmp_path / "lib" / "python3.11" / "site-packages" / f"vllm-{version}.dist-info").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"vLLM {version} is not started: {says}"):
        local.serve(deployment)


def test_a_server_frozen_after_it_was_ready_is_hung_and_one_that_closed_its_port_too(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.vllm.client.health.__defaults__", (0.1,))
    served = local.serve(deployment)
    for pid in members(deployment):
        os.kill(pid, signal.SIGSTOP)
    found = local.status(deployment)
    assert (found.state, found.detail) == ("hung", "it takes connections and answers nothing")
    record = server.load(folder(deployment.name))
    assert record is not None
    elsewhere = served.model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}"})
    record.model_copy(update={"endpoint": elsewhere}).write(server.record_file(folder(deployment.name)))
    found = local.status(deployment)
    assert (found.state, found.detail) == ("hung", "it takes no connection any more")


def test_status_before_any_start_and_with_a_corrupt_record(deployment: Deployment) -> None:
    assert local.status(deployment).state == "provisioned"


def test_logs_are_printed_and_followed_until_the_server_ends(deployment: Deployment) -> None:
    local.serve(deployment)
    lines = local.logs(deployment, follow=True)
    assert "Loading weights took" in next(lines)
    local.stop(deployment)
    assert list(lines) == []


def test_here_egress_is_only_observed(deployment: Deployment) -> None:
    with pytest.raises(ServerError, match="does not serve, so nothing can be shown of it"):
        prove(deployment, ())
    local.serve(deployment)
    found = prove(deployment, ())
    assert (found.verdict, found.hosts, found.completions, found.sha256) == (
        "observed",
        (),
        5,
        found.digest(),
    )
    assert found.problems == ("on this machine corral loads no lock: its connections were only looked at",)
    with pytest.raises(UsageError, match="proved on these targets: local, ssh; .* is on ec2"):
        prove(deployment.model_copy(update={"target": "ec2"}), ())


def test_a_server_that_talks_does_not_fill_the_disk_and_its_log_is_read_across_its_files(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "talks")
    local.serve(deployment)
    place = folder(deployment.name)
    until(lambda: last_bytes(place) == b"talked\n")
    local.stop(deployment)
    said = list(local.logs(deployment, follow=False))
    assert len(log_reader.parts(server.log_file(place))) == 1 + log_writer.PARTS
    assert said[0].endswith("Loading weights took 0.02 seconds")
    assert said[-1] == "talked"
    written = sum(part.stat().st_size for _, part in log_reader.parts(server.log_file(place)))
    assert written <= log_writer.BEGINNING_BYTES + log_writer.PARTS * log_writer.PART_BYTES
    assert server.log_text(place).splitlines() == said
    assert local.down(deployment).left == ()
    assert [path.name for path in place.glob("*log*")] == []


def last_bytes(place: Path) -> bytes:
    """The end of its log, which is too long to be read whole again and again."""
    with suppress(FileNotFoundError):  # it has just begun the next file
        return log_reader.parts(server.log_file(place))[-1][1].read_bytes()[-7:]
    return b""


def test_the_last_words_of_a_server_that_dies_are_read_though_they_come_by_a_pipe(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "dies-at-length")
    with pytest.raises(ServerError, match="a GPU ran out of memory"):
        local.serve(deployment)
    assert server.log_text(folder(deployment.name)).count("\n") == 20_001
