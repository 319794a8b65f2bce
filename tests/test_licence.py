"""Llama 4's licence is accepted once, by somebody somewhere, before any byte comes; elsewhere nothing is asked."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stubbed
from renting import fresh
from test_hub import REPO, fake_hub_class

from deploy import doctor, up_request
from deploy import launch as door
from deploy.bundle import sources
from deploy.cli.main import run
from deploy.targets import hub_weights, licence
from deploy.targets.ec2 import documents, prerequisites, weights_push
from deploy.targets.ec2 import place as ec2_place
from deploy.targets.hub_weights import Weights
from deploy.targets.licence import Acceptance, known, refusal, terms_for
from deploy.targets.ssh import place as ssh
from deploy.targets.ssh.host_setup import Brought
from infra.aws.api import Aws
from infra.errors import CorralError, EndpointError, UsageError
from serving.model import hub as hub_door
from serving.model import lora_files, tiny
from serving.model.models import models
from serving.sizing.plan import Plan
from serving.vllm.lora_modules import LoraModule

TERMS = known()["llama4"]
ADAPTER = LoraModule(name="tuned", path="/srv/tuned")
NOBODY = "Nobody has accepted the Llama 4 Community License Agreement here, and nothing under it is fetched before."


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence, "is_somebody_there", lambda: False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hub whose card says llama4."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with fake_hub_class()(REPO, tiny.make(tmp_path / "repository")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
        hub.shutdown()


def given(**changes: Any) -> Acceptance:
    made = Acceptance(
        licence="llama4",
        sha256=TERMS.sha256,
        country="US",
        accepted_by="me on here",
        accepted_at=datetime(2026, 11, 29),
    )
    return made.model_copy(update=changes)


def test_every_llama_4_of_the_table_and_the_hubs_own_name_need_it_and_nothing_else_does() -> None:
    assert {terms_for(model.licence) for model in models().values()} == {TERMS}
    assert [terms_for(name) for name in ("llama4", " LLAMA4 ")] == [TERMS, TERMS]
    assert [terms_for(name) for name in ("", "apache-2.0", "llama3.3", "other")] == [None] * 4


LLAMA = "Llama 4 Community License"


@pytest.mark.parametrize(
    ("said", "called", "family", "name"),
    [
        ("", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "", LLAMA),
        ("", "meta-llama/Llama-Guard-4-12B", "", LLAMA),
        ("", "unsloth/llama4-scout-bnb-4bit", "", LLAMA),
        ("apache-2.0", "someone/My-Llama4Scout-GGUF", "", LLAMA),
        ("mit", "someone/Scout-17B-16E-tuned", "", LLAMA),
        ("llama-4-community-license-agreement", "someone/x", "", LLAMA),
        ("other", "someone/x", "llama4", LLAMA),
        ("", "someone/x", "llama4", LLAMA),
        ("unknown", "someone/x", "", "unknown"),
        ("apache-2.0", "someone/tiny-random", "llama4", "apache-2.0"),
        ("llama3.3", "meta-llama/Llama-3.3-70B-Instruct", "", "llama3.3"),
        ("", "meta-llama/Llama-3.1-405B", "", ""),
        ("", "someone/TinyLlama-4bit", "", ""),
        ("", "someone/TinyLlama-4-bit", "", ""),
        ("", "someone/Llama-4x8B-MoE", "", ""),
        ("", "someone/llama-40k-context", "", ""),
    ],
)
def test_a_licence_is_known_by_the_name_of_weights_and_by_their_family(
    said: str, called: str, family: str, name: str
) -> None:
    assert licence.name_for(said, (called,), family) == name
    assert (
        licence.name_for(said, ("someone/of-another-name", called), family) == name
    )  # what they were made of


def test_a_licence_is_known_by_its_text_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.md").symlink_to(tmp_path)
    assert licence.in_folder(tmp_path) == ""
    (tmp_path / "LICENSE").write_text("Apache License")
    assert licence.in_folder(tmp_path) == ""
    (tmp_path / "LICENSE.txt").write_text("# Llama 4\n  Community   License Agreement\n")
    assert licence.in_folder(tmp_path) == LLAMA


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"cardData": None, "config": {"architectures": ["Llama4ForConditionalGeneration"]}},
        {"cardData": {"license": "mit", "base_model": "meta-llama/Llama-4-Scout-17B-16E"}},
        {"cardData": {"license": "mit", "base_model": ["x/y", "meta-llama/Llama-4-Scout-17B-16E"]}},
    ],
)
def test_a_card_that_names_no_licence_or_another_opens_nothing(
    card: dict[str, Any], hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repo = "someone/Tuned" if card else "someone/Tuned-Llama-4"
    hub.told = lambda info: info | {"cardData": {}} | card
    assert run(["fetch", hub.repo]) == 2
    assert f"error: {NOBODY}\n" in capsys.readouterr().err
    assert hub.bytes_sent == 0


def test_a_hub_that_cannot_be_asked_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The host that fetches may reach it all the same: the plan names a commit, and nobody's card was read."""

    def unreachable(*_: object) -> None:
        raise EndpointError("The Hub cannot be asked about it: timed out.", "")

    monkeypatch.setattr(hub_door, "describe", unreachable)
    found = stubbed.a_plan(tmp_path)
    for model, repo in (("scout", "someone/x"), ("someone-x", "someone/x"), ("y", "someone/y-Llama-4")):
        serve = found.serve.model_copy(update={"model": repo, "revision": "a" * 40})
        known = hub_weights.look(found.model_copy(update={"model": model, "serve": serve}), None)
        with pytest.raises(UsageError, match="Nobody has accepted"):
            hub_weights.require(known)


