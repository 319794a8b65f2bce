"""The real vLLM (CPU) with a tiny Llama 4: start, ready, chat, stop, and the ways it dies, each in one sentence.

The first server starts as yours would; those after it fork their processes (conftest's forking).
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import adapters
import numpy
import pytest
from ports import free_port

from deploy.targets.deployment import Deployment, make
from infra import processes
from serving.model import tiny
from serving.model.tiny import Layout
from serving.probe.lengths import Lengths
from serving.probe.run import run as probe
from serving.probe.server_metrics import figures_in
from serving.probe.spec import Load, Target, Workload
from serving.sizing.fit import engine_version
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import client, health, recipes, server, server_log, stopping
from serving.vllm.endpoint import Endpoint
from serving.vllm.http_door import HttpDoor
from serving.vllm.lora_modules import LoraModule

pytestmark = [pytest.mark.engine, pytest.mark.slow]

EXAMPLES = Path(__file__).parent.parent / "examples"
MAIN = "from deploy.cli.start import main; main()"
RECORDED = Path(__file__).parent / "data/metrics/vllm-0.32.0.txt"
"""By which tests/test_watching.py holds what is exported for Prometheus."""
TOOL_TEMPLATE = Path(__file__).parent / "data/tool_template.jinja"
# A model of random weights would fill a call with blanks for as long as it may.
TERSE = ("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}')
TOOL_OPTIONS = (*next(row.options for row in recipes.recipes() if row.name == "tools"), *TERSE)
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Bern"]}},
    "required": ["city"],
    "additionalProperties": False,
}


class Corral:
    """Runs corral as a user does, in a home of its own."""

    def __init__(self, home: Path, engine: Path, forking: dict[str, str]) -> None:
        self.home, self.forking = home, forking
        self.begun: list[subprocess.Popen[str]] = []
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "HF_"))
        }
        self.environment |= {"CORRAL_HOME": str(home), "CORRAL_VLLM": str(engine)}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        self.begun.append(
            subprocess.Popen(
                [sys.executable, "-c", MAIN, *words],
                env=self.environment | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self.begun[-1]

    def __call__(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run a command to its end; its exit code, stdout and stderr."""
        process = self.start(*words, **environment)
        out, err = process.communicate()
        return process.returncode, out, err

    def deploy(self, name: str, layout: Layout = "text", **changed: Any) -> Deployment:
        """Write a deployment of a tiny model, with some of its serve options changed."""
        return self.deploy_model(name, tiny.make(self.home / "models" / name, layout), **changed)

    def deploy_model(
        self, name: str, checkpoint: Path, lora: tuple[LoraModule, ...] = (), **changed: Any
    ) -> Deployment:
        """The same of a checkpoint, with adapters beside it."""
        options = Options(max_model_len=4096, kv_cache_memory_bytes=2**26, enforce_eager=True, lora=lora)
        plan = answer_for(str(checkpoint), None, "local", options)
        port = {"port": free_port(), "shutdown_timeout": 5}
        serve = plan.serve.model_copy(update=port | changed)
        deployment = make(plan.model_copy(update={"serve": serve}), "local", name)
        deployment.write(self.home / name / "deployment.json")
        return deployment

    def members(self, name: str) -> tuple[int, ...]:
        """The living processes of a deployment's server."""
        return server.members(self.home / name)

    def record(self, name: str) -> server.Server:
        """The record of a server that was started."""
        found = server.load(self.home / name)
        assert found is not None
        return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thing that must happen; the test's own time limit ends a wait for what does not."""
    while not condition():
        time.sleep(0.05)


@pytest.fixture(scope="module")
def corral(
    tmp_path_factory: pytest.TempPathFactory, engine: Path, engine_cache: Path, forking: dict[str, str]
) -> Iterator[Corral]:
    """corral in a home of its own, and nothing of any server left afterwards."""
    corral = Corral(tmp_path_factory.mktemp("home"), engine, forking)
    corral.environment["HOME"] = str(tmp_path_factory.mktemp("user"))  # what is written there can be searched
    (corral.home / "cache").symlink_to(engine_cache)
    yield corral
    for path in corral.home.glob("*/deployment.json"):
        stopping.kill(path.parent)


