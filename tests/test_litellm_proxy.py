"""The exported routing in the real LiteLLM proxy, before loopback back ends that count: what stays, and what leaves."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import yaml
from ports import free_port

from deploy.cli.main import run
from deploy.export.litellm import LITELLM

PLAN = Path(__file__).parent / "data" / "export" / "scout-int4.json"
CLASSES = (
    "support=60%,2k/300,claude=claude-haiku-4-5,escalation=25%,fallback=yes,team=care",
    "personnel=20%,1k/200,team=people",
    "law=20%,20k/800,at=claude,claude=eu.anthropic.claude-opus-4-5,team=legal",
)
OPUS, ITS_NAME = "bedrock/eu/claude-opus-4-5", "eu.anthropic.claude-opus-4-5-20251101-v1:0"
"""As the comparison says it, and as Bedrock is asked for it."""
REQUESTS = 20
REPLICAS: dict[str, tuple[str, ...]] = {"stays": (), "leaves": ("--fallback-to-claude",)}
"""The names of two replicas of each kind."""
KILLED = "-killed"
"""After such a name: of two replicas one of which is a process that is killed while it has requests."""
HOLDS = """
import http.server, threading

class Holding(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print("asked", flush=True)
        threading.Event().wait()

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Holding)
print(server.server_port, flush=True)
server.serve_forever()
"""
AGAIN = "corral/support/claude"
COMPARED = [
    "compare", "--plan", str(PLAN), "--price-per-hour", "10",
    *(word for each in CLASSES for word in ("--class", each)),
]  # fmt: skip
UP_WITHIN_S = 400
"""The proxy imports for 15 s of a core's time, and the cores may be busy."""
ask = build_opener(ProxyHandler({})).open


class Backend(ThreadingHTTPServer):
    """Answers as vLLM, Claude and Bedrock do, or with 500, and counts the models that are asked for."""

    fails = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One answer of one word, and no connection is kept: who is gone answers nobody."""

    server: Backend

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = unquote(self.path.split("/")[2]) if self.path.endswith("/converse") else body["model"]
        self.server.asked[model] += 1
        if self.server.fails:
            self.send_error(500)
            return
        said: dict[str, Any] = {"id": "1", "model": model}
        if self.path.endswith("/chat/completions"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": "ours"},
                "finish_reason": "stop",
            }
            usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
            said |= {"object": "chat.completion", "created": 1, "choices": [choice], "usage": usage}
        elif self.path.endswith("/converse"):
            message = {"role": "assistant", "content": [{"text": "Claude's"}]}
            usage = {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}
            said = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
        else:
            said |= {"type": "message", "role": "assistant", "stop_reason": "end_turn", "stop_sequence": None}
            said |= {"content": [{"type": "text", "text": "Claude's"}]}
            said |= {"usage": {"input_tokens": 3, "output_tokens": 1}}
        answer = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing to the terminal."""


@contextmanager
def answering() -> Iterator[Backend]:
    with Backend() as backend:
        Thread(target=backend.serve_forever, daemon=True).start()
        try:
            yield backend
        finally:
            backend.shutdown()


class Proxy:
    """The proxy that runs, and what it asks."""

    def __init__(
        self, url: str, ours: Backend, claude: Backend, second: Backend, holding: "subprocess.Popen[str]"
    ) -> None:
        self.url, self.ours, self.claude, self.second, self.holding = url, ours, claude, second, holding

    def answer(self, name: str, **further: Any) -> str | int:
        """What the class of that name is answered, or the status of the refusal."""
        asked = {"model": name, "messages": [{"role": "user", "content": "Who?"}], **further}
        headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
        request = Request(f"{self.url}/v1/chat/completions", json.dumps(asked).encode(), headers)
        try:
            with ask(request) as response:
                return str(json.load(response)["choices"][0]["message"]["content"])
        except HTTPError as error:
            with error:
                return error.code

    def lose_ours(self) -> None:
        """End the server of ours, and forget what was asked before."""
        self.ours.shutdown()
        self.ours.server_close()
        self.counted()

    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        """What each side was asked since the last time."""
        found = dict(self.ours.asked), dict(self.claude.asked)
        self.ours.asked.clear()
        self.claude.asked.clear()
        return found


