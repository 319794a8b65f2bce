"""What the fuzzer tries first, the same in each run: what once hung, crashed or got through, and its kin.

Small ones lie in data/fuzz/TARGET, a `.lines` of them one a line; what is large or made of a document is made here.
"""

import copy
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tars

DATA = Path(__file__).parent / "data"
FOLDER = DATA / "fuzz"
PLAN: dict[str, Any] = json.loads((DATA / "compare" / "plan.json").read_text())
PROBE: dict[str, Any] = json.loads((DATA / "compare" / "probe.json").read_text())
DEPLOYMENT = {"document": "deployment", "schema_version": 1, "name": "scout", "target": "ssh", "hosts": ["gpu-1"],
              "created_at": "2026-11-24T00:00:00Z", "plan": PLAN}  # fmt: skip
MODEL = "model: a quote ' in it; touch /tmp/x #"
OUT = "OK: the bundle is whole"
CONTROL = "\x1b]52;c;cm0gLXJm\x07\x1b]0;title\x07\x1b[2J\x1b[H\u202e"


def names() -> set[str]:
    """The targets that something is kept for."""
    return {path.name.replace("-", " ") for path in FOLDER.iterdir()} | MADE.keys()


def kept(target: str, is_document: bool) -> dict[str, bytes]:
    """What is kept for a target, by name; for a document also what is kept for all of them."""
    found: dict[str, bytes] = {}
    for path in FOLDER.glob(f"{target.replace(' ', '-')}/*"):
        each = path.read_bytes().split(b"\n")[:-1] if path.suffix == ".lines" else [path.read_bytes()]
        found |= {f"{path.name}-{number}": data for number, data in enumerate(each)}
    makers = MADE.get(target, {}) | (MADE["document"] if is_document else {})
    return found | {name: make() for name, make in makers.items()}


def changed(document: dict[str, Any], value: Any, *way: str | int) -> Callable[[], bytes]:
    """The document with another value there."""

    def make() -> bytes:
        made = copy.deepcopy(document)
        place: Any = made
        for step in way[:-1]:
            place = place[step]
        place[way[-1]] = value
        return json.dumps(made).encode()

    return make


def plans(*way: str) -> dict[str, Callable[[], bytes]]:
    """Plans that are none of a friend's, `way` down in a document that holds one."""
    whole = DEPLOYMENT if way else PLAN
    said: dict[str, tuple[Any, tuple[str | int, ...]]] = {
        "an option as a model": ("--trust-remote-code", ("serve", "model")),
        "a quote in a model": (MODEL, ("serve", "model")),
        "keys as a model": ("/root/.ssh", ("serve", "model")),
        "keys as a template": ("/root/.aws/credentials", ("serve", "chat_template")),
        "a link as a template": ("/proc/self/root/etc/shadow", ("serve", "chat_template")),
        "a plug-in": (["--reasoning-parser-plugin", "/tmp/x.py"], ("serve", "extra_args")),
        "a folder as a version": ("0.33.0/../../tmp/x", ("vllm_version",)),
        "an option as a name": ("-oProxyCommand=x", ("serve", "served_model_name")),
        "control characters": (CONTROL, ("notes",)),
        "a line more": (f"x\n{OUT}", ("reason",)),
        "no tensor": (0, ("serve", "tensor_parallel_size")),
        "many ranks": (2**31, ("parallel", "data")),
        "many digits": (10**4000, ("serve", "max_model_len")),
        "many notes": (["x"] * 5000, ("notes",)),
    }
    return {name: changed(whole, value, *way, *there) for name, (value, there) in said.items()}


def text(value: str | bytes) -> Callable[[], bytes]:
    """Just that."""
    return lambda: value.encode() if isinstance(value, str) else value


def header(rows: Callable[[], dict[str, Any]]) -> Callable[[], bytes]:
    """A safetensors header."""
    return lambda: json.dumps(rows()).encode()


def row(at: int = 0, **other: Any) -> dict[str, Any]:
    return {"dtype": "BF16", "shape": [2, 2], "data_offsets": [at, at + 8]} | other


