"""A model server with a known schedule, for the probe's tests: a process of its own, with a log of the truth.

Started by fake_server.py. GET /truth gives, for each streamed request, when it
was received and when each chunk with tokens was sent, on CLOCK_MONOTONIC, which the probe's clock is too.
"""

import asyncio
import json
import os
import signal
import socket
import ssl
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

MAX_MODEL_LEN = 8192


@dataclass
class Config:
    """How the server behaves. A `fault` strikes every `every`-th streamed request, the first one spared."""

    ttft_ms: float = 20.0
    ttft_step_ms: float = 0.0
    """Added for each request up to `ttft_steps`, then from the start again."""
    ttft_steps: int = 16
    itl_ms: float = 5.0
    stall_ms: float = 0.0
    stall_every: int = 50
    tokens_per_chunk: int = 1
    max_model_len: int = MAX_MODEL_LEN
    """Tokens of a prompt and its answer together; whoever asks for more is refused."""
    capacity: int = 0
    """Whoever comes above this many streams at once is refused."""
    freeze_at: int = -1
    """From this streamed request on, counted from 0, no token leaves until `freeze_for` more have come."""
    freeze_for: int = 0
    ramp_s: float = 0.0
    """For this long after its first request the server is four times slower."""
    fault: str = ""
    every: int = 8
    vllm: bool = True
    usage: bool = True
    empty_closing: bool = False
    framing: str = "chunked"
    closes: bool = False
    """The connection after each stream, without having said so."""
    newline: str = "\n"
    space: str = " "
    split: int = 0
    comments: bool = False
    key: str = ""
    header: str = ""
    """What each request must say, lower case; whoever does not is refused, but for the list of models."""
    query: str = ""
    """What the path of a streamed request must end with."""
    refused_field: str = ""
    """Of a body: whoever sends it is refused, as pydantic says it."""
    length_field: str = ""
    """The only name under which an answer's length is taken."""
    models: str = "list"
    names: tuple[str, ...] = ("fake",)
    """The models that the list has; it answers for one more, `adapter`."""
    counter_factor: float = 1.0
    hit_rate: float = 0.0
    certificate: str = ""
    port: int = 0


@dataclass
class State:
    """What the server counts."""

    requests: int = 0
    in_flight: int = 0
    began_ns: int = 0
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    generated: int = 0
    prompted: int = 0
    truth: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)


def count_tokens(body: dict[str, Any]) -> int:
    """The fake tokenizer: one token a word, one more for words of six letters and over, and one at the start."""
    text = body.get("prompt")
    if text is None:
        text = " ".join(text_of(each["content"]) for each in body.get("messages") or body["input"])
    if isinstance(text, list):  # token ids
        return len(text)
    return 1 + sum(1 + (len(word) > 5) for word in text.split())


