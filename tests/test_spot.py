"""The notice of a spot box: asked for as IMDSv2 wants it, told once, acted on by stopping the server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra import host
from infra.onhost import spot

NOTICE = {"action": "terminate", "time": "2026-11-26T08:22:00Z"}


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[str]:
    """A metadata service that gives the notice in the test's folder, if there is one."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "data/fake_imds.py"),
        "127.0.0.1",
        "0",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/latest"
        process.kill()


def test_nothing_is_announced_until_ec2_says_so(metadata: str, tmp_path: Path) -> None:
    assert spot.notice(metadata) == ""
    (tmp_path / "notice").write_text(json.dumps(NOTICE))
    assert spot.notice(metadata) == "2026-11-26T08:22:00Z"
    asked = [
        "PUT /latest/api/token 200",
        "GET /latest/meta-data/spot/instance-action 404",
        "PUT /latest/api/token 200",
        "GET /latest/meta-data/spot/instance-action 200",
    ]
    assert (tmp_path / "asked").read_text().splitlines() == asked


@pytest.mark.parametrize(
    "said",
    ["", "soon", "[]", "{}", '{"time": null}', '{"time": 5}', '{"time": "$(id)"}', '{"time": "2026-11-26"}'],
)
def test_what_is_no_notice_stops_nothing(said: str, metadata: str, tmp_path: Path) -> None:
    (tmp_path / "notice").write_text(said)
    assert spot.notice(metadata) == ""


def test_a_proxy_is_not_asked(metadata: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "notice").write_text(json.dumps(NOTICE))
    assert spot.notice(metadata) == "2026-11-26T08:22:00Z"


def test_a_redirect_is_not_followed(metadata: str, tmp_path: Path) -> None:
    (tmp_path / "notice").write_text(json.dumps(NOTICE))

    class Elsewhere(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"AQAEAtoken==")

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", metadata.removesuffix("/latest") + self.path)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        assert spot.notice(f"http://127.0.0.1:{server.server_port}/latest") == ""
        server.shutdown()
        thread.join()
    assert not (tmp_path / "asked").exists()


def test_where_nobody_answers_there_is_no_notice() -> None:
    assert spot.notice("http://127.0.0.1:9/latest") == ""


def test_ec2_is_asked_every_five_seconds_until_there_is_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["", "", NOTICE["time"]])
    asked: list[str] = []
    slept: list[float] = []
    done: list[tuple[Any, ...]] = []

    def notice(metadata: str) -> str:
        asked.append(metadata)
        return next(answers)

    monkeypatch.setattr(spot, "notice", notice)
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(spot, "interrupt", lambda *words: done.append(words))
    monkeypatch.setattr(sys, "argv", ["spot", "--root", str(tmp_path), "--unit", "corral-scout.service"])
    spot.main()
    assert asked == ["http://169.254.169.254/latest"] * 3
    assert (slept, done) == ([5, 5], [(tmp_path, "corral-scout.service", NOTICE["time"])])


@pytest.mark.parametrize("first", [None, "10.0.0.5"], ids=["of-its-own", "for-another-box"])
def test_the_notice_is_said_and_the_server_stopped(
    first: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/phase").symlink_to(Path(host.__file__).parent / "onhost/phase.sh")
    (tmp_path / "setup.env").write_text("NAME=scout\nRENTED=no\n")
    if first:
        (tmp_path / "first").write_text(first)
    run, commands = subprocess.run, []

    def recording(command: list[Any], **options: Any) -> Any:
        assert command[0] == "timeout"
        commands.append([str(word) for word in command[2:]])
        return run(["sh", *command[2:]] if command[2] != "systemctl" else ["true"], **options)

    monkeypatch.setattr(subprocess, "run", recording)
    spot.interrupt(tmp_path, "corral-scout.service", NOTICE["time"])
    stop = [] if first else [["systemctl", "stop", "corral-scout.service"]]
    words = "interrupted by EC2: spot notice, ends at 2026-11-26T08:22:00Z\n"
    assert commands == [[f"{tmp_path}/bin/phase", words.strip()], *stop]
    assert (tmp_path / "phase").read_text() == words
    # A preparation that goes on has nothing to add.
    run(["sh", tmp_path / "bin/phase", "prepared"], check=True)
    assert (tmp_path / "phase").read_text() == words


def test_words_that_cannot_be_said_keep_no_server_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = {"bin/phase": "exit 1", "tools/systemctl": f'echo "$*" >>{tmp_path}/told'}
    for name, does in tools.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/tools:{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="corral: failed"):  # so that systemd has it tried again
        spot.interrupt(tmp_path, "corral-scout.service", NOTICE["time"])
    assert (tmp_path / "told").read_text() == "stop corral-scout.service\n"


def test_a_disk_that_takes_no_word_keeps_no_server_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted").mkdir()  # who writes it is refused
    told: list[list[str]] = []

    def run(command: list[Any], **_: Any) -> Any:
        told.append([str(word) for word in command[2:]])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    spot.interrupt(tmp_path, "corral-scout.service", NOTICE["time"])
    words = "interrupted by EC2: spot notice, ends at 2026-11-26T08:22:00Z"
    assert told == [[f"{tmp_path}/bin/phase", words], ["systemctl", "stop", "corral-scout.service"]]