@pytest.fixture(autouse=True)
def no_command_left(corral: Corral) -> Iterator[None]:
    """A command ends with its test."""
    yield
    while corral.begun:
        process = corral.begun.pop()
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def endpoint(corral: Corral) -> Endpoint:
    """A serving multimodal toy that takes tools, shared by the tests of a healthy server."""
    corral.deploy("tiny", "multimodal", chat_template=str(TOOL_TEMPLATE), extra_args=TOOL_OPTIONS)
    code, out, err = corral("serve", "tiny", "--json")
    assert code == 0, err
    assert "serve: the architecture is Llama4ForConditionalGeneration" in err
    assert "serve: the server listens" in err
    return Endpoint.model_validate_json(out)


def test_it_is_ready_and_status_says_so(corral: Corral, endpoint: Endpoint) -> None:
    assert client.health(endpoint) == 200
    assert client.models(endpoint) == ("tiny",)
    code, out, _ = corral("status", "tiny", "--json")
    assert (code, json.loads(out)["state"]) == (0, "serving")
    assert health.judge(health.look(endpoint), "tiny").state == "serving"


def test_completions_and_chat_answer_in_the_right_shape(endpoint: Endpoint) -> None:
    asked = {"model": "tiny", "max_tokens": 5, "temperature": 0}
    answer = client.post(
        endpoint, "/v1/completions", asked | {"prompt": "The horse", "ignore_eos": True}, 60
    ).json()
    assert answer["usage"]["completion_tokens"] == 5
    chat = asked | {"messages": [{"role": "user", "content": "Where is the fence?"}]}
    answer = client.post(endpoint, "/v1/chat/completions", chat, 60).json()
    assert answer["choices"][0]["message"]["role"] == "assistant"
    again = client.post(endpoint, "/v1/chat/completions", chat, 60).json()
    assert again["choices"][0]["message"]["content"] == answer["choices"][0]["message"]["content"]


