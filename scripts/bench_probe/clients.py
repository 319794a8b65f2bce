"""The server and the clients of the bench: each client loads the server once and returns what it said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAM = ".venv/bin/corral"
ENGINES = Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral") / "engine"
LIMIT_S = 400.0
CORE = 1
"""Of a client, where nobody says another."""
# corral's exit code for a report that says of itself that it must not be used: its figures are shown all the same.
INVALID = 9

Said = dict[str, Any]
Server = subprocess.Popen[str]


class ClientFailed(Exception):
    """A client ended without a result."""


@contextmanager
def running(built: Path, *arguments: int) -> Iterator[int]:
    """The fake server on core 0; gives its port."""
    with serving(built, *arguments) as server:
        yield port_of(server)


@contextmanager
def serving(built: Path, *arguments: int) -> Iterator[Server]:
    """The same as a process."""
    command = [*pinned(0, "chrt", "-f", "1"), str(built / "fake_llm"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def port_of(server: Server) -> int:
    """What it prints first."""
    assert server.stdout is not None
    return int(server.stdout.readline())


def pinned(core: int, *first: str) -> list[str]:
    """The words that put a command on a core and, where that is allowed, before everything else there."""
    return ["taskset", "-c", str(core), *(first if os.geteuid() == 0 else ())]


def watched(
    command: list[str], limit_s: float = LIMIT_S, core: int = CORE, **environment: str
) -> tuple[str, dict[str, float]]:
    """The standard output of a command on that core, and what its whole tree of processes took."""
    words = [sys.executable, str(HERE / "watched.py"), *pinned(core, "nice", "-n", "-20"), *command]
    with subprocess.Popen(
        words, stdout=PIPE, stderr=PIPE, text=True, env=os.environ | environment, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise ClientFailed(f"not done after {limit_s:.0f} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # of one that does not end, nothing is left
    said, _, took = err.rstrip().rpartition("\n")
    if process.returncode not in (0, INVALID):
        raise ClientFailed(f"exit code {process.returncode}: {(said.strip() or out.strip())[-200:]}")
    return out, json.loads(took)


def probe(
    built: Path,
    port: int,
    requests: int,
    tokens: int | str,
    *shape: str,
    limit_s: float = LIMIT_S,
    checkout: Path = ROOT,
    core: int = CORE,
) -> tuple[Said, Path]:
    """Ours, as a user runs it: the report, with what the process took, and the folder of its results."""
    folder = built / f"probe-{time.time_ns()}"
    command = [str(checkout / PROGRAM), "probe", f"http://127.0.0.1:{port}", "--api", "chat", *shape]
    command += ["--requests", str(requests), "--output-tokens", str(tokens), "--input-tokens", "16"]
    text, took = watched([*command, "--json", "--output", str(folder)], limit_s, core)
    return json.loads(text) | took, folder


def corral(
    built: Path,
    port: int,
    slots: int,
    requests: int,
    tokens: int | str,
    *more: str,
    checkout: Path = ROOT,
    core: int = CORE,
) -> Said:
    """Ours, with every gap it recorded."""
    shape = more or ("--concurrency", str(slots))
    report, folder = probe(built, port, requests, tokens, *shape, checkout=checkout, core=core)
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    side = results[-1]["end"]["clients"][0]
    shutil.rmtree(folder)
    gaps = [each["gaps_us"] for each in results[1:-1]]
    return {
        "events": report["output_tokens"],
        "cpu_s": side["cpu_s"],
        "tree_cpu_s": report["cpu_s"],
        "wall_s": side["wall_s"],
        "sent_us": [each["sent_us"] for each in results[1:-1]],
        "ttft_s": [each[0] / 1e6 for each in gaps],
        "itl_s": [gap / 1e6 for each in gaps for gap in each[1:]],
        "lag_p99_ms": side["lag_us"].get("p99", 0) / 1e3,
        "uncertain": side["uncertain"] / side["events"],
        "stalls": report["stalls"]["count"],
        "peak": report["peak_output_tokens_per_s"],
        "scheduled_us": sorted(each["scheduled_us"] for each in results[1:-1]),
        "late_sends_p99_ms": report["client"]["late_sends_p99_s"] * 1e3,
    }


def corral_of(checkout: Path, built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """Ours of another commit."""
    return corral(built, port, slots, requests, tokens, checkout=checkout)


def corral_user_stamps(built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """Ours without the kernel's stamps: what the same engine says where a system has none."""
    return corral(built, port, slots, requests, tokens, "--concurrency", str(slots), "--no-kernel-stamps")