@contextmanager
def holding() -> Iterator["subprocess.Popen[str]"]:
    """A server that tells each request that it gets, and answers none."""
    command = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def executable(need: Callable[[str, str], NoReturn]) -> Path:
    """The proxy's own, as scripts/ci-litellm installs it."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests"
    folder = kept / f"litellm-{LITELLM}"
    if not (folder / "complete").exists():
        need("litellm", "no LiteLLM proxy is installed; run: scripts/ci-litellm")
    return folder / "bin" / "litellm"


@pytest.fixture(scope="module")
def proxy(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("litellm")
    with answering() as ours, answering() as claude, answering() as second, holding() as held:
        assert held.stdout is not None
        of_held = f"http://127.0.0.1:{held.stdout.readline().strip()}"
        assert run([*COMPARED, "--output", str(folder / "compared")]) == 0
        exported = [
            "export",
            str(PLAN),
            "--to",
            "litellm",
            "--endpoint",
            ours.url,
            "--comparison",
            str(folder / "compared"),
        ]
        assert run([*exported, "--output", str(folder)]) == 0
        for name, further in REPLICAS.items():
            add_replicas(folder, name, (ours.url, second.url), further)
            add_replicas(folder, f"{name}{KILLED}", (ours.url, of_held), further)
        port = free_port()
        # Nothing but loopback can be reached: what else it asks for ends at a port where nobody is.
        nowhere = dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": "sk-test",
            "VLLM_API_KEY": "test",
            "ANTHROPIC_API_KEY": "test",
            "ANTHROPIC_API_BASE": claude.url,
            "AWS_BEDROCK_RUNTIME_ENDPOINT": claude.url,
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test"),
            "AWS_REGION_NAME": "eu-central-1",
            **nowhere,
        }
        command = [str(executable), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1"]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                [*command, "--port", str(port)], env=environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                wait(url, process, folder / "log")
                yield Proxy(url, ours, claude, second, held)
            finally:
                process.kill()


def add_replicas(folder: Path, name: str, urls: tuple[str, str], further: tuple[str, ...]) -> None:
    """A second export into the same proxy, which takes long to start: two servers under one name."""
    plan = json.loads(PLAN.read_text())
    plan["serve"]["served_model_name"] = name
    (folder / "plan.json").write_text(json.dumps(plan))
    servers = [word for url in urls for word in ("--endpoint", url)]
    exported = ["export", str(folder / "plan.json"), "--to", "litellm", *servers, *further]
    assert run([*exported, "--output", str(folder / name)]) == 0
    one, added = (yaml.safe_load((place / "config.yaml").read_text()) for place in (folder, folder / name))
    one["model_list"] += added["model_list"]
    for kind in ("fallbacks", "context_window_fallbacks"):
        one["router_settings"][kind] += added["router_settings"].pop(kind, [])
    one["router_settings"] |= added["router_settings"]
    (folder / "config.yaml").write_text(yaml.safe_dump(one))


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers."""
    until = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with ask(f"{url}/health/liveliness"):
                return
        except URLError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_what_stays_and_what_leaves_is_what_the_comparison_says(
    proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many of 20 requests as the shares say, and of the first class a quarter asked again at Claude."""
    assert run([*COMPARED, "--json"]) == 0
    split = json.loads(capsys.readouterr().out)["by_class"]
    scale = REQUESTS / split["total"]["requests_per_month"]
    stays, leaves, answers = 0, Counter[str](), set()
    for each in split["classes"]:
        there, name = round(scale * each["requests_at_claude"]), f"corral/{each['name']}"
        stays += round(scale * each["requests_here"])
        leaves[each["claude"]] += there
        again = [f"{name}/claude"] * there if each["at"] == "here" else []
        asked = [name] * round(scale * each["requests_per_month"])
        answers |= {(name, proxy.answer(name)) for name in asked + again}
    assert answers == {
        ("corral/support", "ours"),
        (AGAIN, "Claude's"),
        ("corral/personnel", "ours"),
        ("corral/law", "Claude's"),
    }
    assert (stays, +leaves) == (16, {"claude-haiku-4-5": 3, OPUS: 4})
    assert proxy.counted() == ({"llama-4-scout": stays}, {"claude-haiku-4-5": 3, ITS_NAME: 4})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stays", "leaves"])
def test_a_replica_that_fails_or_is_gone_sends_nothing_to_claude(proxy: Proxy, name: str) -> None:
    """Though it is asked for that Claude answers where all of them fail."""
    proxy.counted()
    proxy.second.fails = True
    proxy.second.asked.clear()
    assert {proxy.answer(name) for _ in range(3 * REQUESTS)} == {"ours"}
    assert proxy.second.asked[name] > 0, "the one that fails was never asked"
    assert proxy.counted() == ({name: 3 * REQUESTS}, {})


@pytest.mark.slow
def test_a_replica_that_is_killed_with_requests_sends_nothing_to_claude(proxy: Proxy) -> None:
    """SIGKILL while it has some: those and all that come later are answered by the other."""
    proxy.counted()
    names = [f"{name}{KILLED}" for name in REPLICAS]
    assert proxy.holding.stdout is not None
    with ThreadPoolExecutor(4 * REQUESTS) as pool:
        begun = [pool.submit(proxy.answer, name) for name in names for _ in range(REQUESTS)]
        assert proxy.holding.stdout.readline() == "asked\n"
        proxy.holding.kill()
        later = [pool.submit(proxy.answer, name) for name in names for _ in range(REQUESTS)]
        assert {each.result() for each in begun + later} == {"ours"}
    assert proxy.counted() == (dict.fromkeys(names, 2 * REQUESTS), {})


@pytest.mark.slow
def test_nothing_leaves_of_a_class_that_must_stay(proxy: Proxy) -> None:
    """The server is gone: Claude answers the class that falls back, and nobody the one that must stay."""
    proxy.lose_ours()
    names = (
        "corral/support",
        "corral/personnel",
        "corral/personnel/claude",
        "corral/law",
        "claude-haiku-4-5",
    )
    assert {name: proxy.answer(name) for name in names} == {
        "corral/support": "Claude's",
        "corral/personnel": 500,
        "corral/personnel/claude": 400,
        "corral/law": "Claude's",
        "claude-haiku-4-5": 400,
    }
    assert proxy.counted() == ({}, {"claude-haiku-4-5": 1, ITS_NAME: 1})


@pytest.mark.slow
def test_where_all_replicas_are_gone_only_what_was_asked_for_goes_to_claude(proxy: Proxy) -> None:
    proxy.lose_ours()
    proxy.second.shutdown()
    proxy.second.server_close()
    assert (proxy.answer("stays"), proxy.counted()) == (500, ({}, {}))
    assert (proxy.answer("leaves"), proxy.counted()) == ("Claude's", ({}, {"claude-sonnet-5-5": 1}))


@pytest.mark.slow
def test_a_request_may_bring_a_fallback_of_its_own(proxy: Proxy) -> None:
    """What the export warns of."""
    proxy.lose_ours()
    assert proxy.answer("corral/personnel", fallbacks=[AGAIN]) == "Claude's"
    assert proxy.counted() == ({}, {"claude-haiku-4-5": 1})
