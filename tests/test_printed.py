"""What the planning verbs print, whole, to a person and to a program: tests/data/printed.

CORRAL_TEST_KEEP=1 keeps what is printed now: read the difference before it is committed.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra import gpus, local_facts
from infra.facts import GpuReport, parse
from serving.model import tiny

DATA = Path(__file__).parent / "data"
A_DAY = "1795521600"  # 2026-11-24, noon: prices have an age, and models of Claude an end

COMMANDS = {
    "size-every-machine": "size scout --all",
    "size-every-machine-long-prompts": "size maverick --precision fp8 --input-tokens 8000 --concurrency 64",
    "size-explained": "size scout --precision int4 --on g5.12xlarge --explain",
    "size-json": "size scout --precision int4 --on g5.12xlarge --json",
    "size-no-fit": "size scout --precision bf16 --on 2xA100-80GB",
    "size-no-fit-json": "size scout --precision bf16 --on 2xA100-80GB --json",
    "size-no-fit-by-a-little": "size scout --precision fp8 --on 1xH100",
    "size-no-fit-of-a-fixed-kv-cache": "size scout --on 8xH100 --precision bf16 --kv-cache-memory-bytes 60G",
    "size-no-precision": "size scout --precision int4 --on g4dn.12xlarge",
    "size-nvfp4": "size scout --precision nvfp4 --on 1xB200 --concurrency 256",
    "size-old-vllm": "size scout --precision fp8 --on g6e.12xlarge --vllm-version 0.8.3 "
    "--disable-hybrid-kv-cache-manager",
    "size-text-only": "size scout --on g5.48xlarge --precision int4 --language-model-only --enforce-eager "
    "--kv-cache-memory-bytes 4G",
    "size-long-context": "size scout --on p4d.24xlarge --precision bf16 --max-model-len 1000000 --concurrency 4",
    "size-queue": "size scout --on 1xH200 --precision fp8 --max-num-seqs 8 --kv-cache-dtype fp8 --concurrency 32",
    "size-two-hosts-explained": "size maverick --precision bf16 --on 2xp5.48xlarge --explain",
    "size-data-parallel-explained": "size maverick --precision fp8 --on 8xH100 --data-parallel-size 8 "
    "--tensor-parallel-size 1 --enable-expert-parallel --explain",
    "size-elsewhere": "size scout --precision int4 --on g6.12xlarge --region eu-west-1",
    "size-cpu": "size tiny --on local",
    "size-cpu-explained": "size tiny --on local --dtype float32 --tensor-parallel-size 2 --explain",
    "size-cpu-json": "size scout --on local --json",
    "size-cpu-no-fit": "size maverick --on local --precision bf16",
    "size-two-owned-hosts": "size maverick --precision bf16 --on 16xH100",
    "capacity": "capacity scout --requests-per-s 2",
    "capacity-all": "capacity scout --requests-per-s 2 --all",
    "capacity-explained": "capacity scout --requests-per-s 2 --on p5.48xlarge --on g6e.12xlarge --spare 2 --explain",
    "capacity-json": "capacity scout --requests-per-s 5 --on p5.48xlarge --precision fp8 --json",
    "capacity-tokens": "capacity maverick --tokens-per-month 2e9 --on p5en.48xlarge --on p6-b200.48xlarge "
    "--input-tokens 500-2000 --output-tokens 300~100",
    "capacity-owned": "capacity scout --requests-per-s 3 --on 4xH100 --usd-per-hour 9.5 --precision fp8 --fill 0.6",
    "capacity-broken-promise": "capacity scout --requests-per-s 1 --on p5.48xlarge --tpot 0.0001",
    "simulate-death": "simulate scout --precision int4 --on p5.4xlarge --replicas 2 --requests-per-s 1 --hours 0.2 "
    "--ttft 1 --tpot 0.05 --percentile 99 --router least-requests --die-at peak --restart-s 120 --in-flight again",
    "simulate-day": "simulate scout --precision int4 --on p5.4xlarge --rates 0-4=1,5-5.1=9 --hours 6",
    "simulate-day-all": "simulate scout --precision int4 --on p5.4xlarge --rates 0-4=1,5-5.1=9 --hours 6 --all",
    "simulate-json": "simulate scout --precision fp8 --on 2xH100 --rates 8-8.2=2 --hours 9 --output-tokens 20 --json",
    "simulate-broken-promise": "simulate scout --precision int4 --on p5.4xlarge --rates 0-0.05=4,1-1.05=25,2-2.05=1 "
    "--hours 3 --input-tokens 500~200 --output-tokens 100-300 --tpot 0.02 --percentile 97 --usd-per-hour 5 "
    "--replicas 2",
    "claude-cost": "claude-cost --model claude-sonnet-5-5 --input-tokens 1000 --output-tokens 300 --requests 100000",
    "claude-cost-cached": "claude-cost --model haiku-5.5 --input-tokens 300000 --output-tokens 1000 --us-only "
    "--cache-read-fraction 0.5 --cache-write-fraction 0.2 --cache-write-1h-fraction 0.1",
    "claude-cost-all": "claude-cost --model claude-sonnet-5-5 --input-tokens 1000 --output-tokens 300 --batch --all",
    "claude-cost-json": "claude-cost --model claude-opus-5-5 --input-tokens 9 --output-tokens 3 --batch --json",
    "claude-cost-fast": "claude-cost --model claude-opus-5-5 --input-tokens 1000 --output-tokens 300 --fast",
    "compare-unmeasured": "compare --plan plan.json --all",
    "compare": "compare --plan plan.json",
    "compare-json": "compare --plan plan.json --probe probe.json --claude-model claude-sonnet-5-5 --json "
    "--mtok-per-month 500",
    "compare-two-models": "compare --plan plan.json --probe probe.json --all --claude-model haiku-5.5 "
    "--claude-model claude-sonnet-5-5",
    "compare-bought": "compare --plan plan.json --probe probe.json --capex-usd 300000 --life-years 4 --power-kw 5 "
    "--residual-fraction 0.1 --pue 1.3 --usd-per-kwh 0.12 --hosting-usd-per-month 900 --ops-fte 0.5 "
    "--usd-per-fte-year 200000 --all",
    "compare-rented": "compare --plan plan.json --probe probe.json --price-per-hour 3 --replicas 2 --storage-gb 500 "
    "--usd-per-storage-gb-month 0.08 --egress-gb 100 --usd-per-egress-gb 0.09 --other-usd-per-month 50 --all",
    "compare-hybrid": "compare --plan plan.json --probe probe.json --all --claude-share 0.3 --escalation 0.1 "
    "--utilisation 0.4",
    "compare-cached": "compare --plan plan.json --probe probe.json --all --content chinese --cache-read-fraction 0.5 "
    "--cache-write-fraction 0.3 --batch --claude-output-ratio 0.8",
    "prices": "prices",
    "prices-all": "prices --all",
    "prices-named": "prices g5.48xlarge g5.12xlarge --region us-east-1",
    "prices-json": "prices --region eu-west-1 --json",
    "iam-policy": "iam-policy",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for document in (DATA / "compare").iterdir():
        shutil.copy(document, tmp_path)
    tiny.make(tmp_path / "tiny")
    this_machine = parse((DATA / "hosts" / "debian.txt").read_text(encoding="utf-8"))
    monkeypatch.setattr(local_facts, "facts", lambda: this_machine)
    monkeypatch.setattr(gpus, "report", GpuReport)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", A_DAY)
    monkeypatch.setenv("COLUMNS", "100")
    code = run(COMMANDS[name].split())
    out, err = capsys.readouterr()
    said = f"$ corral {COMMANDS[name]}\n{out}{err}exit code {code}\n"
    hold(name, said.replace(str(tmp_path), "FOLDER"))


def hold(name: str, said: str) -> None:
    """Compare with what is kept."""
    kept = DATA / "printed" / f"{name}.txt"
    if os.environ.get("CORRAL_TEST_KEEP"):
        kept.write_text(said, encoding="utf-8")
    assert said == kept.read_text(encoding="utf-8")


def test_every_call_of_a_dry_run_on_ec2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prepared box itself is tests/data/export/systemd's; times, ids and tokens are each order's own."""
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    plan = str(tmp_path / "plan.json")
    assert run(f"size maverick --precision fp8 --on p5en.48xlarge -o {plan}".split()) == 0
    capsys.readouterr()
    command = f"provision {plan} --target ec2 --name t1 --region us-east-1 --region us-west-2 --dry-run"
    more = "--json --cidr 203.0.113.7/32 --purchase spot --max-usd-per-hour 50 --hf-token-parameter /hf/t --tag team=ml"
    assert run([*command.split(), *more.split(), "--weights", "s3://bucket/w/"]) == 0
    said = re.sub(r'"UserData": ".*"', '"UserData": ...', capsys.readouterr().out)
    said = re.sub(r"\b[0-9a-f]{16,}\b", "ID", said)
    hold("provision-ec2-dry-run", re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z?", "TIME", said))