def test_a_tool_is_called_with_its_arguments(endpoint: Endpoint) -> None:
    """Where the model must write the call as Llama 4 does, and where a named tool's schema is what it must write."""
    question = [{"role": "user", "content": "Is it warm?"}]
    asked = {"model": "tiny", "max_tokens": 60, "messages": question}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    forced = {"structured_outputs": {"choice": ['[get_weather(city="Bern")]']}}
    plain, written, named = (
        client.post(endpoint, "/v1/chat/completions", asked | extra, 60).json()
        for extra in (
            {},
            {"tools": [tool], **forced},
            {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        )
    )
    call = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
    for answer in (written, named):
        assert answer["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
        (called,) = answer["choices"][0]["message"]["tool_calls"]
        assert called["function"] | {"arguments": json.loads(called["function"]["arguments"])} == {
            "name": "get_weather",
            "arguments": {"city": "Bern"},
        }
    assert written["choices"][0]["finish_reason"] == "tool_calls"
    turns = [
        *question,
        {"role": "assistant", "tool_calls": [{"id": "call-1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call-1", "content": "12 degrees"},
    ]
    after = client.post(
        endpoint, "/v1/chat/completions", asked | {"messages": turns, "tools": [tool]}, 60
    ).json()
    assert after["usage"]["prompt_tokens"] > written["usage"]["prompt_tokens"]
    own = {"tools": [{"name": "get_weather", "input_schema": WEATHER}]}
    said = client.post(
        endpoint,
        "/v1/messages",
        asked | own | {"tool_choice": {"type": "tool", "name": "get_weather"}},
        60,
    ).json()
    used = [each for each in said["content"] if each["type"] == "tool_use"]
    assert [(each["name"], each["input"]) for each in used] == [("get_weather", {"city": "Bern"})]


@pytest.mark.parametrize("example", ["ask_openai.py", "ask_anthropic.py"])
def test_an_example_is_answered_as_its_first_lines_say(
    example: str, corral: Corral, endpoint: Endpoint
) -> None:
    _, status, _ = corral("status", endpoint.served_model_name, "--json")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), "Where is the fence?"],
        input=status,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\n[1-9]\d* tokens in, [1-9]\d* out\n", done.stderr)
    assert done.stdout


def test_the_key_is_needed_and_is_in_no_argument_and_no_document(corral: Corral, endpoint: Endpoint) -> None:
    stranger = endpoint.model_copy(update={"api_key_file": None})
    assert client.get(stranger, "/v1/models", 10).status_code == 401
    assert endpoint.api_key_file is not None
    key = endpoint.api_key_file.read_text().strip()
    place = corral.home / "tiny"
    for text in (
        *(Path(f"/proc/{pid}/cmdline").read_text() for pid in corral.members("tiny")),
        *(path.read_text() for path in place.glob("*.json")),
        server.log_text(place),
    ):
        assert key not in text


def test_the_kv_cache_is_what_the_planner_said_to_the_token(corral: Corral, endpoint: Endpoint) -> None:
    planned = Deployment.read(corral.home / "tiny" / "deployment.json").plan.kv
    said = client.cache_config(endpoint)
    assert (int(said["kv_cache_size_tokens"]), int(said["num_gpu_blocks"])) == (
        planned.tokens,
        planned.num_blocks,
    )
    log = server.log_text(corral.home / "tiny")
    logged = re.search(
        r"KV cache size: ([\d,]+) tokens, Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x", log
    )
    assert logged is not None
    assert int(logged[1].replace(",", "")) == planned.tokens
    assert float(logged[2]) == round(planned.max_concurrency, 2)
    read = server_log.read(log, "it")
    known = (read.vllm_version, read.device, read.kv_cache_tokens, read.tensor, read.loading_gib)
    assert known == (engine_version(), "CPU", planned.tokens, 1, None)
    assert "tiny" in read.models


def test_it_tells_every_figure_that_a_probe_samples(endpoint: Endpoint) -> None:
    """Under the names of this very release: one that it renames would be missing on the page without a word."""
    with closing(HttpDoor(endpoint.base_url, {}, 60.0)) as door:
        answer = door.ask("GET", "/metrics")
    assert (answer.status_code, figures_in(answer.text)) == (
        200, {"running": 0.0, "waiting": 0.0, "kv_cache_usage": 0.0, "preemptions": 0.0},
    )  # fmt: skip
    recorded = {line.split("{")[0] for line in RECORDED.read_text().splitlines() if line.startswith("vllm:")}
    assert {name for name in recorded if f"\n{name}{{" not in answer.text} == set()


def test_a_probe_reads_its_responses_to_the_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """The events of /v1/responses, its usage and its reason, as this very release streams them."""
    target = Target(
        base_url=endpoint.base_url,
        api="responses",
        model=endpoint.served_model_name,
        api_key_file=endpoint.api_key_file,
    )
    work = Workload(input_tokens=Lengths(low=40), output_tokens=Lengths(low=16))
    report = probe(target, Load(shape="concurrency", concurrency=2, requests=4), work, tmp_path / "probe")
    assert (report.succeeded, report.errors, report.output_tokens, report.finish_reasons) == (
        4, {}, 64, {"length": 4},
    )  # fmt: skip
    assert (report.input_tokens, report.exact_input_fraction) == (160, 1.0)
    assert 4 < report.chunks <= 64  # on a busy machine it sends several tokens in one event


def test_a_probe_sends_it_no_prompt_that_its_context_has_no_room_for(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """It counts what is longer than its context, and refuses what is sent of it."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": "Why? " * words}) + "\n" for words in (9, 9000)))
    target = Target(
        base_url=endpoint.base_url, model=endpoint.served_model_name, api_key_file=endpoint.api_key_file
    )
    work = Workload(input_tokens=Lengths(low=1), output_tokens=Lengths(low=2), prompts_file=prompts)
    report = probe(target, Load(shape="concurrency", concurrency=1, requests=2), work, tmp_path / "probe")
    assert (report.succeeded, report.errors) == (2, {})
    assert (
        "1 of 2 prompts are left out: with their answers they are longer than the 4,096 tokens that this server allows"
        in report.notes
    )


def test_it_writes_only_into_its_folder(corral: Corral, endpoint: Endpoint) -> None:
    """Every file its processes have open for writing is below its home, or a device, or nameless shared memory."""
    places = {
        os.readlink(link)
        for pid in corral.members("tiny")
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.exists() and os.stat(link).st_mode & 0o170000 == 0o100000
    }
    inside = (
        str(corral.home),
        "/dev/shm/",
        "/proc/",
        str(Path(corral.environment["CORRAL_VLLM"]).parent.parent),
    )
    assert {place for place in places if not place.startswith(inside)} == set()


# What the toy itself says and finds likely (2026-11-29): of any other text it knows nothing that could be lost.
LIKELY_TEXTS = (
    "sometherthos onlther othbecmanyare usmod movmach",
    "anotherwould wherewillfirsfou neatheir ol clkno machibec",
    "veryfromnightleft heaaftcrogreatquestionbecausecamoutmem",
    "overleft ofleft heabecroaleftbeccach modwhen which",
    "since unde undepricekno unde unde unde unde often betwe whilestil",
    "tokenveryhavreswould thanhavbefore placam cac bot guard",
)
DAMAGED = "engine-killed"
"""A toy that serves beside the first one, until its engine is killed: a start is a minute."""


def damage(folder: Path) -> None:
    """Every weight of a checkpoint off by a good part of itself."""
    random = numpy.random.default_rng(5)
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        halves = numpy.frombuffer(data, numpy.uint16, offset=begin)
        weights = (halves.astype(numpy.uint32) << 16).view(numpy.float32)
        noise = 1 + numpy.float32(0.4) * random.standard_normal(len(weights), dtype=numpy.float32)
        path.write_bytes(data[:begin] + tiny.bfloat16(weights * noise).tobytes())


def serve_damaged(corral: Corral) -> None:
    """Serve it; at once where it serves already."""
    if not (corral.home / DAMAGED).exists():
        corral.deploy(DAMAGED, "multimodal")
        damage(corral.home / "models" / DAMAGED)
    code, _, err = corral("serve", DAMAGED, **corral.forking)
    assert code == 0, err


IN_FLOAT32 = "float32"
"""The first toy once more, in another precision."""


def serve_in_float32(corral: Corral) -> None:
    """Serve it."""
    corral.deploy_model(IN_FLOAT32, corral.home / "models" / "tiny", dtype="float32")
    code, _, err = corral("serve", IN_FLOAT32, **corral.forking)
    assert code == 0, err


SERVED: dict[str, Callable[[Corral], None]] = {DAMAGED: serve_damaged, IN_FLOAT32: serve_in_float32}


@pytest.mark.parametrize(
    ("name", "kl", "ratio", "same"),
    [
        ("tiny", (0.0, 0.0), (1.0, 1.0), (1.0, 1.0)),
        (IN_FLOAT32, (0.0005, 0.005), (0.9, 1.1), (0.5, 1.0)),
        (DAMAGED, (0.02, 5.0), (1.5, 100.0), (0.0, 0.5)),
    ],
)
def test_quality_tells_itself_another_precision_and_damage_apart(
    name: str,
    kl: tuple[float, float],
    ratio: tuple[float, float],
    same: tuple[float, float],
    corral: Corral,
    endpoint: Endpoint,
    tmp_path: Path,
) -> None:
    """Each figure from the least to the most it may be; itself is itself to the last digit."""
    if name in SERVED:
        SERVED[name](corral)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps({"text": text}) for text in LIKELY_TEXTS))
    asked = ("--texts", str(texts), "--answer-tokens", "8", "--json")
    code, out, err = corral("quality", "tiny", name, *asked)
    assert code == 0, err
    found = json.loads(out)
    assert found["noise"]["kl_per_token"]["mean"] == 0.0
    assert kl[0] <= found["kl_per_token"]["mean"] <= kl[1]
    assert ratio[0] <= found["perplexity"]["b_over_a"]["mean"] <= ratio[1]
    assert same[0] <= found["agreement"]["same"]["mean"] <= same[1]
    assert found["finding"] == ("no difference shown" if name == "tiny" else "different")
    if name == IN_FLOAT32:
        stopping.kill(corral.home / name)


def test_the_next_release_is_tried_and_kept(corral: Corral, endpoint: Endpoint, tmp_path: Path) -> None:
    """The same engine, told something else, at the same address and with the same key."""
    plan = Deployment.read(corral.home / "tiny" / "deployment.json").plan
    serve = plan.serve.model_copy(update={"max_num_seqs": 8})
    plan.model_copy(update={"serve": serve}).write(tmp_path / "next.json")
    before = corral.record("tiny").leader
    # How fast so small a server is, is what else runs beside it.
    asked = ("upgrade", "tiny", str(tmp_path / "next.json"), "--slower-at-most", "100%", "--json")
    code, out, err = corral(*asked, **corral.forking)
    assert code == 0, err
    done = json.loads(out)
    new, old = done["release"], done["previous"]
    assert (done["changed"], new["outcome"], new["previous"]) == (True, "accepted", old["id"])
    assert [(each["figures"]["requests"], each["figures"]["failed"]) for each in (old, new)] == [(16, 0)] * 2
    assert all(len(each["answer"]) == 32 for each in (old, new))
    serving = corral.record("tiny")
    assert (serving.endpoint, serving.leader == before) == (endpoint, False)
    assert serving.arguments[serving.arguments.index("--max-num-seqs") + 1] == "8"
    code, out, _ = corral("status", "tiny", "--json")
    assert (code, json.loads(out)["release"]) == (0, new["id"])


@pytest.fixture(scope="module")
def behind(corral: Corral, endpoint: Endpoint, has_haproxy: None) -> Iterator[Endpoint]:
    """The same server behind its gateway, with the key of a person."""
    code, out, err = corral("gateway", "tiny", "--port", str(free_port()), "--json")
    assert code == 0, err
    key = Path(corral.environment["HOME"]) / "alice.key"
    key.write_text(json.loads(corral("keys", "add", "tiny", "alice", "--json")[1])["key"])
    yield endpoint.model_copy(update={"base_url": json.loads(out)["base_url"], "api_key_file": key})
    assert corral("gateway", "stop", "tiny", "--within-s", "0")[0] == 0


def test_behind_its_gateway_the_clients_of_both_apis_are_answered_and_counted_to_the_token(
    corral: Corral, endpoint: Endpoint, behind: Endpoint
) -> None:
    import anthropic
    import openai

    def counted() -> tuple[int, int]:
        told = client.metrics(endpoint)
        return int(told["vllm:prompt_tokens_total"]), int(told["vllm:generation_tokens_total"])

    def used() -> dict[str, Any]:
        found = json.loads(corral("keys", "usage", "tiny", "--json")[1])["usage"]
        return next((each for each in found if each["person"] == "alice"), {"requests": 0})

    assert behind.api_key_file is not None
    key, before = behind.api_key_file.read_text(), counted()
    chat: Any = {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": "Where is it?"}]}
    text: Any = {"model": "tiny", "max_tokens": 5, "prompt": "The horse"}
    response: Any = {"model": "tiny", "max_output_tokens": 16, "input": "Where is it?"}
    with openai.OpenAI(base_url=f"{behind.base_url}/v1", api_key=key, max_retries=0) as gpt:
        assert gpt.models.list().data[0].id == "tiny"
        assert gpt.chat.completions.create(**chat).usage
        chunks = list(
            gpt.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True})
        )
        assert chunks[-1].usage
        assert gpt.completions.create(**text).usage
        assert gpt.completions.create(**text | {"prompt": [7, 8, 9]}).usage
        assert gpt.responses.create(**response).usage
        assert list(gpt.responses.create(**response, stream=True))
        with pytest.raises(openai.BadRequestError):
            gpt.completions.create(**text | {"max_tokens": 10**12})
    with anthropic.Anthropic(base_url=behind.base_url, api_key=key, max_retries=0) as claude:
        assert claude.messages.create(**chat).usage
        assert list(claude.messages.create(**chat, stream=True))[-1].type == "message_stop"
        assert claude.messages.count_tokens(model="tiny", messages=chat["messages"]).input_tokens
    until(lambda: used()["requests"] == 11)
    told = used()
    assert (told["input_tokens"], told["output_tokens"], told["estimated_output_tokens"]) == (
        *(now - then for now, then in zip(counted(), before, strict=True)), 0,
    )  # fmt: skip


def picture(*urls: str) -> dict[str, Any]:
    """A question about images at these addresses."""
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *shown]}]}


def test_behind_its_gateway_nonsense_is_refused_nothing_is_fetched_and_it_serves_on(behind: Endpoint) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = f"127.0.0.1:{listener.getsockname()[1]}/x.png"
        addresses = (
            "http://169.254.169.254/x",
            f"http://{here}",
            f"http://none.invalid@{here}",
            "file:///etc/passwd",
        )
        chats = [picture(url) for url in addresses]
        chats += [{"messages": [{"role": "user", "content": "a"}], "n": 10**9}, {"messages": []}]
        texts: list[dict[str, Any]] = [
            {"prompt": ["a"] * 2000}, {"prompt": [10**9]}, {"prompt": "a", "temperature": -1}
        ]  # fmt: skip
        asked = [("chat/completions", body) for body in chats] + [("completions", body) for body in texts]
        found = [
            client.post(behind, f"/v1/{path}", {"model": "tiny", "max_tokens": 1} | body, 60).status_code
            for path, body in asked
        ]
        of_files = 500  # vLLM takes it for a fault of its own
        assert found == [400, 400, 400, of_files, 400, 400, 400, 400, 400]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert client.canary(behind, 60).completion_tokens == 1


@dataclass(frozen=True)
class Asked:
    """What a server was sent since a time: a word that is nowhere else, as text and as the model's tokens."""

    since: float
    forms: tuple[bytes, bytes]

    def files(self, corral: Corral) -> list[str]:
        """The files written since that hold it: of corral's folder, the user's, temporary ones and the machine's logs.

        Of what lies in the temporary folder, where others write too, corral's own and what is new there.
        """
        shared = Path(tempfile.gettempdir())
        ours = {path for path in shared.iterdir() if path.name.startswith("corral-") or self.is_since(path)}
        places = {path for path in ours if not path.name.startswith("pytest-of-")}
        places |= {corral.home, (corral.home / "cache").resolve(), Path(corral.environment["HOME"])}
        places |= {Path("/var/log"), Path("/var/tmp")}
        below = {
            Path(folder, name) for place in places for folder, _, names in os.walk(place) for name in names
        }
        return sorted(str(path) for path in places | below if self.is_in(path))

    def is_since(self, path: Path) -> bool:
        """Whether a file or folder was changed since."""
        with suppress(OSError):  # another's, and gone in the meantime
            return path.lstat().st_ctime >= self.since
        return False

    def is_in(self, path: Path) -> bool:
        """Whether a file was written since and holds it."""
        with suppress(OSError):
            if self.is_since(path) and stat.S_ISREG(path.lstat().st_mode):
                content = path.read_bytes()
                return any(form in content for form in self.forms)
        return False


@pytest.fixture(scope="module")
def asked(endpoint: Endpoint, behind: Endpoint) -> Asked:
    """Prompts that were answered, streamed, refused, or given up by their client; straight and through its gateway."""
    since = time.time() - 1  # a file's time is that of the kernel's last tick
    word = uuid4().hex
    ids = client.post(endpoint, "/tokenize", {"model": "tiny", "prompt": word}, 60).json()["tokens"]
    text = f"The horse {word}"
    plain = {"model": "tiny", "max_tokens": 5, "prompt": text}
    chat = {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    for at in (endpoint, behind):
        assert [
            client.post(at, f"/v1/{path}", body, 60).status_code
            for path, body in (
                ("completions", plain),
                ("completions", plain | {"stream": True}),
                ("chat/completions", chat),
                ("completions", plain | {"temperature": text}),
                ("completions", plain | {"prompt": 1000 * text}),
                ("chat/completions", chat | {"tools": text}),
            )
        ] == [200, 200, 200, 400, 400, 400]
        with pytest.raises(client.TooLate):
            client.post(at, "/v1/completions", plain | {"max_tokens": 3000, "ignore_eos": True}, 0.2)
    assert client.post(behind, f"/v1/completions?{word}", plain, 60).status_code == 200
    assert client.get(behind, f"/v1/{word}", 60).status_code == 404
    return Asked(since, (word.encode(), ", ".join(map(str, ids[1:-1])).encode()))


def test_a_prompt_is_nowhere_on_the_disk(corral: Corral, asked: Asked) -> None:
    """While it serves; once it was stopped, by the next test. Each place and form is found where it is there."""
    found = corral.home / "tiny" / "found"
    for form in asked.forms:
        found.write_bytes(b"[7, " + form + b", 7]")
        assert asked.files(corral) == [str(found)]
    found.unlink()
    assert asked.files(corral) == []


def test_serving_it_again_returns_at_once_and_stop_leaves_nothing(
    corral: Corral, endpoint: Endpoint, asked: Asked
) -> None:
    """The last test of the shared server."""
    code, out, err = corral("serve", "tiny", "--json")
    assert (code, Endpoint.model_validate_json(out)) == (0, endpoint)
    mapped = processes.shared_memory(corral.members("tiny"))
    code, out, _ = corral("stop", "tiny", "--json")
    assert (code, json.loads(out)["state"]) == (0, "stopped")
    assert corral.members("tiny") == ()
    assert [path for path in mapped if path.exists()] == []
    assert asked.files(corral) == []


@pytest.fixture(scope="module")
def adapted(corral: Corral) -> Endpoint:
    """A serving toy without experts, which vLLM's CPU build adapts; killed by the last of its tests."""
    place = corral.home / "models"
    tuned = LoraModule(name="tuned", path=str(adapters.adapter(place / "tuned")))
    corral.deploy_model("api-killed", adapters.dense(place / "api-killed"), (tuned,))
    code, out, err = corral("serve", "api-killed", "--json", **corral.forking)
    assert code == 0, err
    assert err.endswith("serve: the adapter tuned changes what the model says\n")
    return Endpoint.model_validate_json(out)


def test_an_adapter_answers_by_its_name_and_one_that_matches_nothing_is_refused_before_any_start(
    corral: Corral, adapted: Endpoint
) -> None:
    assert client.models(adapted) == ("api-killed", "tuned")
    asked = {"prompt": "The horse", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    own, tuned = (
        client.post(adapted, "/v1/completions", asked | {"model": name}, 60).json()["choices"][0]["text"]
        for name in ("api-killed", "tuned")
    )
    assert own != tuned
    code, out, _ = corral("status", "api-killed", "--json")
    assert (code, json.loads(out)["adapters"]) == (0, ["tuned"])
    # vLLM says "Success" of these, too, and answers as it does without them.
    held = adapters.tensors(prefix=f"{adapters.HEADER}language_model.model.")
    silent = adapters.adapter(corral.home / "models" / "silent", held)
    code, _, err = corral("serve", "api-killed", "--lora", f"silent={silent}")
    assert (code, "vLLM would apply 0 of the 8 modules of the adapter silent" in err) == (2, True)


@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "vllm serve"])
def test_a_killed_process_is_noticed_and_nothing_of_the_rest_stays(
    corral: Corral, victim: str, request: pytest.FixtureRequest
) -> None:
    """kill -9 of the engine ends the server with exit code 0; kill -9 of the API process leaves orphans."""
    name = DAMAGED if "Engine" in victim else "api-killed"
    if "Engine" in victim:
        serve_damaged(corral)
    else:
        request.getfixturevalue("adapted")
    leader = corral.record(name).leader.pid
    orphans = tuple(pid for pid in corral.members(name) if pid != leader)
    assert orphans
    killed = next(pid for pid in orphans if "EngineCore" in title(pid)) if "Engine" in victim else leader
    os.kill(killed, signal.SIGKILL)
    until(lambda: processes.birth(leader) is None)
    code, out, _ = corral("status", name)
    assert code == 7
    assert out.startswith(f"{name} (local): dead: ")
    if "Engine" in victim:
        assert "a process of the engine was killed from outside" in out
    else:
        assert f"of its processes are left: corral stop {name}" in out
    assert corral("stop", name)[0] == 0
    assert corral.members(name) == ()


def title(pid: int) -> str:
    """What a process calls itself; nothing where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_stop_during_its_start_leaves_nothing(corral: Corral) -> None:
    """vLLM swallows the first SIGTERM while its engine starts, and then hangs; here that start comes to no end."""
    corral.deploy("stopped-early", "text")
    waiting = corral.start("serve", "stopped-early", **corral.forking)

    def engine() -> list[int]:
        return [pid for pid in corral.members("stopped-early") if title(pid).startswith("VLLM::EngineCore")]

    until(lambda: engine() != [])
    os.kill(engine()[0], signal.SIGSTOP)
    assert corral("stop", "stopped-early", "--now")[0] == 0
    assert corral.members("stopped-early") == ()
    _, said = waiting.communicate()
    assert waiting.returncode == 7
    assert said.endswith(
        "error: stopped-early was stopped while it started.\nhint: Start it again: corral serve stopped-early\n"
    )


def test_too_small_a_kv_cache_is_one_sentence(corral: Corral) -> None:
    corral.deploy("small-kv", "text", kv_cache_memory_bytes=2**20, max_model_len=16384, hf_overrides=None)
    code, _, err = corral("serve", "small-kv", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    assert code == 7
    assert "error: The server did not start: one request of 16384 tokens needs " in err
    assert "hint: Lower --max-model-len" in err
    assert corral.members("small-kv") == ()


def test_a_model_that_is_not_there_is_one_sentence(corral: Corral) -> None:
    corral.deploy("no-folder", "text", model="/nonexistent/model")
    code, _, err = corral("serve", "no-folder")
    assert (code, err.splitlines()[-2]) == (4, "error: There is no checkpoint folder at /nonexistent/model.")
    corral.deploy("no-repo", "text", model="nobody/nothing")
    code, _, err = corral("serve", "no-repo", HF_HUB_OFFLINE="1")
    said = "error: Which commit of nobody/nothing to fetch is not known: The Hub cannot be asked about nobody/nothing: "
    assert (code, err.splitlines()[-2][: len(said)]) == (8, said)


def test_a_port_in_use_is_one_sentence(corral: Corral) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        corral.deploy("port", "text", port=port)
        code, _, err = corral("serve", "port")
    assert code == 11
    assert f"error: This machine is not ready: port: {port} is in use." in err