@pytest.mark.parametrize(
    ("acceptance", "words"),
    [
        (None, NOBODY),
        (given(sha256="0" * 64), NOBODY),
        (given(), ""),
        (given(country="GB"), ""),
        (given(country="CH"), ""),
        (
            given(country="DE"),
            "gives no rights in these models where the principal place of business is in the",
        ),
        (
            given(country="EU"),
            "gives no rights in these models where the principal place of business is in the",
        ),
        (given(country="DE", other_rights="agreement of 2026"), ""),
    ],
)
def test_who_may_fetch(acceptance: Acceptance | None, words: str) -> None:
    error = refusal(TERMS, acceptance)
    assert (error is None) == (not words)
    assert words in (error.message if error else "")


def test_the_27_members_are_left_out() -> None:
    assert len(set(TERMS.not_for) - {"EL", "EU"}) == 27


def test_what_is_accepted_is_kept_and_asked_for_no_more(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        licence.require("llama4")
    assert caught.value.message == NOBODY
    assert caught.value.hint.endswith("corral fetch --accept-license llama4 --country US")
    assert run(["fetch", "--accept-license", "llama4", "--country", "us", "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    path = tmp_path / "corral-home/licence-llama4.json"
    assert json.loads(path.read_text()) == said
    assert (said["country"], said["sha256"], said["other_rights"]) == ("US", TERMS.sha256, "")
    assert 'shows "Built with Llama"' in err
    licence.require("llama4")
    path.write_text("{}")
    with pytest.raises(UsageError):
        licence.require("llama4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--accept-license", "llama4"], "A licence is accepted by somebody somewhere."),
        (["--accept-license", "llama4", "--country", "Germany"], "--country 'Germany' cannot be right."),
        (["--accept-license", "llama5", "--country", "US"], "--accept-license 'llama5' is unknown."),
        (["--country", "US"], "--country and --other-rights belong to a licence that is accepted."),
        (
            ["--accept-license", "llama4", "--country", "fr"],
            "The Llama 4 Community License Agreement gives no rights in these models where the principal place of "
            "business is in the European Union (FR).",
        ),
    ],
)
def test_what_is_no_acceptance_is_kept_nowhere(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["fetch", *words]) == 2
    assert f"error: {said}\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_rights_of_ones_own_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "fetch",
        "--accept-license",
        "llama4",
        "--country",
        "FR",
        "--other-rights",
        "agreement of 2026-01-31",
    ]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["other_rights"] == "agreement of 2026-01-31"
    licence.require("llama4")


def test_the_way_with_rights_of_ones_own_is_a_whole_command() -> None:
    """It is told by every verb that fetches, and only one of them takes these flags."""
    error = refusal(TERMS, given(country="DE"))
    assert error is not None
    assert error.hint.endswith(
        ": corral fetch --accept-license llama4 --country DE --other-rights 'agreement of ...'"
    )


