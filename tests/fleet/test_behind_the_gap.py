"""The session of docs/tutorials/bank.md, as it is written there: from a bundle to a proof that holds, on a booted host.

What differs: the model is a toy and lies here, vLLM is data/stub_vllm.py, and corral itself needs no index as it is
installed. The host has no way to anything but this machine.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundling import an_engine

from deploy.cli.main import run
from infra.egress_proof import Egress
from serving.model import tiny

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs/tutorials/bank.md"
HERE = (["size", "scout"], ["fetch", "plan.json"])
"""What is done otherwise on the first machine: it would ask the Hub."""


def session() -> list[list[str]]:
    """The commands of corral in the page's blocks, as words."""
    return [
        shlex.split(line)[1:]
        for line in re.findall(r"^\$ (corral .*)$", PAGE.read_text().replace("\\\n", " "), re.MULTILINE)
    ]


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
    for words in session():
        if words[:2] in HERE:
            continue
        words = [
            os.path.expanduser(there.get(word, word)).replace("scout-int4", "scout-bf16") for word in words
        ]
        more = {"create": ["--without-corral"], "up": ["--yes"]}
        verb = next(word for word in words if not word.startswith("-"))
        words += more.get(verb, more.get(words[1], []))
        assert run(words) == 0, (words, capsys.readouterr().err)
        if told := re.search("--manifest-sha256 ([0-9a-f]{64})", capsys.readouterr().out):
            there["CHECKSUM"] = told[1]

    report = Egress.read(tmp_path / "egress.json")
    (proof,) = report.hosts
    assert (report.verdict, [each.outcome for each in proof.before.attempts]) == (
        "proved",
        ["no way", "no way", "no way", "stopped"],
    )
    assert proof.before.served is not None
    assert set(proof.before.served.model) >= {"config.json", "model.safetensors"}
    assert "ops@bank" in (tmp_path / "egress.html").read_text()
    assert (words[0], machine.ssh("ls -A /opt/corral 2>/dev/null || true")) == ("down", "")