def with_length(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """A file that begins with that header."""

    def headed() -> bytes:
        said = make()
        return len(said).to_bytes(8, "little") + said + bytes(16)

    return headed


def packed(how: str, size: int) -> Callable[[], bytes]:
    """Zeros of that many bytes, as an answer's body is packed."""

    def make() -> bytes:
        plain = bytes(size)
        return f"{how}\n".encode() + (gzip.compress(plain, 9) if how == "gzip" else zlib.compress(plain, 9))

    return make


HEADERS: dict[str, Callable[[], bytes]] = {
    "a name without an end": header(lambda: {"model.layers." * 100_000: row()}),
    "many tensors": header(lambda: {f"model.layers.{at}.x": row(8 * at) for at in range(500)}),
    "too many tensors": header(lambda: dict.fromkeys(map(str, range(100_001)), 0)),
    "many dimensions": header(lambda: {"a": row(shape=[1] * 100_000)}),
    "a shape beyond numbers": text('{"a": {"dtype": "BF16", "shape": [1e999], "data_offsets": [0, 8]}}'),
    "huge sides": header(lambda: {"a": row(shape=[2**62, 2**62])}),
    "one over the other": header(lambda: {"a": row(), "b": row(4)}),
    "a hole": header(lambda: {"a": row(), "b": row(16)}),
    "backwards": header(lambda: {"a": row(data_offsets=[8, 0])}),
    "no numbers": header(lambda: {"a": row(data_offsets=["0", True])}),
    "no list": header(lambda: {"a": row(shape=None, data_offsets={})}),
    "no such type": header(lambda: {"a": row(dtype=["BF16"])}),
    "deep": text('{"a":' * 100_000),
    "MLX": header(lambda: {"__metadata__": {"format": "mlx"}, "a": row(), "b": row(8)}),
    "metadata": header(lambda: {"__metadata__": [CONTROL], "a": row(), "b": row(8)}),
}
LLAMA: dict[str, Any] = {"architectures": ["Llama4ForConditionalGeneration"], "torch_dtype": "bfloat16",
    "text_config": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 4, "intermediate_size": 8, "intermediate_size_mlp": 8, "vocab_size": 16, "num_local_experts": 2,
        "num_experts_per_tok": 1, "interleave_moe_layer_step": 1, "attention_chunk_size": 8,
        "max_position_embeddings": 16}}  # fmt: skip
FIRST = b'{"document": "deployment", "schema_version": 1, "name": "deep", "target": "local", "plan": '
SPAN = {
    "index": 0,
    "scheduled_us": 0,
    "sent_us": 1,
    "done_us": 900,
    "gaps_us": [3, 4],
    "chunk_tokens": [1, 1],
}
WEEKS_US = 3 * 7 * 86400 * 10**6
MANIFEST: dict[str, Any] = {"document": "bundle", "schema_version": 1, "name": "x", "files": []}
STORED = {"size_bytes": 1, "sha256": "0" * 64}

