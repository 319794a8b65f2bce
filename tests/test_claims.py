"""The claims that do not hold: each command is run, and prints what the claim says it does."""

import re
from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from deploy.costs.claims import Claim, Claims, claims

ALL = claims().claims


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim.says)
def test_a_claims_command_shows_the_fact(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in claim.commands:
        assert run(command.split()) in (0, 3)
        printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert [shown for shown in claim.shows if shown not in printed] == []


def test_no_claim_stands_twice() -> None:
    assert len({claim.says for claim in ALL}) == len(ALL)


def test_the_claims_are_listed_without_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--claims", "--json"]) == 0
    assert Claims.model_validate_json(capsys.readouterr().out) == claims()
    assert run(["compare", "--claims"]) == 0
    first = capsys.readouterr().out.split("\n\n")[0]
    assert first == (
        'WRONG: "A g5.12xlarge costs about $16 an hour." (articles on Llama 4 in place of Claude)\n'
        "  It costs $5.672 on demand in us-east-1; $16.288 is g5.48xlarge, with twice the GPUs. At the wrong\n"
        "  price a million tokens look 2.8 times too dear.\n"
        "  [AWS Pricing API, as generated into aws/karpenter-provider-aws; checked 2026-07-20]\n"
        "    corral prices g5.12xlarge g5.48xlarge --region us-east-1"
    )


@pytest.mark.parametrize("ask", ["", "--claims --plan plan.json", "--claims -o folder"])
def test_a_plan_or_the_claims(
    ask: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *ask.split()]
    assert run(words) == 2
    refusals.hold(capsys.readouterr().err, request, tmp_path, words)
