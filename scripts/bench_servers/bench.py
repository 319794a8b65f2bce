"""Servers that others wrote, each measured by the probe and by an independent client, in turn.

Server: llama.cpp's, by the wheel xllamacpp, with one thread and four slots, and a Llama of 4 layers with random
weights, whose tokens are bytes. Before it, each by itself: nginx that passes on at once (proxy_buffering off), nginx
as it comes (buffering), and LiteLLM's proxy.
Clients: `corral probe` and witness.py (aiohttp), each a process of its own, in turn in every round; the same number of
chats of the same length, at once, each over a connection of its own, for the same number of tokens. Figures are
medians of the rounds' medians.
The two clients meet the server one after the other: what differs by less than the rounds do says nothing.
"""

import argparse
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
REQUESTS, AT_ONCE, INPUT, OUTPUT = 24, 4, 256, 48
UP_WITHIN_S = 400
"""LiteLLM imports for 15 s of a core's time, and the cores may be busy."""
FIGURES = ("TTFT p50 ms", "TPOT p50 ms", "E2E p50 ms", "output tokens/s", "prompt tokens", "failed")
NGINX = """
pid {folder}/nginx.pid; error_log stderr; daemon off; master_process off;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {behind}; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_buffering {buffering}; }} }} }}
"""
LITELLM = """
model_list: [{{model_name: tiny, litellm_params: {{model: openai/tiny, api_base: "{behind}/v1", api_key: none}}}}]
"""
Row = dict[str, float]


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kept", type=Path, required=True, help="where the servers are installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--url", action="append", default=[], metavar="NAME=URL", help="measure that one, too"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name, ExitStack() as running:
        folder = Path(name)
        servers = dict(started(given.kept, folder, running))
        servers |= dict(each.split("=", 1) for each in given.url)
        print(head(given.rounds), flush=True)
        for server, url in servers.items():
            model = listed(url)
            rounds = [measured(given.kept, url, model, folder / f"{server}-{n}") for n in range(given.rounds)]
            for number, client in enumerate(("corral", "aiohttp")):
                medians = [statistics.median(each[number][name] for each in rounds) for name in FIGURES]
                cells = [f"{value:,.2f}" for value in medians[:3]] + [
                    f"{value:,.0f}" for value in medians[3:]
                ]
                print("| " + " | ".join((server, client, *cells)) + " |", flush=True)
            for verdict in sorted({each[2] for each in rounds} - {""}):
                print(f"| {server} | corral says | {verdict} |" + " |" * (len(FIGURES) - 1), flush=True)


def head(rounds: int) -> str:
    """The date, the machine, the method and the table's first lines."""
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    lines = [
        "# Servers that others wrote, by the probe and by aiohttp",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {model}, {os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}",
        "",
        f"Made by `scripts/bench-servers --rounds {rounds}`: {REQUESTS} chats, {AT_ONCE} at once, {INPUT} tokens in,"
        f" {OUTPUT} out. Method:",
        "",
        *(__doc__ or "").splitlines()[2:],
        "",
        "| server | client | " + " | ".join(FIGURES) + " |",
        "|---" * (len(FIGURES) + 2) + "|",
    ]
    return "\n".join(lines)