def test_of_what_cannot_be_printed_it_is_kept_that_there_was_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "me\x1b[2J")
    words = ["--accept-license", "llama4", "--country", "FR", "--other-rights", "agreement\x1b]0;x"]
    assert run(["fetch", *words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["other_rights"] == "agreement\N{REPLACEMENT CHARACTER}]0;x"
    assert said["accepted_by"].startswith("me\N{REPLACEMENT CHARACTER}[2J on ")


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["y", "jp"], ""),
        (["n"], "was not accepted; nothing was fetched."),
        ([""], "was not accepted; nothing was fetched."),
        (["yes", "Japan"], "'Japan' is no country of two letters; nothing was fetched."),
        (["yes", ""], "'' is no country of two letters; nothing was fetched."),
        (["yes", "12"], "'12' is no country of two letters; nothing was fetched."),
        (["yes", "ÄÖ"], "'ÄÖ' is no country of two letters; nothing was fetched."),
        (["yes", "SE"], "gives no rights in these models"),
    ],
)
def test_at_a_terminal_it_is_asked_once(
    answers: list[str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(answers)
    monkeypatch.setattr(licence, "is_somebody_there", lambda: True)
    monkeypatch.setattr(licence, "answer", lambda question: left.pop(0))
    caught: CorralError | None = None
    try:
        licence.require("llama4")
    except CorralError as raised:
        caught = raised
    assert left == []
    assert (caught is None) == (not error)
    if caught:
        assert error in caught.message
    else:
        licence.require("llama4")


# --- every way to weights


def provision(plan: Path, *words: str) -> list[str]:
    return ["provision", str(plan), *words]


def test_no_way_brings_a_byte_before(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stubbed.a_plan(tmp_path)
    plan = found.model_copy(update={"serve": found.serve.model_copy(update={"model": REPO})})
    plan.write(tmp_path / "plan.json")
    deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="Nobody has accepted"):
        door.launch(deployment)
    for words in (["fetch", REPO], ["up", str(tmp_path / "plan.json")], provision(tmp_path / "plan.json")):
        assert run(words) == 2, words
        assert f"error: {NOBODY}\n" in capsys.readouterr().err
    assert hub.bytes_sent == 0
    assert not (tmp_path / "hf").exists()


def test_nothing_is_asked_for_what_is_here_or_under_another_licence() -> None:
    """`settled` asks nobody for what lies here, whole; and a folder of the user's own is fetched by nobody."""
    known = Weights(repo="a/b", revision="a" * 40, bytes=1, gated=False, licence="apache-2.0")
    hub_weights.require(known)
    with pytest.raises(UsageError, match="Nobody has accepted"):
        hub_weights.require(known.model_copy(update={"licence": "llama4"}))


def test_a_folder_with_its_text_leaves_this_machine_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a bundle, to a host, into a bucket; who serves it here asks nobody."""
    found = stubbed.a_plan(tmp_path)
    folder = Path(found.serve.model)
    (folder / "LICENSE").write_text(f"{TERMS.text}\nLlama 4 Version Effective Date: April 5, 2025")
    deployment = stubbed.a_deployment(found, tmp_path, monkeypatch)
    there = deployment.model_copy(update={"target": "ssh", "hosts": ("gpu-1",), "engine": ""})
    monkeypatch.setattr(ssh, "brought", lambda deployment: Brought(model=folder, version="0.33.0"))
    beside = [Brought(draft=folder, version="0.33.0"), Brought(adapters=(ADAPTER,), version="0.33.0")]
    monkeypatch.setattr(lora_files, "folder_of", lambda module: folder)

    def sent(bring: Brought) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ssh, "brought", lambda deployment: bring)
            return ssh.settled(there)

    ways: tuple[Callable[[], object], ...] = (
        lambda: sources.model_for(deployment, None, print),
        lambda: ssh.settled(there),
        *(partial(sent, bring) for bring in beside),
        lambda: weights_push.push_from_here(folder, "s3://bucket/weights/", "us-east-1"),
    )
    for way in ways:
        with pytest.raises(UsageError, match="Nobody has accepted"):
            way()
    licence.accept("llama4", "US", "")
    assert sources.model_for(deployment, None, print) == folder
    assert ssh.settled(there) == (there, ())
    assert [sent(bring) for bring in beside] == [(there, ())] * 2


G5 = ["--on", "g5.12xlarge", "--precision", "int4"]


@pytest.mark.parametrize("answers", [None, "n"], ids=["nobody", "no"])
@pytest.mark.parametrize(
    ("words", "region"),
    [
        (["up", "scout", *G5], "us-east-1"),
        (["up", "scout", *G5, "--yes"], "us-east-1"),
        (["provision", "plan.json", "--target", "ec2", "--yes"], "us-east-1"),
        (["up", "scout"], "eu-west-3"),  # of which no price is stored: AWS would be asked
    ],
    ids=["up", "yes", "plan", "chosen"],
)
def test_it_is_asked_and_refused_before_aws_is_asked_anything(
    words: list[str],
    region: str,
    answers: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aws, clock = fresh()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", region)
    assert run(["size", "scout", *G5, "--region", region, "-o", "plan.json"]) == 0
    monkeypatch.setattr(documents, "Boto", lambda: aws)
    monkeypatch.setattr(documents, "Aws", partial(Aws, sleep=clock.sleep, clock=clock))
    monkeypatch.setattr(prerequisites, "require", lambda: None)
    monkeypatch.setattr(ec2_place, "require_here", lambda: None)
    there = answers is not None
    monkeypatch.setattr(licence, "is_somebody_there", lambda: there)
    # Without a machine somebody has to be there to choose one, whom no licence is asked about in the first case.
    monkeypatch.setattr(up_request, "is_somebody_there", lambda: True)
    monkeypatch.setattr(licence, "answer", lambda question: answers)
    capsys.readouterr()
    assert run(words) == 2
    said = NOBODY if answers is None else f"The {TERMS.title} was not accepted; nothing was fetched."
    assert f"error: {said}\n" in capsys.readouterr().err
    assert aws.calls == []
    assert not (tmp_path / "corral-home" / "scout").exists()


def test_what_is_brought_from_a_bucket_of_ones_own_is_asked_for_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, clock = fresh()
    monkeypatch.setattr(documents, "Boto", lambda: aws)
    monkeypatch.setattr(documents, "Aws", partial(Aws, sleep=clock.sleep, clock=clock))
    monkeypatch.setattr(prerequisites, "require", lambda: None)
    assert run(["up", "scout", *G5, "--weights", "s3://models/scout/"]) != 0
    assert NOBODY not in capsys.readouterr().err
    assert aws.calls != []


@pytest.mark.parametrize(
    ("said", "telling"),
    [
        ({"--region": "eu-central-1"}, "--region eu-central-1"),
        ({"--region": "eu-west-2"}, ""),  # London
        ({"--region": "eu-central-2"}, ""),  # Zurich
        ({"--region": "us-east-1", "--claude-region": "eu"}, "--claude-region eu"),
        ({"--claude-region": "europe-west2"}, ""),  # London as Google names it; it begins like a currency
        ({"--region": None, "--currency": "EUR=0.92"}, "--currency EUR=0.92"),
        ({"--currency": "GBP=0.79"}, ""),
        (
            {"--region": "eusc-de-east-1", "--currency": "SEK=10"},
            "--region eusc-de-east-1, --currency SEK=10",
        ),
    ],
)
def test_where_an_option_says_the_european_union_its_gap_is_told(
    said: dict[str, str | None], telling: str
) -> None:
    note = (
        f"LICENCE ({telling}): the Llama 4 Community License Agreement: Not for you where your principal place of "
        "business, or your domicile, is in the European Union. Read it first: https://www.llama.com/llama4/license/"
    )
    assert licence.left_out(("scout",), "llama4", said) == (note if telling else "")
    assert licence.left_out(("other",), "other", said) == ""


def test_a_region_of_the_european_union_is_told_of_by_what_plans_and_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "capacity scout --requests-per-s 1 --input-tokens 2k --output-tokens 500 --on g5.12xlarge --precision int4"
    told = licence.left_out(("scout",), "llama4", {"--region": "eu-west-3"})
    monkeypatch.chdir(tmp_path)
    run([*asked.split(), "--region", "eu-west-3", "-o", "plan.json"])
    assert f"warning: {told}\n" in capsys.readouterr().err
    run([*asked.split(), "--region", "eu-west-2"])
    assert "LICENCE" not in capsys.readouterr().err
    compared = ["compare", "--plan", "plan.json", "--price-per-hour", "6"]
    assert run([*compared, "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert told.replace("--region", "the plan's region") in warnings
    plan = Plan.read(tmp_path / "plan.json")
    deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    assert [check.found for check in doctor.of_regions(deployment, None)] == [told]
    licence.accept("llama4", "US", "")
    assert list(doctor.of_regions(deployment, None)) == []
