"""The server's environment, address and key: whole values, and what must not be handed down."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from stubbed import until

from infra import interrupts
from infra.errors import DocumentError, HostError, ServerError
from infra.interrupts import SIGNALS
from infra.processes import Birth
from serving.vllm import server
from serving.vllm.endpoint import Endpoint
from serving.vllm.engine import Engine
from serving.vllm.serve_options import ServeOptions, argv


def test_the_environment_is_the_users_without_secrets_and_switches_and_with_corrals_on_top(
    tmp_path: Path,
) -> None:
    secrets_and_switches = (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "VLLM_SERVER_DEV_MODE",
        "VLLM_ALLOW_INSECURE_SERIALIZATION",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
        "VLLM_ENABLE_RESPONSES_API_STORE",
        "VLLM_CPU_KVCACHE_SPACE",
        "PYTHONOPTIMIZE",
    )
    inherited = {"PATH": "/bin", "VLLM_NO_USAGE_STATS": "true"} | dict.fromkeys(secrets_and_switches, "1")
    assert server.process_environment(inherited, {"VLLM_NO_USAGE_STATS": "1"}, tmp_path) == {
        "PATH": "/bin",
        "VLLM_NO_USAGE_STATS": "1",
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        "CORRAL_SERVER": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
        ("[fd00::5]", "http://[fd00::5]:8000"),
        ("llm.internal", "http://llm.internal:8000"),
    ],
)
def test_the_address_as_seen_from_this_machine(host: str, url: str) -> None:
    assert server.base_url(ServeOptions(model="/m", served_model_name="m", host=host)) == url


def test_a_key_is_made_once_and_an_empty_one_is_replaced(tmp_path: Path) -> None:
    key = server.api_key(tmp_path)
    assert re.fullmatch(r"sk-[\w-]{43}", key)
    assert server.api_key(tmp_path) == key
    assert server.key_file(tmp_path).stat().st_mode & 0o777 == 0o600
    server.key_file(tmp_path).write_text(" \n")
    assert server.api_key(tmp_path) not in ("", key)


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="/nonexistent/vllm cannot be run: No such file or directory"):
        server.spawn(("/nonexistent/vllm",), {}, 2)


def test_a_temporary_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(HostError, match="belongs to somebody else"):
        server.make_private(tmp_path / "link")
    server.make_private(tmp_path / "ours")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o700
    server.make_private(tmp_path / "ours")


def test_a_temporary_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(HostError, match="belongs to somebody else"):
        server.make_private(tmp_path / "theirs")


# A server that is no vLLM: it says what it was given, and ends.

TELLS = """
echo "to stdout"; echo "to stderr" >&2
cat > input
printf '%s\\n' "$@" > argv; env -0 > environ; grep SigIgn /proc/self/status > ignored
ps -o sess= -p $$ > session; stat -c %a "$TMPDIR" . vllm.log > modes
"""
OPTIONS = ServeOptions(model="/m", served_model_name="scout", port=8123, shutdown_timeout=7)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, server.Server]]:
    """The folder of that server after its end, and its record."""
    folder, vllm = tmp_path / "scout", tmp_path / "vllm"
    folder.mkdir(mode=0o755)
    (folder / "vllm.log").write_text("of the last run\n")
    vllm.write_text(f"#!/bin/sh\ncd {folder}\n{TELLS}")
    vllm.chmod(0o755)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("serving.vllm.server.datetime", At)
    handlers = interrupts.handle(signal.SIG_IGN)  # type: ignore[arg-type]
    started = server.start(folder, Engine(vllm=vllm, version="0.33.0", origin="PATH"), OPTIONS, 900)
    interrupts.restore(handlers)
    assert os.waitpid(started.leader.pid, 0)[1] == 0, (folder / "vllm.log").read_text()
    until(lambda: server.members(folder) == ())  # the last line is written
    yield folder, started
    shutil.rmtree(server.temporary(folder), ignore_errors=True)  # a test may have removed it


class At(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "At":
        """Noon."""
        return cls(2026, 11, 28, 12, tzinfo=tz)


def test_a_server_is_started_with_its_options_and_its_key_and_no_secret(
    told: tuple[Path, server.Server],
) -> None:
    folder, _ = told
    given = dict(each.split("=", 1) for each in (folder / "environ").read_text().split("\0") if each)
    assert (folder / "argv").read_text().splitlines() == [*argv(OPTIONS)]
    assert {
        name: given.get(name)
        for name in ("HF_TOKEN", "VLLM_API_KEY", "VLLM_ENGINE_READY_TIMEOUT_S", "TMPDIR")
    } == {
        "HF_TOKEN": None,
        "VLLM_API_KEY": server.api_key(folder),
        "VLLM_ENGINE_READY_TIMEOUT_S": "900",
        "TMPDIR": str(server.temporary(folder)),
    }


def test_a_server_is_the_leader_of_a_session_whose_folder_is_its_users_alone(
    told: tuple[Path, server.Server],
) -> None:
    folder, started = told
    assert int((folder / "session").read_text()) == started.leader.pid
    assert (
        int((folder / "ignored").read_text().split()[1], 16) & sum(1 << number - 1 for number in SIGNALS) == 0
    )
    assert (folder / "modes").read_text().split() == ["700", "700", "600"]
    assert (folder / "input").read_text() == ""
    assert (folder / "vllm.log").read_text() == "to stdout\nto stderr\n"
    assert (folder / "last-log" / "vllm.log").read_text() == "of the last run\n"


def test_a_server_is_recorded_without_its_key(told: tuple[Path, server.Server]) -> None:
    folder, started = told
    assert server.load(folder) == started
    assert started == server.Server(
        leader=started.leader,
        started_at=At.now(UTC),
        vllm=folder.parent / "vllm",
        vllm_version="0.33.0",
        arguments=argv(OPTIONS),
        endpoint=Endpoint(
            base_url="http://127.0.0.1:8123", served_model_name="scout", api_key_file=folder / "api-key"
        ),
        shutdown_timeout_s=7,
        load_budget_s=900,
    )


def test_what_a_server_leaves_is_removed_and_documents_stay(told: tuple[Path, server.Server]) -> None:
    folder, _ = told
    for name in ("argv", "environ", "ignored", "session", "modes", "input"):
        (folder / name).unlink()
    (folder / "huggingface" / "hub").mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "plan.json").touch()
    assert sorted(path.name for path in folder.iterdir())[:3] == [".lock", "api-key", "huggingface"]
    server.remove_files(folder)
    server.remove_files(folder)
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


# Its record


def record(leader: Birth, **changes: Any) -> server.Server:
    """A server's record."""
    return server.Server(
        leader=leader,
        started_at=At(2026, 11, 28, 11, 59, tzinfo=UTC),
        vllm=Path("/vllm"),
        vllm_version="0.33.0",
        arguments=(),
        endpoint=Endpoint(base_url="http://127.0.0.1:8000", served_model_name="scout"),
        shutdown_timeout_s=60,
        load_budget_s=900,
        **changes,
    )


