"""Every parser and door is fuzzed by count: whatever comes in, only the errors that are documented come out.

What once came out otherwise is kept (fuzz_corpus) and tried first. More runs: CORRAL_FUZZ=20 (times as many).
"""

import html
import io
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import fuzz_corpus
import fuzz_words
import fuzzing
import orjson
import pytest
from fuzzing import Target, text
from markupsafe import Markup
from renting import an_order
from test_config import TEXT, VISION
from test_price_list import ONE, PLACE
from test_probe_page import SWEEP
from test_probe_results import ENDING, RUN

from deploy.bundle.manifest import Bundle, Stored
from deploy.cli import run as running
from deploy.cli.main import run
from deploy.costs import measured_load
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.releases.release import Figures as Speed
from deploy.releases.release import Release, Trial
from deploy.releases.started_anew import StartedAnew
from deploy.report import html as report_html
from deploy.report import plots
from deploy.report.comparison_text import comparison_text
from deploy.report.links import hosts
from deploy.targets.deployment import Deployment, make
from deploy.targets.ssh import host_unit, owned_hosts
from deploy.targets.ssh.tunnels import Tunnels
from infra import archive, bounded_json, egress_proof, egress_rules, facts, own_gpus, phase, prices, printable
from infra.aws import price_list, session
from infra.aws.ledger import Ledger
from infra.errors import CorralError
from infra.fetch import checksums, listing
from infra.fetch.checksums import Kept, Manifest
from infra.fetch.hub_answers import Source
from infra.figure import for_page
from infra.onhost import spot
from infra.processes import Birth
from infra.record import Document
from serving.model import checkpoint, safetensors
from serving.model.calibration import Calibration, ServerMemory
from serving.model.calibration import Point as Measured
from serving.model.config import architecture_of, dtype_of, family_of
from serving.model.loaders import kv_cache_of, precision_of
from serving.model.weights import Split, parts, rank_bytes
from serving.probe import page as pages
from serving.probe import prompts, report, results
from serving.probe.apis import APIS
from serving.probe.diff import Change, Difference
from serving.probe.exchange import Answer as Exchange
from serving.probe.exchange import Shot
from serving.probe.exports import csv_text, vllm_bench
from serving.probe.lengths import Lengths
from serving.probe.metrics import Figures
from serving.probe.questions import read_counters
from serving.probe.samples import collect
from serving.probe.sweep_report import Sweep
from serving.probe.tally import Tally
from serving.probe.wire import Response, WireFault
from serving.sizing.capacity import Capacity, Choice, Notch
from serving.sizing.kept_calibrations import Calibrations
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise, Traffic
from serving.vllm import client, diagnosis, health, prometheus, startup_log
from serving.vllm import server as servers
from serving.vllm.endpoint import Endpoint
from serving.vllm.http_door import Answer, HttpDoor
from serving.vllm.serve_options import argv
from serving.vllm.server_words import body_line, wait_s, wait_text

DATA = Path(__file__).parent / "data"
TIMES = int(os.environ.get("CORRAL_FUZZ", "1"))
PLAN = (DATA / "compare" / "plan.json").read_bytes()
PROBE = (DATA / "compare" / "probe.json").read_bytes()
DEPLOYMENT = make(Plan.parse(PLAN, "plan"), "local", "fuzzed").text().encode()
LINE = fuzz_corpus.SPAN


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)


# What is done with each kind of input


def wire(data: bytes) -> None:
    """An answer as it comes from a socket, in three pieces, and its events by every API."""
    for api in APIS.values():
        response, exchange = Response(), Exchange(Shot(0, b"", 3), texts=[])
        third = len(data) // 3 + 1
        payloads = [each for at in (0, third, 2 * third) for each in response.feed(data[at : at + third])]
        payloads += [] if response.complete else response.end()
        exchange.absorb(payloads, 5000, api.read_event, Tally(), late=False)
        exchange.complete(response)
        assert orjson.dumps(results.shortened(exchange.result(0)))