def corral_in_python(built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """Ours on a machine without a C compiler."""
    return corral(built, port, slots, requests, tokens, "--concurrency", str(slots), "--no-compiled-reader")


def vllm(built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """The request function of `vllm bench serve`, by the engine's own Python."""
    numbers = map(str, (port, slots, requests, tokens))
    text, _ = watched([engine_python(), str(HERE / "peer_vllm.py"), *numbers])
    said: Said = json.loads(text.splitlines()[-1])
    return said


def c_floor(built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """The floor: C, reading only."""
    numbers = map(str, (port, slots, requests, tokens))
    events, cpu_s, wall_s = watched([str(built / "floor"), *numbers])[0].split()
    return {"events": int(events), "cpu_s": float(cpu_s), "wall_s": float(wall_s)}


def guidellm(program: str, built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """GuideLLM as installed; it keeps a mean gap for each request and no single gaps."""
    target = built / f"guidellm-{time.time_ns()}.json"
    command = [program, "run", "--disable-console-interactive"]
    command += [
        "--backend",
        f"kind=openai_http,target=http://127.0.0.1:{port},model=fake,validate_backend=false",
    ]
    command += ["--profile", f"kind=concurrent,streams={slots}"]
    command += ["--constraint", f"kind=max_requests,count={requests}"]
    command += ["--data", f"kind=synthetic_text,prompt_tokens=16,output_tokens={tokens}"]
    command += ["--tokenizer", f"kind=huggingface_auto,model={built / 'tokenizer'}"]
    _, took = watched([*command, "--output", f"kind=json,path={target}"], HF_HUB_OFFLINE="1")
    report = json.loads(target.read_text())["benchmarks"][0]
    target.unlink()
    done = report["requests"]["successful"]
    return {
        "events": sum(each["output_tokens"] for each in done),
        "cpu_s": took["cpu_s"],
        "tree_cpu_s": took["cpu_s"],
        "wall_s": report["duration"],
        "ttft_s": [each["time_to_first_token_ms"] / 1e3 for each in done],
        "itl_s": [each["inter_token_latency_ms"] / 1e3 for each in done],
        "failed": requests - len(done),
    }


def aiperf(program: str, built: Path, port: int, slots: int, requests: int, tokens: int) -> Said:
    """AIPerf as installed; single gaps are its inter_chunk_latency, which its console does not show."""
    folder = built / f"aiperf-{time.time_ns()}"
    command = [program, "profile", "--model", "fake", "--url", f"http://127.0.0.1:{port}"]
    command += ["--endpoint-type", "chat", "--streaming", "--use-server-token-count", "--ui", "none"]
    command += ["--no-gpu-telemetry", "--no-server-metrics", "--tokenizer", str(built / "tokenizer")]
    command += ["--concurrency", str(slots), "--request-count", str(requests), "--isl", "16"]
    _, took = watched([*command, "--osl", str(tokens), "--artifact-dir", str(folder)])
    lines = [json.loads(line) for line in (folder / "profile_export.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "profile_export_aiperf.json").read_text())
    shutil.rmtree(folder)
    done = [each["metrics"] for each in lines if "time_to_first_token" in each["metrics"]]
    return {
        "events": sum(each["output_sequence_length"]["value"] for each in done),
        "cpu_s": took["cpu_s"],
        "tree_cpu_s": took["cpu_s"],
        "wall_s": summary["benchmark_duration"]["avg"],
        "ttft_s": [each["time_to_first_token"]["value"] / 1e3 for each in done],
        "itl_s": [gap / 1e3 for each in done for gap in each["inter_chunk_latency"]["value"]],
        "failed": requests - len(done),
    }


def engine_python() -> str:
    """The Python of the installed engine, or nothing."""
    return str(next(iter(sorted(ENGINES.glob("*/bin/python"))), ""))


def commit(checkout: Path) -> str:
    """Which commit a checkout is at."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version(program: str) -> str:
    """What a program says of its version."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]
