"""The two hosts of docs/tutorials/bank.md: each line of the page from `up` on, with both; folders stand for hosts.

With one host fleet/test_behind_the_gap.py goes through the page on a booted one, and what is printed is held to it.
"""

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tutorials
from bundling import a_key
from fake_box import Box
from test_owned_line import ROOT, Corral, look, says, stopped
from test_owned_line import box as box
from test_owned_line import corral as corral
from test_owned_line import plan as plan
from test_replicas import boxes as boxes
from test_replicas import engine as engine

from deploy.targets.deployment import load
from deploy.targets.ssh.place import should_have_served
from infra import egress_rules
from infra.egress_proof import Egress
from infra.onhost import sums

PAGE = (tutorials.ROOT / "docs/tutorials/bank.md").read_text(encoding="utf-8")
(HOSTS,) = re.findall(r"^With two hosts name both, `([^`]+)`", PAGE, re.MULTILINE)
TARGETS = ("1.1.1.1:443", "8.8.8.8:53", "[2606:4700:4700::1111]:443", "10.99.0.1:9")
NAMED = ["ops@gpu-1", "ops@gpu-2"]
HELD = ("sha256", "verdict", "signature", "rules", "engine", "weights")
RULES = egress_rules.rules("scout", has_peers=False, listens_outside=False)


def lines() -> list[list[str]]:
    """The words of each line of the page from the one that brings it up, with both hosts where it names one."""
    shown = [match for match in tutorials.blocks.BLOCK.finditer(PAGE) if match["treated"] == "volatile"]
    commands = [
        line.replace("\\\n", " ") for block in shown for line in tutorials.blocks.commands(block["text"])
    ]
    (first,) = (at for at, line in enumerate(commands) if line.startswith("corral --offline up "))
    return [shlex.split(line.replace("--host ops@gpu-1", HOSTS))[1:] for line in commands[first:]]


def test_each_line_of_the_page_goes_through_with_both_hosts(
    boxes: tuple[Box, Box],
    corral: Corral,
    plan: Path,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ops@gpu-2").symlink_to(boxes[1].folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signers").write_text(f"ops@bank {a_key(tmp_path / 'id_ed25519')}")
    here = {
        "~/.corral/bundles/scout-int4/plan.json": [str(plan)],
        "~/.corral/engine/bundled": [engine],
        "~/.ssh/id_ed25519": [str(tmp_path / "id_ed25519")],
        # Without a bundle it is held against what was brought, as the page has it.
        "--bundle": ["--deployment"],
        "bundle": ["scout"],
    }
    done: list[tuple[list[str], int, str, str]] = []
    for words in lines():
        if words[0] == "egress" and words[1] != "verify":
            as_expected(boxes)
            for each in boxes:  # as the first start does
                assert (
                    sums.changed(each.path(f"{ROOT}/model"), each.path(f"{ROOT}/weights.sums"), False) == ""
                )
        monkeypatch.setattr("sys.stdin", tutorials.Person("y\n"))
        done.append((words, *corral(*[each for word in words for each in here.get(word, [word])])))
        assert done[-1][1] == 0, done[-1]
    said = {" ".join(words[:2]): (out, err) for words, _, out, err in done}
    assert [*said] == [
        "--offline up",
        "egress scout",
        "egress verify",
        "fetch --verify",
        "status scout",
        "down scout",
    ]
    sent = [line for line in said["--offline up"][1].splitlines() if line.startswith("leaves this machine: ")]
    assert [len(re.findall(r"(ops@gpu-[12]):/opt/corral/scout/", line)) for line in sent] == [2, 2]
    report = Egress.read(tmp_path / "egress.json")
    assert (report.verdict, [proof.host for proof in report.hosts], report.completions) == (
        "proved",
        NAMED,
        10,
    )
    found = said["egress verify"][0]
    assert [len(re.findall(rf"^  {what} +holds  .*$", found, re.MULTILINE)) for what in HELD] == [
        1,
        1,
        1,
        2,
        2,
        2,
    ]
    for host in NAMED:
        assert re.search(rf"^  weights +holds  {host}: \d+ files are those ", found, re.MULTILINE), found
        assert f"{host}:" in said["fetch --verify"][0], said["fetch --verify"]
        assert host in (tmp_path / "egress.html").read_text()
    assert [each.path(ROOT).exists() for each in boxes] == [False, False]
    assert said["down scout"][0].endswith("Nothing of scout is left.\n")


def as_expected(boxes: tuple[Box, Box]) -> None:
    """Have both hosts say that what was brought serves there, behind the rules that corral writes."""
    expected = should_have_served(load("scout"))
    served = {
        "vllm_version": "0.33.0",
        "engine_sha256": expected.engine_sha256,
        "model": dict(expected.model or {}),
        "rules_sha256": hashlib.sha256(RULES.encode()).hexdigest(),
    }
    there: dict[str, Any] = {"served": served, "rules": RULES, "rules_at_start": RULES}
    for each in boxes:
        says(each, look(*map(stopped, TARGETS), **there), look(packets=150, **there))
