"""`corral demo`: the commands it is made of, its summary, and the line itself on the real engine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from told_places import in_place_of, told

from deploy.cli.main import run
from deploy.demo import play as demo
from deploy.demo import steps
from deploy.demo.play import Demo, Done
from deploy.demo.summary import summary
from deploy.targets import deployment as deployments
from infra import processes
from infra.errors import CorralError, Interrupted, ServerError
from serving.probe.report import ProbeReport, Summary
from serving.sizing.plan import Plan
from serving.vllm import server, stopping
from serving.vllm.endpoint import Endpoint

MAIN = "from deploy.cli.start import main; main()"


def test_the_demo_is_the_commands_a_user_would_type(tmp_path: Path) -> None:
    endpoint = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m", api_key_file=Path("/k"))
    line = (
        steps.engine_step({}),
        steps.catalogue_step(Path("/d")),
        steps.size_step(Path("/d")),
        *steps.serve_steps(Path("/d")),
        steps.probe_step(Path("/d"), endpoint),
        steps.STOP,
        *steps.toy_compare_steps(Path("/d")),
        steps.catalogue_compare_step(Path("/d")),
    )
    assert [" ".join(step.words) for step in line] == [
        "engine install",
        "size scout --precision int4 --on g5.12xlarge --output /d/catalogue-plan.json",
        "size /d/tiny-llama4 --on local --max-model-len 4096 --kv-cache-memory-bytes 67108864 --enforce-eager "
        "--output /d/plan.json",
        "provision /d/plan.json --target local --name demo",
        "serve demo",
        "status demo",
        "probe http://127.0.0.1:1 --concurrency 4 --requests 48 --input-tokens 128 --output-tokens 64 --model m "
        "--api-key-file /k --output /d/probe",
        "stop demo",
        "compare --plan /d/plan.json --probe /d/probe/probe.json --price-per-hour 1 --allow-invalid "
        "--output /d/toy-report",
        "report /d/toy-report --json",
        "compare --plan /d/catalogue-plan.json --output /d/catalogue-report",
    ]
    assert steps.engine_step({"CORRAL_VLLM": "/bin/vllm"}).words == ("engine", "show")


@pytest.mark.parametrize(("code", "kind"), [(7, ServerError), (130, Interrupted), (99, CorralError)])
def test_a_failed_step_gives_the_demo_its_own_exit_code(code: int, kind: type[CorralError]) -> None:
    error = demo.stopped("corral serve demo", code)
    assert type(error) is kind
    assert error.message == "The demo stopped at: corral serve demo"


def a_probe() -> ProbeReport:
    """A short report."""
    spread = Summary(mean=0.02, p50=0.02, p90=0.03, p95=0.03, p99=0.04)
    return ProbeReport.model_validate(
        {
            "url": "http://127.0.0.1:1", "model": "m", "started_at": "2026-11-24", "load": {}, "sent": 48,
            "succeeded": 48, "errors": {}, "duration_s": 4.0, "input_tokens": 1, "output_tokens": 1,
            "output_tokens_per_s": 701.8, "total_tokens_per_s": 1.0, "request_per_s": 1.0, "ttft_s": spread,
            "tpot_s": spread, "itl_s": None, "e2e_s": None, "goodput": {},
            "client": {"cpu_fraction": 0.1, "max_lag_s": 0.0}, "valid": False, "warnings": (),
        }
    )  # fmt: skip


def test_the_summary_keeps_measured_and_catalogue_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from serving.sizing.size import answer_for
    from serving.sizing.size_options import Options

    plan: Plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    whole = Demo(
        folder=Path("/d"),
        steps=(Done(command="corral probe", exit_code=9, duration_s=1),),
        catalogue=plan,
        verdict="Never cheaper.",
        planned_kv_tokens=97541,
        engine_kv_tokens=97541,
        probe=a_probe(),
        duration_s=73.4,
    )
    monkeypatch.setattr(demo, "run", lambda corral: whole)
    assert run(["demo", "--json"]) == 0
    assert Demo.model_validate_json(capsys.readouterr().out) == whole
    measured, _, rest = summary(whole).partition(
        "From the catalogue and by arithmetic; no GPU was rented, nothing was measured:"
    )
    assert measured == (
        "The line ran end to end in 73 s; nothing is left running.\n\n"
        "Measured here, on a toy of 1.8 M random parameters; it says nothing about Llama 4's speed:\n"
        "- 48 of 48 requests succeeded; 702 output tokens/s\n"
        "- first token after 20 ms (p50), 40 ms (p99); then 20.0 ms a token\n"
        "- the probe calls this run invalid: it shared the cores with the server it measured\n"
        "- KV cache: corral planned 97,541 tokens and vLLM made 97,541: equal\n\n"
    )
    assert rest == (
        "\n- scout int4 on g5.12xlarge: tight. 14.7 GiB of weights per GPU leave 2.8 GiB per GPU for the KV\n"
        "  cache, known only to -1.8/+1.8 GiB: confirm it by starting it.\n"
        "- $5.672 an hour, on-demand in us-east-1 (AWS Pricing API, as generated into\n"
        "  aws/karpenter-provider-aws (zz_generated.pricing_aws.go), checked 2026-07-20)\n"
        "- 342 output tokens/s, modelled, not validated: no w4a16 figure of Llama 4 on A10G is public\n"
        "- Never cheaper.\n\n"
        "Documents and pages: /d\n\nNext, what that machine would be asked to do, with nothing rented: "
        "corral up scout --on g5.12xlarge --region us-east-1 --dry-run"
    )


def test_where_no_engine_can_be_had_the_demo_says_what_to_do_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    nowhere = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "demo"],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "")
    assert "error: The CPU engine cannot be installed here: " in done.stderr
    assert done.stderr.endswith(
        "error: The demo stopped at: corral engine install\n"
        "hint: The step's own error is above. Where no engine can be installed: corral demo --endpoint http://127.0.0.1:8000\n"
    )


def test_the_line_against_an_endpoint_that_is_there(
    fake_llm: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    here = in_place_of({"http://10.0.0.5:8000": fake_llm(ttft_ms=1, itl_ms=0.1)})
    assert run(here(told("demo --endpoint http://10.0.0.5:8000"))) == 0
    out = capsys.readouterr().out
    assert "Measured here, on your endpoint:\n- 48 of 48 requests succeeded; " in out
    assert "KV cache" not in out.partition("From the catalogue")[0]
    assert not (deployments.folder("demo") / "server.json").exists()


@pytest.fixture
def start(
    tmp_path: Path, engine: Path, engine_cache: Path
) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the demo with the real engine, in a home of its own; it and its server are ended with the test."""
    begun: list[subprocess.Popen[str]] = []
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "cache").symlink_to(engine_cache)

    def start(words: Sequence[str]) -> subprocess.Popen[str]:
        environment = os.environ | {"CORRAL_HOME": str(home), "CORRAL_VLLM": str(engine)}
        command = [sys.executable, "-c", MAIN, *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        return begun[-1]

    yield start
    for corral in begun:
        corral.kill()
        corral.communicate()
    stopping.kill(home / "demo")


@pytest.mark.engine
@pytest.mark.slow
def test_the_line_runs_end_to_end_and_leaves_no_process(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    home, corral = tmp_path / "home", start(told("demo"))
    out, err = corral.communicate()
    assert corral.returncode == 0, err
    assert re.match(r"The line ran end to end in \d+ s; nothing is left running.\n", out)
    assert "- 48 of 48 requests succeeded; " in out
    assert "- KV cache: corral planned 97,541 tokens and vLLM made 97,541: equal\n" in out
    assert err.count("\n$ corral ") == 11
    probed = ProbeReport.read(home / "demo/probe/probe.json")
    assert (probed.sent, probed.succeeded) == (48, 48)
    assert (home / "demo" / "toy-report" / "report.html").stat().st_size > 10_000
    assert server.members(home / "demo") == ()
    assert json.loads((home / "demo" / "server.json").read_text())["stopped_at"]


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["the engine (vLLM", "== Probe"])
def test_ctrl_c_leaves_no_process(
    start: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
    stage: str,
    forking: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While vLLM's engine starts it swallows signals; while it is probed it is busy."""
    for name, value in forking.items():
        monkeypatch.setenv(name, value)
    if "Probe" in stage:  # one process less, which would import all of vLLM
        monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    home, corral = tmp_path / "home", start(["demo"])
    assert corral.stderr is not None
    while stage not in corral.stderr.readline():
        assert corral.poll() is None
    mapped = processes.shared_memory(server.members(home / "demo"))
    os.killpg(corral.pid, signal.SIGINT)
    _, said = corral.communicate()
    assert corral.returncode == 130
    assert "Traceback" not in said
    assert server.members(home / "demo") == ()
    assert processes.members(corral.pid, "CORRAL=none") == ()
    assert [path for path in mapped if path.exists()] == []