def event(data: bytes) -> None:
    """One event of a stream, by every API."""
    for api in APIS.values():
        exchange = Exchange(Shot(0, b"", 3), texts=[])
        exchange.absorb([data, data], 5000, api.read_event, Tally(), late=True)
        assert orjson.dumps(results.shortened(exchange.result(0)))


def metrics(data: bytes) -> None:
    said = text(data)
    read_counters(said)
    prometheus.labels_of(said, "vllm:cache_config_info")


def header(data: bytes) -> None:
    length = safetensors.header_length(data[:8], 10**9, "x")
    safetensors.parse(data[8 : 8 + length], len(data), "x")


def tensors(data: bytes) -> None:
    safetensors.parse(data, len(data) + 8 + 16, "x")


def config(data: bytes) -> None:
    """A config.json, up to the bytes of a rank."""
    told = checkpoint.json_object(data, "x")
    family_of(told, "x")
    dtype_of(told), precision_of(told), kv_cache_of(told)
    made = architecture_of(told, "x")
    if made.layers < 100:
        from serving.model.models import models

        (scheme, *_) = (each.scheme for each in models()["scout"].checkpoints.values())
        rank_bytes(parts(made, scheme), made, Split(tensor=2), text_only=False)


def document(kind: type[Document]) -> Callable[[bytes], object]:
    """A document of that kind, and its text again."""
    return lambda data: kind.parse(data, "x").text()


def told(data: bytes) -> None:
    comparison_text(Comparison.parse(data, "x"))


def plan(data: bytes) -> None:
    argv(Plan.parse(data, "x").serve)


def raw_results(data: bytes) -> None:
    path = Path("results.jsonl")
    path.write_bytes(lines(RUN.model_dump_json().encode()) + data)
    run_, records = results.read(path)
    figures = Figures(run_, collect(records))
    figures.report(), vllm_bench(figures), csv_text(results.read(path)[1])


def first_line(data: bytes) -> None:
    path = Path("results.jsonl")
    path.write_bytes(data.replace(b"\n", b" ") + b"\n" + lines(*[LINE] * 30, {"end": asdict(ENDING)}))
    run_, records = results.read(path)
    figures = Figures(run_, collect(records))
    figures.report(), vllm_bench(figures)


def prompt_file(data: bytes) -> None:
    path = Path("prompts.jsonl")
    path.write_bytes(data)
    read = prompts.read(path)
    prompts.check_sayable(read, "completions", path)
    prompts.trace(read, path)


def ledger(data: bytes) -> None:
    path = Path("ledger.jsonl")
    path.write_bytes(data)
    kept = Ledger(path)
    kept.calls(), kept.regions(), kept.launched("us-east-1"), kept.unanswered("us-east-1")
    kept.security_groups("us-east-1")


def tar(data: bytes) -> None:
    list(archive.problems(io.BytesIO(data), reserved=("bin",), needed=("a",)))


