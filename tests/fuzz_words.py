"""What people type, and what machines, servers and files say in a few words, as targets of the fuzzer."""

import os
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fuzz_corpus
import httpx2
import orjson
import pytest
from fuzzing import Target, text

from deploy.bundle.manifest import checked_sha256
from deploy.targets import preflight
from deploy.targets.ssh import operators, owned_hosts
from infra import catalog, facts, gpus, own_gpus, quantity, ssh
from infra.errors import CorralError
from infra.onhost import spot, watch
from infra.printable import printable
from serving.model import checkpoint, loaders
from serving.probe import lengths
from serving.simulation import trace
from serving.simulation.simulate_options import rates_typed
from serving.sizing import log_calibration
from serving.sizing.owned import owned_typed
from serving.sizing.plan import Plan
from serving.sizing.traffic_class import class_typed
from serving.vllm import extra_args, server_log, versions
from serving.vllm.http_door import LARGEST_ANSWER_BYTES, unpacked


def gpu_option(data: bytes) -> None:
    os.environ[own_gpus.VARIABLE] = text(data).replace("\0", "")
    own_gpus.own_gpus({"l4": "L4"})


def gpus_file(data: bytes) -> None:
    Path("home").mkdir(exist_ok=True)
    Path("home/gpus.toml").write_bytes(data)
    own_gpus.own_gpus({"l4": "L4"})


def have(data: bytes) -> None:
    catalog.machine(owned_typed(text(data)).machine)


def machine(data: bytes) -> None:
    catalog.machine(text(data))


def number(data: bytes) -> None:
    """In every unit."""
    for unit in quantity.EXAMPLES:
        for whole in (False, True):
            with suppress(ValueError):
                quantity.read(text(data), unit, whole)


def length(data: bytes) -> None:
    lengths.parse(text(data), "--input-tokens")


def version(data: bytes) -> None:
    said = text(data)
    versions.version_notes(said, date(2027, 1, 5))
    versions.rules(said)


def modelopt(data: bytes) -> None:
    config = loaders.with_modelopt({}, checkpoint.json_object(data, "x"))
    loaders.precision_of(config), loaders.kv_cache_of(config)


def index(data: bytes) -> None:
    checkpoint.shard_names(checkpoint.json_object(data, "x"), "x")


def loader(data: bytes) -> None:
    """A method, ModelOpt's algorithm and the names of a repository's files."""
    said = text(data)
    for check in (
        loaders.check_loaded, loaders.check_modelopt, lambda each: loaders.check_files(each.splitlines()),
    ):  # fmt: skip
        with suppress(CorralError):
            check(said)


def nvidia_smi(data: bytes) -> None:
    for failed in (False, True):
        for gpu in facts.gpu_report(text(data).splitlines(), None, failed).gpus:
            catalog.gpu_reported(gpu.name, gpu.memory_total_mib)


def host_facts(data: bytes) -> None:
    """What a host says of itself, judged for a plan."""
    said = facts.parse(text(data))
    preflight.checks(said, said.gpu, GPU_PLAN, disk_path="/opt", disk_gib=5.0)
    preflight.owned_host_checks(said, 1.0, "3.11")


class Nvml:
    """A driver that says the same of everything; what it does not know it refuses."""

    class NVMLError(Exception):
        pass

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    def __getattr__(self, name: str) -> Any:
        def answer(*_: object) -> object:
            if name not in self.said:
                raise Nvml.NVMLError(name)
            value = self.said[name]
            return SimpleNamespace(**value) if isinstance(value, dict) else value

        return answer


