"""Servers that are reached by more than an address: headers, paths, queries, names of their own, several models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asking
import pytest
from probing import on_any_machine

from deploy.cli.main import run as corral
from serving.probe.report import ProbeReport
from serving.probe.request_maker import shared_out
from serving.probe.run import run
from serving.probe.spec import Share

Fake = Callable[..., str]
LOAD = ["--concurrency", "2", "--requests", "4", "--input-tokens", "20", "--output-tokens", "3"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    on_any_machine(monkeypatch)


def probed(url: str, folder: Path, *options: str) -> ProbeReport:
    assert corral(["probe", url, *LOAD, "--output", str(folder), *options]) == 0
    return ProbeReport.read(folder / "probe.json")


def bodies(url: str) -> list[dict[str, Any]]:
    with urlopen(f"{url}/truth") as answer:
        found: list[dict[str, Any]] = json.load(answer)["bodies"]
        return found


def test_azure(fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment in the path, a query, a key in a header of its own, no list of models, another name for lengths."""
    monkeypatch.setenv("AZURE_KEY", "hunter2")
    url = fake_llm(
        vllm=False,
        models="none",
        header="api-key: hunter2",
        query="api-version=1",
        length_field="max_completion_tokens",
    )
    path = "/openai/deployments/fake/chat/completions?api-version=1"
    report = probed(url + path, tmp_path / "out", "--header", "api-key: $AZURE_KEY")
    assert (report.succeeded, report.errors, report.load["api"], report.model) == (4, {}, "chat", "fake")
    assert "the server refuses max_tokens: lengths are asked for as max_completion_tokens" in report.notes
    assert {body["max_completion_tokens"] for body in bodies(url)[3:]} == {3}
    kept = (tmp_path / "out" / "results.jsonl").read_text()
    assert ("hunter2" in kept, "AZURE_KEY" in kept, json.loads(kept.splitlines()[0])["target"]["headers"]) == (
        False, False, ["api-key"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("api", "field", "tokens"), [("chat", "stream_options", 12), ("responses", "store", 12)]
)
def test_a_field_that_the_server_refuses_is_left_out_and_that_is_said(
    fake_llm: Fake, tmp_path: Path, api: str, field: str, tokens: int
) -> None:
    url = fake_llm(refused_field=field)
    report = probed(url, tmp_path / "out", "--api", api)
    assert (report.succeeded, report.output_tokens) == (4, tokens)
    assert f"the server refuses {field}: requests go without it" in report.notes
    assert {field in body for body in bodies(url)} == {False}


def test_a_field_of_the_users_own_is_not_left_out(fake_llm: Fake, tmp_path: Path) -> None:
    url, own = fake_llm(refused_field="stream_options"), '{"stream_options": {"include_usage": true}}'
    assert corral(["probe", url, *LOAD, "--extra-body", own, "--output", str(tmp_path / "out")]) == 8


def test_a_model_that_is_named_needs_no_list(fake_llm: Fake, tmp_path: Path) -> None:
    assert probed(fake_llm(vllm=False, models="refused"), tmp_path, "--model", "fake").succeeded == 4


def test_responses(fake_llm: Fake, tmp_path: Path) -> None:
    url = fake_llm()
    report = probed(f"{url}/v1/responses", tmp_path)
    assert (report.succeeded, report.output_tokens, report.finish_reasons) == (4, 12, {"length": 4})
    assert (report.input_tokens, report.exact_input_fraction) == (80, 1.0)
    assert {(body["max_output_tokens"], body["store"], "input" in body) for body in bodies(url)[1:]} == {
        (3, False, True)
    }


def test_lengths_are_learned_from_usage_where_nobody_counts(fake_llm: Fake, tmp_path: Path) -> None:
    """The fake has 1.5 tokens a word and more; asked for 400 tokens it is sent 400, give or take a few words."""
    report = run(
        asking.target_of(fake_llm(vllm=False)),
        asking.load_of(requests=8),
        asking.workload_of("400", "2"),
        tmp_path,
    )
    assert report.input_tokens / 8 == pytest.approx(400, rel=0.02)
    assert report.exact_input_fraction is None
    assert report.notes[0].startswith(
        "prompt lengths: approximate, by the server's own count of two prompts: 1."
    )


def test_several_models_share_a_load(fake_llm: Fake, tmp_path: Path) -> None:
    url = fake_llm()
    report = probed(url, tmp_path, "--model", "fake=3", "--model", "adapter", "--requests", "8")
    assert [body["model"] for body in bodies(url)[:2]] == ["fake", "adapter"]
    assert {name: (each.sent, each.succeeded, each.output_tokens) for name, each in report.by_model.items()} == {
        "fake": (6, 6, 18), "adapter": (2, 2, 6),
    }  # fmt: skip
    assert report.model == "fake, adapter"


def test_a_models_share_is_had_at_any_time() -> None:
    shares = (Share(model="a", share=3), Share(model="b"))
    turns = shared_out(shares)
    assert [next(turns) for _ in range(8)] == ["a", "a", "a", "b", "a", "a", "a", "b"]
    assert next(shared_out(())) is None