def text_of(content: Any) -> str:
    """A message's text, without its images."""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, config: Config, state: State) -> None:
        self.config = config
        self.state = state
        self.buffer = b""
        self.closed = False
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        path, _, query = path.partition("?")
        body = json.loads(rest[:length] or b"{}")
        if method == "POST" and self.refuses(head, query, path, body):
            return
        for name in ("max_completion_tokens", "max_output_tokens"):
            if name in body:
                body["max_tokens"] = body[name]
        self.route(method, path, head, body)

    def refuses(self, head: bytes, query: str, path: str, body: dict[str, Any]) -> bool:
        """Whether a request is not what this server takes."""
        config = self.config
        if config.header and config.header.encode() not in head.lower():
            self.answer(401, {"error": {"message": "a header is missing"}})
        elif config.query and query != config.query:
            self.answer(404, {"error": {"message": "Resource not found"}})
        elif config.length_field and "max_tokens" in body:
            words = f"'max_tokens' is not supported with this model. Use '{config.length_field}' instead."
            self.answer(
                400, {"error": {"message": words, "param": "max_tokens", "code": "unsupported_parameter"}}
            )
        elif config.refused_field in body:
            where = ["body", config.refused_field]
            said = {"type": "extra_forbidden", "loc": where, "msg": "Extra inputs are not permitted"}
            self.answer(422, {"detail": [said]})
        else:
            return False
        return True

    def route(self, method: str, path: str, head: bytes, body: dict[str, Any]) -> None:
        """Answer a question, or begin a stream."""
        if (
            self.config.key
            and f"bearer {self.config.key}".encode() not in head.lower()
            and path.startswith("/v1")
        ):
            self.answer(401, {"error": "Unauthorized"})
        elif path in ("/v1/models", "/v4/models"):
            self.list_models()
        elif path == "/health":
            self.answer(200, {})
        elif path == "/tokenize" and self.config.vllm:
            self.answer(200, {"count": count_tokens(body)})
        elif path == "/v1/messages/count_tokens":
            self.answer(200, {"input_tokens": count_tokens(body)})
        elif path == "/version" and self.config.vllm:
            self.answer(200, {"version": "0.0-fake"})
        elif path == "/metrics" and self.config.vllm:
            self.raw(200, "text/plain", self.metrics().encode())
        elif path == "/truth":
            self.answer(200, {"requests": self.state.truth, "bodies": self.state.bodies})
        elif method == "POST" and path.endswith(("/completions", "/messages", "/responses")):
            if body["model"] not in (*self.config.names, "adapter"):
                self.answer(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
                return
            if count_tokens(body) + body.get("max_tokens", 0) > self.config.max_model_len:  # as vLLM has it
                said = f"This model's maximum context length is {self.config.max_model_len} tokens."
                self.answer(400, {"error": {"message": said}})
                return
            task = asyncio.get_running_loop().create_task(self.stream(path, body))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.answer(404, {"detail": "Not Found"})

    def list_models(self) -> None:
        """The list, or what some other service would say there."""
        owner = "vllm" if self.config.vllm else "someone"
        match self.config.models:
            case "list":
                common = {"owned_by": owner, "max_model_len": self.config.max_model_len}
                listed = [{"id": name} | common for name in self.config.names]
                self.answer(200, {"object": "list", "data": listed})
            case "html":
                self.raw(200, "text/html", b"<html>hello</html>")
            case "redirect":
                self.raw(308, "text/html", b"moved", "location: https://127.0.0.2/v1/models\r\n")
            case "429":
                self.raw(429, "application/json", b'{"error": "slow down"}', "retry-after: 7\r\n")
            case "silent":
                pass
            case "refused":
                self.answer(403, {"error": "forbidden"})
            case "garbage":
                self.transport.write(b"\x00\x01SSH-2.0 nonsense\r\n\r\n")
                self.transport.close()
            case _:
                self.answer(404, {"detail": "Not Found"})

    def metrics(self) -> str:
        """The counters, bent as configured."""
        generated = self.state.generated * self.config.counter_factor
        return (
            f'vllm:num_requests_running{{model_name="fake",engine="0"}} {self.state.in_flight}\n'
            f'vllm:num_requests_waiting{{model_name="fake",engine="0"}} 0\n'
            f'vllm:kv_cache_usage_perc{{model_name="fake",engine="0"}} {self.state.in_flight / 100}\n'
            f'vllm:generation_tokens_total{{model_name="fake",engine="0"}} {generated}\n'
            f'vllm:prompt_tokens_total{{model_name="fake",engine="0"}} {self.state.prompted}\n'
            f'vllm:prefix_cache_queries_total{{engine="0"}} {self.state.prompted}\n'
            f'vllm:prefix_cache_hits_total{{engine="0"}} {self.state.prompted * self.config.hit_rate}\n'
        )

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.raw(status, "application/json", json.dumps(body).encode())

    def raw(self, status: int, kind: str, body: bytes, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    async def stream(self, path: str, body: dict[str, Any]) -> None:
        """One streamed answer, by the schedule."""
        state, config = self.state, self.config
        received_ns = time.monotonic_ns()
        state.began_ns = state.began_ns or received_ns
        number, state.requests = state.requests, state.requests + 1
        frozen = config.freeze_at <= number < config.freeze_at + config.freeze_for
        state.thawed.clear() if frozen else state.thawed.set()
        state.bodies.append(body)
        state.in_flight += 1
        try:
            fault = config.fault if config.fault and number % config.every == 1 % config.every else ""
            if config.capacity and state.in_flight > config.capacity:
                fault = "429"
            if await self.fails_early(fault):
                return
            record: dict[str, Any] = {"received_ns": received_ns, "sent_ns": [], "tokens": body["max_tokens"]}
            state.truth.append(record)
            state.prompted += count_tokens(body)
            await Stream(self, path, body, record, fault).send(number)
        finally:
            state.in_flight -= 1

    async def fails_early(self, fault: str) -> bool:
        """The faults that come in place of a stream."""
        transport = self.transport
        match fault:
            case "429":
                body = b'{"error": {"message": "slow down", "type": "rate_limit"}}'
                self.raw(429, "application/json", body, "retry-after: 0\r\n")
            case "redirect":
                self.raw(307, "text/html", b"moved", "location: http://127.0.0.2:8000/v1/completions\r\n")
            case "keep_alive":
                transport.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
                while not self.closed:
                    transport.write(b": keep-alive\n\n")
                    await asyncio.sleep(0.05)
            case "500":
                self.raw(500, "text/plain", b"boom")
            case "html":
                self.raw(200, "text/html", b"<html>nginx</html>")
            case "garbage":
                transport.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
                transport.close()
            case "close":
                transport.close()
            case "reset":
                linger = struct.pack("ii", 1, 0)  # close with RST
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
            case "silent":
                await asyncio.sleep(3600)
            case "slow_loris":
                for byte in (
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-padding: " + b"x" * 4000
                ):
                    if self.closed:
                        break
                    transport.write(bytes([byte]))
                    await asyncio.sleep(0.05)
            case _:
                return False
        return True


class Stream:
    """One answer on its way."""

    def __init__(
        self, server: Server, path: str, body: dict[str, Any], record: dict[str, Any], fault: str
    ) -> None:
        self.server = server
        self.config = server.config
        self.path = path
        self.body = body
        self.record = record
        self.fault = fault

    async def send(self, number: int) -> None:
        """Head, chunks by the clock, usage, end."""
        state = self.server.state
        self.head()
        if self.path.endswith("chat/completions"):
            self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        if self.path.endswith("messages"):
            usage = {"input_tokens": count_tokens(self.body), "output_tokens": 1}
            self.event({"type": "message_start", "message": {"usage": usage}}, "message_start")
            self.event({"type": "ping"}, "ping")
        due_ns = self.record["received_ns"] + int(self.first_ms(number) * 1e6)
        left = self.body["max_tokens"] if self.fault != "short" else 3
        for index, tokens in enumerate(self.chunks(left)):
            if index:
                due_ns += int(self.gap_ms(index) * 1e6)
            await until(due_ns)
            await state.thawed.wait()
            if self.server.closed or self.strikes(index):
                return
            state.generated += tokens
            self.token(index, tokens)
        self.end(left)

    def chunks(self, tokens: int) -> Iterator[int]:
        """The tokens of each chunk."""
        if self.fault == "endless":
            tokens = 10**9
        while tokens > 0:
            yield min(tokens, self.config.tokens_per_chunk)
            tokens -= self.config.tokens_per_chunk

    def first_ms(self, number: int) -> float:
        """When the first chunk is due."""
        return self.config.ttft_ms + self.config.ttft_step_ms * (number % self.config.ttft_steps)

    def gap_ms(self, index: int) -> float:
        """The gap before this chunk."""
        config = self.config
        slow = 4.0 if time.monotonic_ns() - self.server.state.began_ns < config.ramp_s * 1e9 else 1.0
        stalled = config.stall_ms if config.stall_ms and index % config.stall_every == 0 else 0.0
        return config.itl_ms * slow * config.tokens_per_chunk + stalled

    def strikes(self, index: int) -> bool:
        """The faults in the middle of a stream."""
        transport = self.server.transport
        if index != min(3, self.body["max_tokens"] - 1):
            return False
        match self.fault:
            case "stream_error":
                self.event({"error": {"message": "EngineCore died", "code": 500}})
                self.payload(b"[DONE]")
                self.finish()
            case "cut":
                transport.close()
            case "cut_in_chunk":
                transport.write(b'ff\r\ndata: {"choices"')
                transport.close()
            case "bad_json":
                self.payload(b'{"choices": [{"text": "x"')
                return False
            case "stall":
                return True
            case _:
                return False
        return True

    def token(self, index: int, tokens: int) -> None:
        """One chunk with tokens."""
        text = "".join(" é\u2028"[(index + each) % 3] + "k" for each in range(tokens))
        if self.path.endswith("responses"):
            event = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": text}
        elif self.path.endswith("messages"):
            delta = {"type": "text_delta", "text": text}
            event = {"type": "content_block_delta", "index": 0, "delta": delta}
        elif self.path.endswith("chat/completions"):
            event = {
                "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
                "usage": None,
            }
        else:
            event = {"choices": [{"index": 0, "text": text, "finish_reason": None}], "usage": None}
        if self.body.get("stream_options", {}).get("continuous_usage_stats"):
            so_far = min((index + 1) * self.config.tokens_per_chunk, self.body["max_tokens"])
            event["usage"] = {"prompt_tokens": count_tokens(self.body), "completion_tokens": so_far}
        if self.config.comments:
            self.write(f": keep-alive{self.config.newline * 2}".encode())
        self.record["sent_ns"].append(time.monotonic_ns())
        self.event(event, "content_block_delta" if self.path.endswith("messages") else "")

    def end(self, tokens: int) -> None:
        """The closing chunks."""
        if self.path.endswith("responses"):
            counted = {"input_tokens": count_tokens(self.body), "output_tokens": tokens}
            cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
            self.event(
                {"type": "response.completed", "response": cut | {"usage": counted}}, "response.completed"
            )
        elif self.path.endswith("messages"):
            delta = {"stop_reason": "max_tokens"}
            self.event(
                {"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}}, "message_delta"
            )
            self.event({"type": "message_stop"}, "message_stop")
        else:
            reason = "stop" if self.fault == "short" else "length"
            closing: dict[str, Any] = {"index": 0, "text": "", "delta": {}, "finish_reason": reason}
            self.event({"choices": [closing]})
            if self.config.usage:
                usage = {"prompt_tokens": count_tokens(self.body), "completion_tokens": tokens}
                self.event({"choices": [], "usage": usage})
            self.payload(b"[DONE]")
        self.finish()

    def head(self) -> None:
        framing = {
            "chunked": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
            "close": "HTTP/1.0 200 OK\r\n",
        }[self.config.framing]
        self.server.transport.write(
            f"{framing}content-type: text/event-stream; charset=utf-8\r\n\r\n".encode()
        )

    def event(self, event: dict[str, Any], name: str = "") -> None:
        newline = self.config.newline
        line = f"event: {name}{newline}" if name else ""
        text = json.dumps(event, ensure_ascii=False)
        self.write(f"{line}data:{self.config.space}{text}{newline * 2}".encode())

    def payload(self, payload: bytes) -> None:
        newline = self.config.newline.encode()
        self.write(b"data:" + self.config.space.encode() + payload + newline * 2)

    def write(self, data: bytes) -> None:
        framed = b"%x\r\n%s\r\n" % (len(data), data) if self.config.framing == "chunked" else data
        for start in range(0, len(framed), self.config.split or len(framed)):
            self.server.transport.write(framed[start : start + (self.config.split or len(framed))])

    def finish(self) -> None:
        if self.config.framing == "chunked":
            self.server.transport.write(b"0\r\n\r\n")
        if self.config.framing != "chunked" or self.config.closes:
            self.server.transport.close()


async def until(due_ns: int) -> None:
    """Wait until a moment, and never less: uvloop's timers are of whole milliseconds, so one may end before it."""
    await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
    while time.monotonic_ns() < due_ns:
        await asyncio.sleep(0.001)


async def serve(config: Config) -> None:
    """Serve until the process is ended."""
    context = None
    if config.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config.certificate)
    state = State()
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(config, state), "127.0.0.1", config.port, ssl=context, backlog=1024
    )
    print(os.getpid(), server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def forks() -> None:
    """Fork a server for each line of input, its behaviour; each prints its number and its port (FakeServer)."""
    with suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Linux buries them
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                asyncio.run(serve(Config(**json.loads(line))))
            except BaseException:
                traceback.print_exc()
                print(0, 0, flush=True)
            os._exit(1)