def started(kept: Path, folder: Path, running: ExitStack) -> Iterator[tuple[str, str]]:
    """Each server by its name and address; all end with the stack."""
    port = free_port()
    llama = f"http://127.0.0.1:{port}"
    words = [str(kept / "bin" / "python"), str(HERE / "llama.py"), str(port), str(folder)]
    running.enter_context(process(words, f"{llama}/v1/models", folder / "llama.log"))
    yield f"llama.cpp (xllamacpp {version_in(kept, 'xllamacpp')})", llama
    nginx = shutil.which("nginx") or str(kept / "usr" / "sbin" / "nginx")
    told = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.strip().rpartition("/")[2]
    for name, buffering in (("at once", "off"), ("buffering", "on")):
        own = folder / f"nginx-{buffering}"
        own.mkdir()
        port = free_port()
        conf = NGINX.format(folder=own, port=port, behind=llama, buffering=buffering)
        (own / "nginx.conf").write_text(conf)
        url = f"http://127.0.0.1:{port}"
        words = [nginx, "-p", str(own), "-c", str(own / "nginx.conf"), "-e", "stderr"]
        running.enter_context(process(words, f"{url}/v1/models", own / "log"))
        yield f"nginx {told}, {name}", url
    found = sorted(kept.parent.glob("litellm-*/bin/litellm"))
    if found:
        (folder / "litellm.yaml").write_text(LITELLM.format(behind=llama))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        words = [
            str(found[-1]),
            "--config",
            str(folder / "litellm.yaml"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        running.enter_context(process(words, f"{url}/health/liveliness", folder / "litellm.log"))
        yield f"LiteLLM {found[-1].parent.parent.name.partition('-')[2]}", url


def version_in(kept: Path, package: str) -> str:
    """The version of what is installed there."""
    say = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([kept / "bin" / "python", "-c", say], capture_output=True, text=True).stdout.strip()


@contextmanager
def process(words: list[str], answers_at: str, log: Path) -> Iterator[None]:
    """A server that answers there, until the block is left."""
    # Nobody but this machine reaches it, so no key is needed; and it asks nobody for prices.
    of_litellm = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", **dict.fromkeys(of_litellm, "true")}
    with log.open("w") as out, subprocess.Popen(words, stdout=out, stderr=out, env=environment) as running:
        try:
            until = time.monotonic() + UP_WITHIN_S
            while not is_answering(answers_at):
                if running.poll() is not None or time.monotonic() > until:
                    sys.exit(f"bench-servers: {words[0]} does not answer:\n{log.read_text()[-2000:]}")
                time.sleep(0.3)
            yield
        finally:
            running.kill()


def is_answering(url: str) -> bool:
    """Whether anything but an error comes from there."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listed(url: str) -> str:
    """The first model of its list."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/v1/models") as answer:
        return str(json.load(answer)["data"][0]["id"])


def free_port() -> int:
    """A port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def measured(kept: Path, url: str, model: str, folder: Path) -> tuple[Row, Row, str]:
    """What the probe and the other client say of one round, and what the probe says against the use of its figures."""
    load = ["--concurrency", str(AT_ONCE), "--requests", str(REQUESTS), "--api", "chat", "--model", model]
    lengths = ["--input-tokens", str(INPUT), "--output-tokens", str(OUTPUT)]
    # No round's prompts are another's, and none is kept: llama.cpp's server would not read it again.
    lengths += ["--extra-body", '{"temperature": 0, "cache_prompt": false}', "--new-connections"]
    lengths += ["--seed", str(zlib.crc32(folder.name.encode()))]
    words = [sys.executable, "-c", "from deploy.cli.start import main; main()", "probe", url, *load, *lengths]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [*words, "--json", "--output", str(folder)], capture_output=True, text=True, env=environment
    )
    report = json.loads(told.stdout) if told.stdout else sys.exit(told.stderr)
    words = [
        str(kept / "bin" / "python"),
        str(HERE / "witness.py"),
        url,
        model,
        str(REQUESTS),
        str(AT_ONCE),
        str(OUTPUT),
    ]
    prompts = json.dumps(prompts_of(folder))
    witness = json.loads(
        subprocess.run(words, input=prompts, capture_output=True, text=True, check=True).stdout
    )
    return of_probe(report), of_witness(witness), "; ".join(report["invalid_because"])


def prompts_of(folder: Path) -> list[str]:
    """Other texts of the same number of words as the probe's, by the tokens that the server counted in those."""
    from serving.probe.dataset import WORDS

    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    counted = statistics.median(line.get("input_tokens") or INPUT for line in lines[1:-1])
    noted = next((note for note in lines[0]["notes"] if "tokens a word" in note), "")
    each = float(noted.partition("prompts: ")[2].partition(" ")[0] or 1.0)
    around = float(noted.partition("word, and ")[2].partition(" ")[0] or 0.0)
    chance = random.Random(
        folder.name
    )  # no round's are another's, which a server may still have in its cache
    return [
        " ".join(chance.choices(WORDS, k=max(1, round((counted - around) / each)))) for _ in range(REQUESTS)
    ]


def of_probe(report: dict[str, Any]) -> Row:
    """The probe's figures."""
    return dict(
        zip(
            FIGURES,
            (
                *(
                    report[name]["p50"] * 1e3 if report[name] else 0.0
                    for name in ("ttft_s", "tpot_s", "e2e_s")
                ),
                report["output_tokens_per_s"],
                report["input_tokens"] / max(1, report["succeeded"]),
                report["sent"] - report["succeeded"],
            ),
            strict=True,
        )
    )


def of_witness(told: dict[str, Any]) -> Row:
    """The other client's figures."""
    good = [each for each in told["requests"] if "failed" not in each]
    middle = [statistics.median(each[name] for each in good) * 1e3 for name in ("ttft_s", "tpot_s", "e2e_s")]
    return dict(
        zip(
            FIGURES,
            (
                *middle,
                sum(each["tokens"] for each in good) / told["duration_s"],
                statistics.mean(each["prompt_tokens"] or 0 for each in good),
                len(told["requests"]) - len(good),
            ),
            strict=True,
        )
    )


if __name__ == "__main__":
    main()