def nvml(data: bytes) -> None:
    """The driver's texts are anything, its numbers are C's."""
    said = text(data).replace("\0", "")  # a C string ends there
    sys.modules["pynvml"] = Nvml(  # type: ignore[assignment]
        {"nvmlInit": 0, "nvmlShutdown": 0, "nvmlDeviceGetCount": 1, "nvmlSystemGetDriverVersion": said[:80],
         "nvmlDeviceGetHandleByIndex": 1, "nvmlDeviceGetName": said, "nvmlDeviceGetUUID": said,
         "nvmlDeviceGetMemoryInfo": {"total": len(said) << 30, "used": 0},
         "nvmlDeviceGetCudaComputeCapability": (len(said) % 12, 9), "nvmlDeviceGetPciInfo": {"busId": said}}
    )  # fmt: skip
    try:
        (gpu,) = gpus.report().gpus
    finally:
        del sys.modules["pynvml"]
    catalog.gpu_reported(gpu.name, gpu.memory_total_mib)


def destination(data: bytes) -> None:
    checked = ssh.checked_destination(text(data))
    assert not checked.startswith("-")
    assert printable(checked) == checked


class There:
    """A host whose every answer is the same."""

    destination = "gpu-1"

    def __init__(self, said: bytes) -> None:
        self.said = text(said)

    def run(self, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(stdout=self.said, stderr=self.said, code=0)


def record(data: bytes) -> None:
    """A host's record, held to the name and the host that were asked for, and shown."""
    there: Any = There(data)
    held = owned_hosts._held(owned_hosts._read(there, "scout"), "scout", there)
    assert (held.name, held.target) == ("scout", "ssh")
    assert "gpu-1" in held.hosts
    owned_hosts.shown(held)


def owner(data: bytes) -> None:
    there: Any = There(data)
    operators.owners(["scout"], there)
    if other := operators.other_in(there.said, there):
        assert len(f"{other}") < 400


def extra(data: bytes) -> None:
    given = tuple(text(data).split("\n"))
    extra_args.refuse(given, ("model",))
    extra_args.refuse_unknown(given, (0, 33, 0))


def counters(data: bytes) -> None:
    """As the watch of a host reads a server's counters, and the spot notice the metadata service's words."""
    said = text(data)
    spot.asked = lambda *_: said[: spot.MOST_BYTES]
    assert len(spot.notice("http://x")) < 40
    watch.work_done(said)


def body(data: bytes) -> None:
    """An answer's body, packed as its first line says: never more than is asked for."""
    encoding, _, rest = data.partition(b"\n")
    pieces = [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
    plain = sum(map(len, unpacked(pieces, encoding.decode("latin-1"), LARGEST_ANSWER_BYTES)))
    assert plain <= LARGEST_ANSWER_BYTES


def arrivals(data: bytes) -> None:
    """A trace of requests: they come one after the other, from 0 s on."""
    Path("trace").write_bytes(data)
    times = [request.at_s for request in trace.read(Path("trace"))]
    assert times == sorted(times)
    assert times[0] == 0


def traffic_class(data: bytes) -> None:
    """As it is typed, and as it is said again."""
    made = class_typed(text(data))
    assert class_typed(f"{made}").share == pytest.approx(made.share)


def rates(data: bytes) -> None:
    rates_typed(text(data))


def log(data: bytes) -> None:
    """A server's log, held to the plan."""
    log_calibration.measured(GPU_PLAN, server_log.read(text(data), "x"), "x")


def checksum(data: bytes) -> None:
    assert len(checked_sha256(text(data))) == 64


MODELOPT = {
    "producer": {"name": "modelopt", "version": "0.31"},
    "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
}
INDEX = {
    "metadata": {"total_size": 5},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "x.safetensors"},
}
ROW = b"0, NVIDIA A10G, GPU-1, 23028, 5, 580.65, 8.6, [N/A], Enabled, 00000000:00:1B.0\n"
GPU_TABLE = b"""[gpu.L20]
memory_gib = 48
memory_gb_per_s = 864
bf16_tflops = 119.5
compute_capability = 8.9
aliases = ["l20-48"]
"""
GPU_PLAN = Plan.parse(orjson.dumps(fuzz_corpus.PLAN), "x")
DEBIAN = (fuzz_corpus.DATA / "hosts" / "debian.txt").read_bytes()
GPUS = b"nvidia_device\ndriver_version 580.65.06\n" + 4 * (b"gpu " + ROW)
LOG = b"""vLLM API server version 0.11.0
non-default args: {'model': '%s', 'max_num_seqs': 64, 'tensor_parallel_size': 4, 'gpu_memory_utilization': 0.95}
Initializing a V1 LLM engine (v0.11.0) with config: model='m', max_seq_len=8192, tensor_parallel_size=4
(Worker_TP0 pid=3) Model loading took 15.5 GiB and 31.6 seconds
(Worker_TP0 pid=3) Available KV cache memory: 1.15 GiB
GPU KV cache size: 6,000 tokens
""" % fuzz_corpus.PLAN["serve"]["model"].encode()
TRACE = b"".join(b'{"time_s": %d, "input_tokens": 9, "output_tokens": 5}\n' % at for at in range(3))
AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50,396,109\n"
METRICS = b'vllm:prompt_tokens_total{engine="0"} 40.0\nvllm:num_requests_running 0.0\n# HELP a\n'

TARGETS: dict[str, Target] = {
    "gpu option": Target(gpu_option, [own_gpus.EXAMPLE.encode(), b"name=a,memory_mib=2048,link=none,max_per_host=1"]),
    "gpus.toml": Target(gpus_file, [GPU_TABLE]),
    "have": Target(have, [b"8xA100-40GB=1", b"2xA100-80GB=3@5.50", b"p4d.24xlarge = 2 @ $3"]),
    "machine": Target(machine, [b"8xH100", b"g5.12xlarge", b"local", b"2xL40S"], changes=150),
    "number": Target(number, [b"3,000,000", b"1.5k", b"2e6", b"50 ms", b"$1,200", b"70%", b"1.5GiB"], (), changes=100),
    "length": Target(length, [b"512", b"100-500", b"512~64", b"2k-1M"]),
    "version": Target(version, [b"0.33.0", b"0.8.3", b"0.34.0rc1+cu130"]),
    "modelopt": Target(modelopt, [orjson.dumps(MODELOPT)], fields=200, changes=100),
    "index": Target(index, [orjson.dumps(INDEX)], fields=100, changes=100),
    "loader": Target(loader, [b"compressed-tensors", b"NVFP4", b"gguf", b"model.gguf\nconfig.json"], (), changes=150),
    "nvidia smi": Target(nvidia_smi, [ROW * 2, b"No devices were found\n"]),
    "host facts": Target(host_facts, [DEBIAN + GPUS], changes=120),
    "nvml": Target(nvml, [b"NVIDIA A10G", b"NVIDIA H100 80GB HBM3"], changes=100),
    "destination": Target(destination, [b"gpu-1", b"root@10.0.0.1", b"me@[::1]"]),
    "record": Target(record, [fuzz_corpus.changed(fuzz_corpus.DEPLOYMENT, "scout", "name")()], fields=150, changes=50),
    "owner": Target(owner, [b"ours\n", b"other ada@laptop 2026-11-24T00:00:00Z\n", b"busy\n"], changes=150),
    "extra": Target(extra, [b"--enable-prefix-caching\n--max-logprobs\n5", b"--load-format=dummy"]),
    "counters": Target(counters, [METRICS, b'{"action": "stop", "time": "2026-11-24T00:00:00Z"}'], (ValueError,)),
    "body": Target(body, [b"gzip\nx", b"identity\nabc", b"deflate\nabc"], (httpx2.DecodingError,), changes=150),
    "trace": Target(arrivals, [TRACE, AZURE], changes=200),
    "class": Target(traffic_class, [b"chat=70%,2k/300,ttft=2,tpot=50ms", b"a=1,5-9/12~3"]),
    "rates": Target(rates, [b"0-8=1,8-18=6,18-24=2", b"0-12.5=1k"], changes=100),
    "server log": Target(log, [LOG]),
    "checksum": Target(checksum, [b"a" * 64, b"sha256:" + b"0" * 64], changes=100),
}  # fmt: skip