class SayingHost:
    """A host that answers everything with the same words."""

    destination = "gpu-1"
    privilege = "root"

    def __init__(self, data: bytes) -> None:
        self.said = text(data)

    def run(self, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(stdout=self.said, stderr=self.said, code=0)

    def facts(self) -> facts.HostFacts:
        return facts.parse(self.said)


def host(data: bytes) -> None:
    """What a host says of itself, of its units and its deployments."""
    there: Any = SayingHost(data)
    host_unit.state("scout", there)
    seen = owned_hosts.HostState(host="h", facts=there.facts(), deployments={}, owners={})
    assert printable.printable(owned_hosts.described(owned_hosts.Inventory(hosts=(seen,))))


def lock(data: bytes) -> None:
    egress_rules.loaded(text(data))


def look(data: bytes) -> None:
    seen = egress_proof.look(text(data))
    proof = egress_proof.Proof(host="h", unit="u", completions=1, before=seen, after=seen, rules_sha256="")
    egress_proof.problems(proof)


def journal(data: bytes) -> None:
    """A log, a console, a session: what a box says line by line."""
    said = text(data)
    startup_log.phases(said.splitlines())
    diagnosis.explain(said)
    phase.last_phase(said, "scout")
    phase.phase_of(said)
    heard = session.Heard("i-1", "corral-mark")
    list(heard.lines(data)), list(heard.lines(data))
    session.answer_in(said, "corral-mark")


def words(data: bytes) -> None:
    """A header, an error's body, a line to print."""
    said = text(data)
    wait_s(said), wait_text(said)
    for line in (body_line(data), printable.one_line(said), printable.sentence(said)):
        assert "\n" not in line
    shown = printable.printable(said)
    assert all(letter in "\n\t" or printable.as_printed(letter) == letter for letter in shown)


def price(data: bytes) -> None:
    price_list.price_in([text(data)], *PLACE, date(2026, 11, 24))


def kept_prices(data: bytes) -> None:
    path = Path("prices.json")
    path.write_bytes(data)
    prices.read_at.cache_clear()
    prices.read_at(path, 0)


def answers(data: bytes) -> None:
    """A server that says the same to every question."""
    answer = Answer(200, {"retry-after": text(data)[:80]}, data)  # type: ignore[arg-type]
    HttpDoor.ask = lambda *_, **__: answer  # type: ignore[method-assign]
    there = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m")
    health.judge(health.look(there), "m")
    client.canary(there, 1.0)


def any_json(data: bytes) -> None:
    bounded_json.load(data)


METRICS = b"""# HELP a b\nvllm:prompt_tokens_total{engine="0",m="a b} c"} 40.0
vllm:generation_tokens_total 2.5 1700000000000
vllm:cache_config_info{block_size="16",note="a \\"q\\" b"} 1.0\nvllm:num_preemptions_total NaN\nd{le="+Inf"} +Inf\n"""
STREAM = b"""HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"""
EVENTS = [
    {"choices": [{"text": "a", "finish_reason": None}], "usage": None},
    {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}],
     "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3, "input_tokens": 2}},
    {"type": "message_start", "message": {"usage": {"input_tokens": 2, "cache_read_input_tokens": 1}}},
    {"type": "error", "error": {"type": "overloaded", "message": "no"}}, {"error": {"message": "no"}},
    {"message": "no"},
]  # fmt: skip
CHUNKS = b"".join(b"%x\r\ndata: %s\n\n\r\n" % (len(each) + 8, each) for each in map(orjson.dumps, EVENTS[:2]))
ROW = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}
HEADER = orjson.dumps(
    {"__metadata__": {"format": "pt"}, "a.weight": ROW, "b": ROW | {"data_offsets": [8, 16]}}
)
CONFIG = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": TEXT, "vision_config": VISION,
          "torch_dtype": "bfloat16",
          "quantization_config": {"quant_method": "fp8", "groups": [{"num_bits": 4}]}}  # fmt: skip
LOOK = {
    "hostname": "h", "boot_id": "b", "kernel": "k", "pid": 5, "uid": 6, "rules": "r", "rules_at_start": "r", "nft": "",
    "sockets": ["127.0.0.1 80", "10.0.0.1 443"],
    "attempts": [{"target": "x", "tried": True, "connected": False, "said": "no", "dropped": 1}],
}  # fmt: skip
RULE = {"rule": {"chain": "output", "expr": [
    {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 6}},
    {"goto": {"target": "server"}}]}}  # fmt: skip
LOCK = {"nftables": [{"counter": {"name": "dropped", "packets": 1, "bytes": 2}}, RULE]}
ENTRY = {"at": "2026-11-24T00:00:00Z", "number": 1, "event": "done", "service": "ec2", "operation": "RunInstances",
         "region": "us-east-1", "parameters": {"ClientToken": "t"},
         "answer": {"Instances": [{"InstanceId": "i-1"}], "GroupId": "g"}}  # fmt: skip
