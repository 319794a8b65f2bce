"""The exported line of the real vllm-router, before two servers with one key, of which one is killed."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from fake_server import FakeServer
from ports import free_port
from stubbed import until

from deploy.cli.main import run
from deploy.export.vllm_router import ROUTER

PLAN = Path(__file__).parent / "data" / "export" / "scout-int4.json"
KEY = "sk-of-both"
REQUESTS = 16
ask = build_opener(ProxyHandler({})).open


class Routed:
    """The router, and the servers behind it."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.ports, self.port = (free_port(), free_port()), free_port()
        self.servers = [FakeServer(port=port, key=KEY, ttft_ms=1, itl_ms=5) for port in self.ports]
        words = [word for port in self.ports for word in ("--endpoint", f"http://127.0.0.1:{port}")]
        assert run(["export", str(PLAN), "--to", "vllm-router", *words, "-o", str(folder)]) == 0
        script = folder / "router.sh"
        script.write_text(script.read_text().replace("--port 8080", f"--port {self.port}"))
        environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder)}
        with (folder / "log").open("w") as log:
            self.router = subprocess.Popen([script], env=environment, stdout=log, stderr=log)

    def answer(self, number: int, tokens: int = 3, key: str = KEY) -> int:
        """The status of a stream's whole answer; 0 of one that was broken off."""
        message = {"role": "user", "content": f"{number} words"}
        body = {"model": "fake", "messages": [message], "max_tokens": tokens, "stream": True}
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            with ask(Request(url, json.dumps(body).encode(), head), timeout=120) as answer:
                return int(answer.status) if answer.read().endswith(b"data: [DONE]\n\n") else 0
        except HTTPError as error:
            with error:
                return error.code
        except (OSError, HTTPException):
            return 0

    def asked(self, server: int) -> int:
        """Streams that a server has begun."""
        with ask(f"http://127.0.0.1:{self.ports[server]}/truth") as answer:
            told: dict[str, Any] = json.load(answer)
        return len(told["requests"])

    def end(self) -> None:
        for server in self.servers:
            server.kill()
        self.router.kill()
        self.router.wait()


@pytest.fixture
def routed(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> Iterator[Routed]:
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests"
    folder = kept / f"vllm-router-{ROUTER}"
    if not (folder / "complete").exists():
        need("vllm-router", "vllm-router is not installed; run: scripts/ci-exporters")
    made = Routed(tmp_path, folder / "bin")
    try:
        yield made
    finally:
        made.end()


def test_of_a_replica_that_is_killed_only_what_it_had_is_lost(routed: Routed) -> None:
    until(lambda: routed.router.poll() is None and routed.answer(0) == 200)
    assert routed.answer(0, key="sk-another") == 401, "a caller's key goes to the server, and no other"
    before = [routed.asked(server) for server in (0, 1)]
    with ThreadPoolExecutor(3 * REQUESTS) as pool:
        begun = [pool.submit(routed.answer, number, 1000) for number in range(REQUESTS)]
        until(lambda: routed.asked(0) + routed.asked(1) == sum(before) + REQUESTS)
        had = routed.asked(0) - before[0]
        routed.servers[0].kill()
        later = [pool.submit(routed.answer, number) for number in range(2 * REQUESTS)]
        assert 0 < had < REQUESTS
        assert sorted(each.result() for each in begun) == [0] * had + [200] * (REQUESTS - had)
        assert {each.result() for each in later} == {200}