MADE: dict[str, dict[str, Callable[[], bytes]]] = {
    "document": {
        "deep lists": lambda: FIRST + b"[" * 100_000,
        "deep objects": lambda: FIRST + b'{"a":' * 100_000,
        "deep and whole": lambda: FIRST + b"[" * 1000 + b"]" * 1000 + b"}",
        "a million values": lambda: FIRST + b"[" + b"1," * 1_000_000 + b"1]}",
        "cut": text(FIRST),
        "beyond numbers": text(FIRST + b"1e999}"),
        "no number": text(FIRST + b"NaN}"),
        "many digits": text(FIRST + b"9" * 5000 + b"}"),
        "no UTF-8": text(FIRST + b'"\xff\xed\xa0\x80"}'),
        "half a letter": text(FIRST + b'"\\ud800"}'),
        "zeros": text(bytes(1000)),
        "nothing": text(b""),
        "of another program": text('{"manifest_version": 3, "name": "a web application"}'),
        "a list": text("[]"),
        "a newer one": text(FIRST.replace(b": 1,", b": 99,") + b"{}}"),
        "no version": text(FIRST.replace(b": 1,", b": true,") + b"{}}"),
    },
    "plan": plans(),
    "deployment": plans("plan") | {
        "reserved": changed(DEPLOYMENT, "engine", "name"),
        "elsewhere": changed(DEPLOYMENT, "../../etc", "name"),
        "no place": changed(DEPLOYMENT, "local\x1b[2J", "target"),
        "an option as a host": changed(DEPLOYMENT, ["-oProxyCommand=touch x"], "hosts"),
        "no day": changed(DEPLOYMENT, "39011111111-10-02", "created_at"),
    },
    "record": plans("plan") | {
        "of another name": changed(DEPLOYMENT, "prod", "name"),
        "of another place": changed(DEPLOYMENT, "local", "target"),
        "of other hosts": changed(DEPLOYMENT, ["a", "b"], "hosts"),
        "a token of ours": changed(DEPLOYMENT, "/root/.cache/huggingface/token", "hf_token_file"),
    },
    "probe": {
        "no mean": changed(PROBE, {}, "tpot_s"),
        "a mean of nothing": changed(PROBE, 1e308, "tpot_s", "mean"),
        "many errors": changed(PROBE, {CONTROL: 2**63}, "errors"),
    },
    "bundle manifest": {
        f"{number}": changed(MANIFEST, [{"path": path, "part_of": part, **STORED}], "files")
        for number, (path, part) in enumerate([
            ("../../.ssh/authorized_keys", None), ("/etc/passwd", None), ("a/../b", None), ("a\0b", None),
            (f"x\n{OUT}", None), ("", None), ("." * 300, None), ("a/" * 3000, None), ("plan.json", "plan.json"),
            ("manifest.json", None), ("e\u0301", None), ("CON", "\ud83d\ude00"),
        ])
    },
    "tar": {
        "a size of thirty digits": lambda: tars.said(b"size", b"9" * 30) + tars.END,
        "a negative size": lambda: tars.said(b"size", b"-1") + tars.END,
        "a NUL in a path": lambda: tars.said(b"path", b"a\0b") + tars.END,
        "deep folders": lambda: tars.said(b"path", b"a/" * 3000 + b"x") + tars.END,
        "a hard link to nothing": lambda: tars.header(b"x", b"1", link=b"nowhere") + tars.END,
        "python through a link": lambda: (
            tars.header(b"bin", b"2", link=b"/usr/bin") + tars.file(b"bin/python") + tars.END
        ),
        "out": lambda: tars.file(b"../../x") + tars.END,
        "a device": lambda: tars.header(b"null", b"3") + tars.END,
        "a line more": lambda: tars.file(f"x\n{OUT}".encode()) + tars.END,
        "a header as large as it": lambda: tars.pax(b"1" * 2**20) + tars.header() + tars.END,
        "a record longer than it": lambda: tars.pax(b"99999999999 path=x\n") + tars.header() + tars.END,
        "base-256": lambda: tars.header(size=b"\x80" + b"\xff" * 11) + tars.END,
        "many": lambda: tars.header() * 3000 + tars.END,
        "no end": lambda: tars.header(),
        "sparse": lambda: tars.said(b"GNU.sparse.major", b"1") + tars.END,
    },
    "safetensors tensors": HEADERS,
    "safetensors header": {name: with_length(make) for name, make in HEADERS.items()} | {
        "longer than all": lambda: (2**63).to_bytes(8, "little") + b"{}",
        "cut": lambda: b"\x08",
    },
    "config.json": {
        "layers without an end": changed(LLAMA, 2**31, "text_config", "num_hidden_layers"),
        "architectures": changed(LLAMA, 3, "architectures"),
        "none": changed(LLAMA, [None], "architectures"),
        "no heads": changed(LLAMA, 0, "text_config", "num_attention_heads"),
        "negative": changed(LLAMA, -1, "text_config", "vocab_size"),
        "half a layer": changed(LLAMA, 1.5, "text_config", "num_hidden_layers"),
        "every layer": changed(LLAMA, 0, "text_config", "interleave_moe_layer_step"),
        "positions": changed(LLAMA, 1e300, "text_config", "max_position_embeddings"),
        "no table": changed(LLAMA, [], "text_config"),
        "a list of layers": changed(LLAMA, [10**9], "text_config", "no_rope_layers"),
        "deep": lambda: b'{"quantization_config": ' * 60 + b"{}" + b"}" * 60,
    },
    "modelopt": {
        "deep": lambda: b'{"quantization": ' * 60 + b"{}" + b"}" * 60,
        "deeper": lambda: b'{"quantization": ' * 100_000,
    },
    "index": {
        "many": lambda: json.dumps({"weight_map": {f"{at}": "x.safetensors" for at in range(50_000)}}).encode(),
    },
    "results": {
        "a gap of 36 minutes": lambda: json.dumps(SPAN | {"gaps_us": [3, 2_160_000_000]}).encode(),
        "a gap of weeks": lambda: json.dumps(SPAN | {"gaps_us": [3, WEEKS_US], "done_us": WEEKS_US + 3}).encode(),
        "many gaps of weeks": lambda: b"\n".join(
            json.dumps(SPAN | {"gaps_us": [at * 10**9, 5]}).encode() for at in range(200)
        ),
        "back in time": lambda: json.dumps(SPAN | {"gaps_us": [9, -5]}).encode(),
        "no chunk": lambda: json.dumps(SPAN | {"gaps_us": []}).encode(),
        "deep": lambda: b"[" * 100_000,
    },
    "metrics": {
        "many": lambda: b"vllm:prompt_tokens_total 1\n" * 20_000,
        "a label without an end": lambda: b'a{x="' + b"\\" * 100_000,
    },
    "body": {
        "gigabytes": packed("gzip", 40 * 2**20),
        "more gigabytes": packed("deflate", 17 * 2**20),
        "as much as it takes": packed("gzip", 16 * 2**20),
    },
    "host": {
        "a flood": lambda: b"y\n" * 60_000,
        "a line without an end": lambda: b"cpu_flags " + b"a " * 100_000,
    },
    "server log": {
        "a line without an end": lambda: b"Initializing a V1 LLM engine (v0.33.0) with config: " + b"model='" * 100_000,
        "many starts": lambda: b"vLLM API server version 0.33.0\n" * 20_000,
        "a name in a name": lambda: b"non-default args: {" + b"'model': " * 50_000,
    },
    "trace": {
        "deep": lambda: b"{" * 100_000,
        "a field without an end": lambda: b'timestamp,input_length,output_length\n1,"' + b"9" * 200_000,
        "many columns": lambda: b"a," * 100_000 + b"\n1",
    },
    "class": {"commas": lambda: b"a=1,1/" + b"," * 2000 + b"x", "promises": lambda: b"a=1,1/1" + b",ttft=1" * 500},
    "words": {
        "a line without an end": lambda: b"\x1b[" + b"9;" * 100_000,
        "tags": lambda: b"<title>" * 20_000,
    },
    "number": {
        "digits": lambda: b"9" * 5000,
        "thousands": lambda: b"1" + b",000" * 2000,
        "digits after the point": lambda: b"0." + b"0" * 5000 + b"1",
    },
    "gpus.toml": {
        "deep": lambda: b"a = " + b"[" * 5000,
        "deep names": lambda: b"[gpu" + b".a" * 5000 + b"]\n",
        "many digits": lambda: b"[gpu.x]\nmemory_gib = " + b"9" * 5000 + b"\n",
        "more than is read": lambda: b"#" * (2**20 + 1),
    },
    "have": {"a name without an end": lambda: b"8x" + b"A" * 5000 + b"=1"},
    "machine": {
        "a name without an end": lambda: b"8x" + b"A" * 5000,
        "digits": lambda: b"9" * 5000 + b"xH100",
    },
    "nvidia smi": {"many": lambda: b"".join(b"%d, a, b, 1, 1, 5, 8.6, a, b, c\n" % at for at in range(500))},
    "extra": {"many": lambda: b"--a\n" * 2000},
}  # fmt: skip
