"""The session of docs/tutorials/bank.md, as it is written there: from a bundle to a proof that holds, on a booted host.

What is printed is held against the page (tutorials.py). What differs: the model is a toy and lies here, vLLM is
data/stub_vllm.py, and corral itself needs no index as it is installed. The host has a way to this machine alone.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tutorials
from bundling import an_engine

from deploy.cli.main import run
from infra.egress_proof import Egress
from serving.model import tiny

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

PAGE = tutorials.ROOT / "docs/tutorials/bank.md"


def test_the_session_of_the_page_ends_in_a_proof_that_holds(
    new_machine: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    need: Callable[..., Any],
) -> None:
    if not shutil.which("python3.11"):
        need("fleet", "this machine has no python3.11, which the host has")
    machine = new_machine()
    machine.power_on()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", tutorials.COLUMNS)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / ".corral"))
    tiny.make(tmp_path / "scout")
    assert run(["size", "./scout", "--on", "local", "-o", "plan.json"]) == 0
    records = an_engine(tmp_path / "vllm-env", python="3.11").glob("lib/python3*/site-packages/*.dist-info")
    (next(records) / "RECORD").write_text("vllm/__init__.py,,0\n")
    key = tmp_path / ".ssh/id_ed25519"
    key.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "signers").write_text(f"ops@bank {key.with_suffix('.pub').read_text()}")
    capsys.readouterr()

    there = {"ops@gpu-1": machine.name, "CHECKSUM": ""}
    ran = []

    def printed(words: list[str]) -> str:
        ran.append(next(word for word in words if not word.startswith("-")))
        here = [
            os.path.expanduser(there.get(word, word)).replace("scout-int4", "scout-bf16") for word in words
        ]
        monkeypatch.setattr("sys.stdin", tutorials.Person("y\n"))
        code, said = tutorials.screen([*here, *(["--without-corral"] if words[1] == "create" else [])])
        while "--history" in words and code == 0 and "ready" not in said:  # its judge has not looked yet
            code, said = tutorials.screen(words)
        assert code == 0, (words, said)
        if told := re.search("--manifest-sha256 ([0-9a-f]{64})", said):
            there["CHECKSUM"] = told[1]
        return as_shown(said, tmp_path, machine)

    now = tutorials.replayed(PAGE, printed)
    report = Egress.read(tmp_path / "egress.json")
    (proof,) = report.hosts
    assert (report.verdict, [each.outcome for each in proof.before.attempts]) == (
        "proved",
        ["no way", "no way", "no way", "stopped"],
    )
    assert proof.before.served is not None
    assert set(proof.before.served.model) >= {"config.json", "model.safetensors"}
    assert "ops@bank" in (tmp_path / "egress.html").read_text()
    assert (ran[-1], machine.ssh("ls -A /opt/corral 2>/dev/null || true")) == ("down", "")
    tutorials.hold(PAGE, now)


def as_shown(said: str, home: Path, machine: Any) -> str:
    """What is printed, with the page's names in place of a test's; a kernel's version is nobody's matter."""
    names = {str(home): "~", machine.name: "ops@gpu-1", machine.ours: "10.99.0.1"}
    for name, shown in names.items():
        said = said.replace(name, shown)
    return re.sub(r"Linux (\d+\.\d+)[^,\s]*", r"Linux \1", said)