def members_asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """For which session and marker the kernel is asked."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("infra.processes.members", lambda *words: asked.append(words))
    return asked


OURS = Birth(pid=7, start_ticks=70, boot_id="this boot")


@pytest.mark.parametrize(
    ("leader", "now", "session"),
    [
        (OURS, OURS, 7),
        (OURS, None, 7),
        (OURS, OURS.model_copy(update={"start_ticks": 71}), None),
        (OURS.model_copy(update={"boot_id": "the last boot"}), None, None),
    ],
    ids=["it lives", "orphans may live", "its number is another's", "of an earlier boot"],
)
def test_a_session_is_asked_for_only_while_its_number_is_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leader: Birth, now: Birth | None, session: int
) -> None:
    monkeypatch.setattr("infra.processes.boot_id", lambda: "this boot")
    monkeypatch.setattr("infra.processes.birth", {7: now}.get)
    asked = members_asked(monkeypatch)
    record(leader).write(server.record_file(tmp_path))
    server.members(tmp_path)
    assert asked == [(session, f"CORRAL_SERVER={tmp_path}")]


def test_without_a_record_that_can_be_read_the_marker_finds_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = members_asked(monkeypatch)
    server.members(tmp_path)
    server.record_file(tmp_path).write_text("{")
    server.members(tmp_path)
    assert asked == [(None, f"CORRAL_SERVER={tmp_path}")] * 2
    with pytest.raises(DocumentError) as caught:
        server.load(tmp_path)
    assert caught.value.hint == f"Its processes are found without it: corral stop {tmp_path.name}"
    assert server.load_or_remove(tmp_path) is None
    assert server.load(tmp_path) is None


def test_the_marker_names_the_folder_itself_and_not_a_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "folder")
    assert server.marker(tmp_path / "way") == f"CORRAL_SERVER={tmp_path / 'folder'}"


def test_a_log_is_text_whatever_is_in_it(tmp_path: Path) -> None:
    assert server.log_text(tmp_path) == ""
    server.log_file(tmp_path).write_bytes(b"\xff\n")
    assert server.log_text(tmp_path) == "\ufffd\n"


def test_a_servers_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.vllm.server.datetime", At)
    assert server.age_s(record(OURS)) == 60.0
