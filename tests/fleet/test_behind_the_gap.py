"""The session of docs/tutorials/bank.md, as it is written there: from a bundle to a proof that holds, on booted hosts.

What is printed with one host is held against the page (tutorials.py); then each line that names it is gone through
again with two. What differs: the model is a toy and lies here, vLLM is data/stub_vllm.py, and corral itself needs no
index as it is installed. The hosts have a way to this machine alone.
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
import tutorials
from bundling import an_engine

from deploy.cli.main import run
from infra.egress_proof import Egress, Proof
from serving.model import tiny

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

PAGE = tutorials.ROOT / "docs/tutorials/bank.md"
(BOTH,) = re.findall(r"^With two hosts name both, `([^`]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
NO_WAY_OUT = ["no way", "no way", "no way", "stopped"]
HELD = ("sha256", "verdict", "signature", "rules", "engine", "weights")


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

    machines = {"ops@gpu-1": machine}
    checksum = ""
    ran = []

    def printed(words: list[str]) -> str:
        nonlocal checksum
        ran.append(next(word for word in words if not word.startswith("-")))
        there = {"CHECKSUM": checksum} | {shown: each.name for shown, each in machines.items()}
        here = [
            os.path.expanduser(there.get(word, word)).replace("scout-int4", "scout-bf16") for word in words
        ]
        monkeypatch.setattr("sys.stdin", tutorials.Person("y\n"))
        code, said = tutorials.screen([*here, *(["--without-corral"] if words[1] == "create" else [])])
        # Until each host's judge has looked.
        while "--history" in words and code == 0 and len(re.findall("ready$", said, re.M)) < len(machines):
            code, said = tutorials.screen(words)
        assert code == 0, (words, said)
        if told := re.search("--manifest-sha256 ([0-9a-f]{64})", said):
            checksum = told[1]
        return as_shown(said, tmp_path, machines)

    def left() -> list[str]:
        return [each.ssh("ls -A /opt/corral 2>/dev/null || true") for each in machines.values()]

    now = tutorials.replayed(PAGE, printed)
    report = Egress.read(tmp_path / "egress.json")
    (proof,) = report.hosts
    assert (report.verdict, proof.host, outcomes(proof)) == ("proved", machine.name, NO_WAY_OUT)
    assert (served := proof.before.served) is not None
    assert set(served.model) >= {"config.json", "model.safetensors"}
    assert "ops@bank" in (tmp_path / "egress.html").read_text()
    assert (ran[-1], left()) == ("down", [""])
    tutorials.hold(PAGE, now)

    machines["ops@gpu-2"] = new_machine()
    machines["ops@gpu-2"].power_on()
    said = {" ".join(words[:2]): printed(words) for words in with_both()}
    assert [*said] == [
        "hosts show",
        "doctor ~/.corral/bundles/scout-int4/plan.json",
        "--offline up",
        "egress scout",
        "egress verify",
        "fetch --verify",
        "status scout",
        "down scout",
    ]
    sent = [line for line in said["--offline up"].splitlines() if line.startswith("leaves this machine: ")]
    assert [re.findall("(ops@gpu-[12]):/opt/corral/scout/", line) for line in sent] == 2 * [[*machines]]
    report, names = Egress.read(tmp_path / "egress.json"), [each.name for each in machines.values()]
    assert (report.verdict, [proof.host for proof in report.hosts]) == ("proved", names)
    assert [(proof.completions, outcomes(proof)) for proof in report.hosts] == 2 * [(5, NO_WAY_OUT)]
    first, second = (proof.before.served for proof in report.hosts)
    assert first == second == served
    held = [re.findall(rf"^  {what} +holds  ", said["egress verify"], re.M) for what in HELD]
    assert [*map(len, held)] == [1, 1, 1, 2, 2, 2]
    for shown, each in machines.items():
        assert re.search(rf"^  weights +holds  {shown}: 6 files are those ", said["egress verify"], re.M)
        assert f"{shown}:/opt/corral/scout/model: 6 files, " in said["fetch --verify"]
        assert each.name in (tmp_path / "egress.html").read_text()
    assert said["down scout"].endswith("\nNothing of scout is left.")
    assert left() == ["", ""]


def outcomes(proof: Proof) -> list[str]:
    """What came of each address that was tried from inside the server's unit."""
    return [each.outcome for each in proof.before.attempts]


def with_both() -> list[list[str]]:
    """The words of each line of the page from the first that names its host, with both hosts in its place."""
    blocks = tutorials.blocks.BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    volatile = "\n".join(block["text"] for block in blocks if block["treated"] == "volatile")
    lines = [line.replace("\\\n", " ") for line in tutorials.blocks.commands(volatile)]
    first = next(at for at, line in enumerate(lines) if "ops@gpu-1" in line)
    hosts = {"--host ops@gpu-1": BOTH, "show ops@gpu-1": "show ops@gpu-1 ops@gpu-2"}
    for one, both in hosts.items():
        lines = [line.replace(one, both) for line in lines]
    return [shlex.split(line)[1:] for line in lines[first:]]


def as_shown(said: str, home: Path, machines: dict[str, Any]) -> str:
    """What is printed, with the page's names in place of a test's; a kernel's version is nobody's matter."""
    names = {str(home): "~", machines["ops@gpu-1"].ours: "10.99.0.1"}
    for name, shown in (names | {each.name: shown for shown, each in machines.items()}).items():
        said = said.replace(name, shown)
    return re.sub(r"Linux (\d+\.\d+)[^,\s]*", r"Linux \1", said)