GROUP = ENTRY | {"number": 2, "operation": "CreateSecurityGroup"}
JOURNAL = b"""corral: scout: preparing: the engine\r\ncorral-mark\nout\n\ncorral-mark 0
(APIServer pid=1) INFO 11-24 00:00:00 [x.py:1] Resolved architecture: Llama4
KV cache size: 97,541 tokens, Maximum concurrency for 8,192 tokens per request: 11.91x
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
corral: scout: failed: installing the engine, line 104\n"""
OPENAI = {"model": "m", "choices": [{"text": "a"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1},
          "data": [{"id": "m"}, {"id": "n"}]}  # fmt: skip
TAR_HEADER = b"a".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"00000000003\0" + b"00000000000\0"
TAR_SUM = b"%06o\0 " % (sum(TAR_HEADER) + 8 * 32 + ord("0"))
TAR = (TAR_HEADER + TAR_SUM + b"0").ljust(512, b"\0") + b"abc".ljust(512, b"\0") + bytes(1024)

COMPARISON = compare(
    Plan.parse(PLAN, "plan"),
    measured_load.Measured(report.ProbeReport.parse(PROBE, "probe")),
    Question(),
    date(2026, 11, 24),
)
DATES = [b"Thu, 26 Nov 2026 12:00:30 GMT", b"2 Oct 39011111111 07:19"]
REFUSAL = b"HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\nabc"
PRICES = orjson.dumps({"document": "prices", "schema_version": 1, "prices": [
    {"instance_type": "g5.12xlarge", "usd_per_hour": "5.672", "region": "us-east-1", "purchase": "on-demand",
     "checked_on": "2026-11-24", "source": "x"}]})  # fmt: skip

TARGETS: dict[str, Target] = {
    "wire": Target(wire, [STREAM + CHUNKS + b"0\r\n\r\n", REFUSAL], (WireFault,)),
    "event": Target(event, [orjson.dumps(each) for each in EVENTS], fields=1200),
    "metrics": Target(metrics, [METRICS], ()),
    "safetensors header": Target(header, [len(HEADER).to_bytes(8, "little") + HEADER + bytes(16)]),
    "safetensors tensors": Target(tensors, [HEADER], fields=500),
    "config.json": Target(config, [orjson.dumps(CONFIG), orjson.dumps(CONFIG["text_config"])], fields=1200),
    "plan": Target(plan, [PLAN], fields=2500),
    "deployment": Target(document(Deployment), [DEPLOYMENT], fields=600),
    "probe": Target(document(report.ProbeReport), [PROBE], fields=1200),
    "results": Target(raw_results, [lines(LINE, {"end": asdict(ENDING)})], changes=60),
    "results line": Target(
        lambda data: raw_results(lines(*[LINE] * 30) + data.replace(b"\n", b" ") + b"\n"),
        [orjson.dumps(LINE), orjson.dumps({"end": asdict(ENDING)})], fields=250, changes=40,
    ),
    "results first line": Target(first_line, [RUN.model_dump_json().encode()], fields=250, changes=40),
    "prompts": Target(prompt_file, [lines({"prompt": "a", "output_tokens": 3, "time_s": 0.5}),
        lines({"messages": [{"role": "user", "content": "a"}], "timestamp": 5, "input_length": 3})], changes=200),
    "prompts line": Target(prompt_file, [orjson.dumps({"messages": [{"role": "user", "content": [{"text": "a"}]}],
        "time_s": 0.5, "input_tokens": 5, "max_tokens": 5})], fields=400, changes=50),
    "ledger": Target(ledger, [lines(ENTRY, GROUP)], (), changes=200),
    "ledger line": Target(ledger, [orjson.dumps(ENTRY), orjson.dumps(GROUP)], (), fields=600, changes=50),
    "tar": Target(tar, [TAR], ()),
    "host": Target(host, [(DATA / "hosts" / "debian.txt").read_bytes() + b"Record=yes\nNRestarts=3\nPhase=a\n"]),
    "lock": Target(lock, [orjson.dumps(LOCK)], fields=600, changes=100),
    "look": Target(look, [orjson.dumps(LOOK), orjson.dumps(LOOK | {"nft": orjson.dumps(LOCK).decode()})], fields=600),
    "journal": Target(journal, [JOURNAL], ()),
    "words": Target(words, [*DATES, b"<html><title>a</title>", b"7"], (), changes=800),
    "comparison told": Target(told, [COMPARISON.text().encode()], fields=400, changes=30),
    "price": Target(price, [ONE.encode()], (ValueError,), fields=500, changes=100),
    "kept prices": Target(kept_prices, [PRICES], (), fields=400, changes=100),
    "answers": Target(answers, [orjson.dumps(OPENAI), METRICS], fields=500, changes=100),
    "json": Target(any_json, [PLAN[:600], b'{"a": [1, 2.5, null, true, "\\u00e9"]}'], (ValueError,), fields=100),
}  # fmt: skip
MADE = datetime(2026, 11, 24, tzinfo=UTC)
SEED_PLAN = Plan.parse(PLAN, "plan")
CHOICE = Choice(machine="g5.12xlarge", gpu="A10G", gpus_per_machine=4, precision="int4", tensor=4, pipeline=1,
                replicas_per_machine=1, verdict="fits", feasible=True, usd_per_hour=Decimal("5.672"))  # fmt: skip
LOOKED = egress_proof.look(orjson.dumps(LOOK).decode())
# A valid one of each kind, with something in every list.
DOCUMENTS: tuple[Document, ...] = (
    Bundle(
        name="scout", corral_version="1", plan=SEED_PLAN, vllm_version="0.33.0", architecture="x86_64", python="3.11",
        min_driver=580, licences=("LICENSE",), files=(
            Stored(path="plan.json", size_bytes=5, sha256="a" * 64),
            Stored(path="engine.tar.part-0001", size_bytes=5, sha256="b" * 64, part_of="engine.tar"),
        ),
    ),
    an_order(),
    Tunnels(local_ports={"gpu-1": 8001}),
    SWEEP,
    Difference(
        a=("a",), b=("b",), basis="between runs", rule="x", unlike=("seed",), warnings=("x",), within_noise=(),
        different=(Change(figure="TTFT p50", a=0.1, b=0.2, low=0.05, high=0.15, p=0.01, could_show=0.1),),
    ),
    Capacity(
        model="scout", promise=Promise(ttft_s=2.0), choices=(CHOICE,), plan=SEED_PLAN,
        traffic=Traffic(requests_per_s=2.0, peak_factor=2.0, input_tokens=Lengths(low=9), output_tokens=Lengths(low=9)),
        notches=(Notch(change="more", choice="x", usd_per_month=Decimal("1.5"), more_usd_per_month=None),),
    ),
    CALIBRATIONS := Calibrations(calibrations=(Calibration(
        gpu="A10G", model="scout", precision="int4", tensor=4, pipeline=1, data=1, vllm_version="0.33.0",
        memory=ServerMemory(
            vllm_version="0.33.0", loading_gib=15.5, kv_cache_gib=1.15, graphs_gib=0.5, max_model_len=8192,
            max_num_seqs=64, max_num_batched_tokens=2048, gpu_memory_utilization=0.95, enforce_eager=False,
            text_only=True, max_position_embeddings=8192, read_at=MADE,
        ),
        updated_at=MADE, points=(Measured(
            concurrency=8, input_tokens=9, output_tokens=9, tpot_s=0.02, ttft_s=0.2, measured_at="x", queue_s=0.1,
        ),),
    ),)),
    servers.Server(
        leader=Birth(pid=5, start_ticks=6, boot_id="b"), started_at=MADE, vllm=Path("/v"), vllm_version="0.33.0",
        arguments=("serve",), shutdown_timeout_s=1, load_budget_s=60, stopped_at=MADE,
        endpoint=Endpoint(base_url="http://127.0.0.1:1", served_model_name="m", api_key_file=Path("/k")),
    ),
    Release(
        id="0" * 12, vllm_version="0.33.0", deployment=Deployment.parse(DEPLOYMENT, "deployment"), previous="1" * 12,
        tried_at=MADE, outcome="taken back", why="x", answer=("a",),
        figures=Speed(output_tokens_per_s=5.0, ttft_p50_s=0.1, requests=16, failed=0),
    ),
    Trial(release="0" * 12, begun_at=MADE, by=Birth(pid=5, start_ticks=6, boot_id="b")),
    StartedAnew(at=MADE, replicas=("gpu1",)),
    session.Tunnel(instance_id="i-1", local_port=8000, holder=Birth(pid=5, start_ticks=6, boot_id="b")),
    egress_proof.Egress(
        name="scout", made_at=MADE, verdict="proved", problems=("x",), completions=1, limits=egress_proof.LIMITS,
        hosts=(egress_proof.Proof(host="h", unit="u", completions=1, before=LOOKED, after=LOOKED, rules_sha256=""),),
    ).sealed(),
)  # fmt: skip
TARGETS |= {
    each.kind: Target(document(type(each)), [each.text().encode()], fields=60, changes=40)
    for each in DOCUMENTS
}


# Pages made of documents


class Tags(HTMLParser):
    """Which tags a page has, each with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[tuple[str, ...]] = set()
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add((tag, *(name for name, _ in attrs)))
        self.seen |= {
            ("a", value or "") for _, value in attrs if tag == "a" and urlsplit(value).hostname not in hosts()
        }

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def harmless(page: str) -> None:
    """No tag and no attribute but those of the page's own."""
    assert Tags(page).seen <= OF_PAGES


OF_PAGES = {
    ("html", "lang"), ("head",), ("meta", "charset"), ("meta", "name", "content"), ("meta", "http-equiv", "content"),
    ("title",), ("style",), ("body",), ("main",), ("h1",), ("h2",), ("p",), ("p", "class"), ("div", "class"), ("b",),
    ("ul",), ("li",), ("figure",), ("figcaption",), ("table",), ("table", "class"), ("tr",), ("tr", "class"), ("th",),
    ("th", "class"), ("td",), ("td", "class", "data-of"), ("td", "data-of"), ("td", "data-of", "data-whose"),
    ("a", "href"), ("svg", "role", "aria-label"),
}  # fmt: skip


def probe_page(data: bytes) -> None:
    """Of results whose first line, which says what was asked, is anything; but for its plots."""
    path = Path("results.jsonl")
    path.write_bytes(data.replace(b"\n", b" ") + b"\n" + lines(*[LINE] * 30, {"end": asdict(ENDING)}))
    run_, records = results.read(path)
    read = Figures(run_, collect(records)).report()
    harmless(pages.document(f"Probe of {read.model}", pages.report_parts(read)))


def sweep_page(data: bytes) -> None:
    """But for its plots, in which no text of it stands."""
    read = Sweep.parse(data, "x")
    lines = [
        f"<p>{html.escape(read.url)}</p>",
        pages.table([pages.STEP_HEAD, *map(pages.step_row, read.points)], "n"),
    ]
    harmless(pages.document(f"Sweep of {read.model}", lines))


def report_page(data: bytes) -> None:
    """A comparison with its plan and its probe; of the plots what they say beside the drawing."""
    told = bounded_json.load(data)
    if not isinstance(told, dict) or told.keys() != {"plan", "probe", "comparison"}:
        return
    kinds: tuple[type[Document], ...] = (Plan, report.ProbeReport, Comparison)
    read = [kind.parse(orjson.dumps(part), "x") for kind, part in zip(kinds, told.values(), strict=True)]
    harmless(report_html.render(*read))  # type: ignore[arg-type]


PAGE = orjson.dumps(
    {"plan": orjson.loads(PLAN), "probe": orjson.loads(PROBE), "comparison": orjson.loads(COMPARISON.text())}
)
TARGETS |= {
    "probe page": Target(probe_page, [RUN.model_dump_json().encode()], fields=150, changes=20),
    "sweep page": Target(sweep_page, [SWEEP.text().encode()], fields=150, changes=20),
    "report page": Target(report_page, [PAGE], (CorralError, ValueError), fields=100, changes=10),
}


LISTED = {"rfilename": "config.json", "size": 2, "blobId": "a" * 40}
SHARD = {"rfilename": "x.safetensors", "size": 9, "blobId": "b" * 40, "lfs": {"sha256": "c" * 64, "size": 9}}
HUB_SAYS = orjson.dumps(
    {"sha": "d" * 40, "siblings": [LISTED, SHARD, {**LISTED, "rfilename": "model.safetensors.index.json"}]}
)
WEIGHTS_KEPT = Manifest(
    "a/b", "d" * 40, {"config.json": Kept(2, "c" * 64, "a" * 40, 7)}, "2026-11-29T00:00:00Z"
)


def hub_list(data: bytes) -> None:
    """What the Hub says a repository holds, and the index of its weights."""
    source = Source("https://hub", "a/b", "d" * 40)
    files = listing.files_of(listing.parsed(data), source)
    listing.needed(files, listing.parsed(data), source)


def weights_manifest(data: bytes) -> None:
    """The manifest of what was fetched."""
    Path("manifest.json").write_bytes(data)
    checksums.read(Path("manifest.json"))


TARGETS |= {
    "hub list": Target(hub_list, [HUB_SAYS], fields=200, changes=100),
    "weights manifest": Target(weights_manifest, [WEIGHTS_KEPT.text().encode()], fields=200, changes=100),
}

TARGETS |= fuzz_words.TARGETS


def drawn(plan: Plan, probe: object, comparison: Comparison) -> dict[str, Markup]:
    """The plots without their drawing."""
    said = {"volume": comparison.verdict, "utilisation": "x", "memory": plan.machine.name}
    return {name: Markup(for_page("<svg></svg>", name, text)) for name, text in said.items()}


def with_a_tag(value: Any) -> Iterator[Any]:
    """The same with a tag in one of its texts, for each of them."""
    if isinstance(value, str):
        yield f"{value}{NASTY}"
    elif isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            for other in with_a_tag(inner):
                value[key] = other
                yield value
            value[key] = inner


NASTY = "</title></style><script>x</script><img src=x onerror=x>\"' onload=x &lt;b&gt;"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and afterwards the doors as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(own_gpus.VARIABLE, "")
    monkeypatch.setattr(HttpDoor, "ask", HttpDoor.ask)
    monkeypatch.setattr(spot, "asked", spot.asked)
    monkeypatch.setattr(plots, "every", drawn)


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_come_out(name: str, here: None) -> None:
    target = TARGETS[name]
    is_document = isinstance(seed := fuzzing.parsed(target.seeds[0]), dict) and "document" in seed
    outcome = fuzzing.known(target.act, fuzz_corpus.kept(name, is_document), target.typed)
    ours = fuzzing.fuzz(
        target.act, target.seeds, target.typed, TIMES * target.fields, TIMES * target.changes, name
    )
    found = outcome.found | ours.found
    print(f"fuzz: {name}: {outcome.runs + ours.runs} runs, {len(found)} untyped", file=sys.stderr)
    if keep := os.environ.get("CORRAL_FUZZ_KEEP"):
        folder = Path(keep) / name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(found.values()):
            (folder / f"{number}").write_bytes(data)
    assert found == {}


def test_every_target_has_what_it_once_fell_over_and_nothing_is_kept_for_no_target() -> None:
    of_documents = {each.kind for each in DOCUMENTS}
    assert fuzz_corpus.names() - {"document"} <= TARGETS.keys()
    assert TARGETS.keys() - fuzz_corpus.names() - of_documents == set()


PAGES = {
    "probe page": RUN.model_dump_json().encode(),
    "sweep page": SWEEP.text().encode(),
    "report page": PAGE,
}


@pytest.mark.parametrize("name", PAGES)
def test_no_tag_in_a_text_is_one_in_a_page(name: str, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is put into one text after the other; where the document takes it, the page shows it as it is."""
    shown: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "harmless", shown.append)
    for told in islice(with_a_tag(orjson.loads(PAGES[name])), 0, None, EVERY.get(name, 1)):
        with suppress(CorralError, ValueError):
            TARGETS[name].act(orjson.dumps(told))
    monkeypatch.undo()
    assert sum(NASTY in "".join(Tags(page).texts) for page in shown) >= SHOWN[name]
    assert {tags for page in shown for tags in Tags(page).seen} <= OF_PAGES


# How many of the texts of each stand in its page.
SHOWN = {"probe page": 1, "sweep page": 2, "report page": 5}
EVERY = {"report page": 3}  # of its hundreds


# Through the command line: what documents may do to the verbs that read them


COMMANDS = {
    "compare": ["compare", "--plan", "plan.json", "--probe", "probe.json"],
    "compare --json": ["compare", "--plan", "plan.json", "--json"],
    "serve": ["serve", "plan.json", "--dry-run"],
    "export": ["export", "plan.json", "--to", "kubernetes"],
    "calibrate": ["calibrate", "probe.json", "--plan", "plan.json"],
    "provision": ["provision", "plan.json", "--target", "ec2", "--region", "us-east-1", "--dry-run"],
    "size": ["size", "scout", "--precision", "int4", "--on", "g5.12xlarge"],
    "status": ["status"],
    "prices": ["prices"],
}


# The documents each verb reads, and their seeds; the deployment stays on this machine.
READ = {
    "compare": {"plan.json": PLAN, "probe.json": PROBE},
    "calibrate": {"plan.json": PLAN, "probe.json": PROBE},
    "size": {"home/calibrations.json": CALIBRATIONS.text().encode()},
    "status": {"home/fuzzed/deployment.json": DEPLOYMENT},
    "prices": {"home/prices.json": PRICES},
}
STAYS = {"target": "local", "hosts": [], "name": "fuzzed"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_verb_ends_in_a_documented_code_whatever_its_documents_say(
    name: str, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crashes: dict[str, bytes] = {}

    def unexpected(error: Exception) -> CorralError:
        crashes.setdefault(fuzzing.where(error), variant)
        return CorralError("crash")

    monkeypatch.setattr(running, "unexpected", unexpected)
    Path("home/fuzzed").mkdir(parents=True)
    documents, runs, codes = READ.get(name, {"plan.json": PLAN}), 0, set()
    for path, seed in documents.items():
        for other, valid in documents.items():
            Path(other).write_bytes(valid)
        for variant in (seed, *fuzzing.replaced([seed], 100 * TIMES, random.Random(name))):
            if path.endswith("deployment.json") and isinstance(told := fuzzing.parsed(variant), dict):
                variant = fuzzing.json(told | STAYS)
            Path(path).write_bytes(variant)
            codes.add(run(COMMANDS[name]))
            runs += 1
            said = "".join(capsys.readouterr())
            assert printable.printable(said) == said
    print(f"fuzz: {name}: {runs} runs, {len(crashes)} untyped", file=sys.stderr)
    assert crashes == {}
    assert codes <= {0, 2, 3, 4, 5, 9}
