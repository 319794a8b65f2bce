"""The examples run: each as a program of its own, as its first lines say."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.settings import OfCorral, settings
from deploy.targets.place import Status
from serving.probe.diff import Change
from serving.vllm.endpoint import Endpoint

EXAMPLES = Path(__file__).parent.parent / "examples"
KEY = "sk-of-the-test"
CORRAL = """
import pytest
from deploy.cli.start import main
from probing import on_any_machine

on_any_machine(pytest.MonkeyPatch())
main()
"""
"""The command; a probe of it is not judged by how busy this machine is."""
Asking = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def example(tmp_path: Path) -> Asking:
    """Run one where `corral` is on the PATH."""
    program = tmp_path / "bin" / "corral"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{CORRAL}")
    program.chmod(0o755)

    def run(name: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *words],
            env={
                **os.environ,
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": f"{EXAMPLES.parent}:{Path(__file__).parent}",
            },
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def status(url: str, folder: Path, key: str = KEY) -> str:
    """What `corral status --json` prints of a server."""
    (folder / "key").write_text(f"{key}\n")
    where = Endpoint(base_url=url, served_model_name="fake", api_key_file=folder / "key")
    return Status(name="scout", target="local", state="serving", detail="", endpoint=where).model_dump_json()


ANSWER = "".join(" é\u2028"[index % 3] + "k" for index in range(256))


@pytest.mark.parametrize("client", ["ask_openai.py", "ask_anthropic.py"])
def test_a_client_is_answered(client: str, example: Asking, fake_llm: Any, tmp_path: Path) -> None:
    url = fake_llm(key=KEY, ttft_ms=1.0, itl_ms=0.01)
    done = example(client, "Why", "is", "the", "sky", "blue?", given=status(url, tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "\n6 tokens in, 256 out\n")
    refused = example(client, "Why?", given=status(url, tmp_path, key="another"))
    assert (refused.returncode, refused.stdout, "401" in refused.stderr) == (1, "", True)


def test_a_client_says_that_nothing_serves(example: Asking) -> None:
    done = example("ask_openai.py", "Why?", given='{"endpoint": null}')
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "It does not serve: corral status says why.\n",
    )


def test_a_table_of_traffics(example: Asking) -> None:
    done = example("traffic_table.py", "scout", "0.5", "1e6")
    heads, *rows = [line.split(",") for line in done.stdout.splitlines()]
    assert (done.returncode, heads[:3], len(rows)) == (0, ["requests_per_s", "machines", "machine"], 2)
    assert (rows[0][0], int(rows[0][1]) >= 2, float(rows[0][4]) > 1000) == ("0.5", True, True)
    wrong = example("traffic_table.py", "scout", "many")
    assert (wrong.returncode, wrong.stderr.startswith("error: --requests-per-s many ")) == (2, True)


def test_a_night_is_held_against_its_promise(example: Asking, fake_llm: Any, tmp_path: Path) -> None:
    words = ("--keep", "nights", "--requests", "16", "--attainment")
    first = example("nightly.py", fake_llm(ttft_ms=5.0, itl_ms=0.2), *words, "0")
    assert (first.returncode, first.stdout.endswith("% within the promise\n")) == (0, True)
    second = example("nightly.py", fake_llm(ttft_ms=1100.0, itl_ms=1.0), *words, "0.95")
    assert second.returncode == 1
    assert "0.0% of the requests kept ttft:1000 tpot:100 (ms), not 95.0%\n" in second.stderr
    gone = example("nightly.py", "http://127.0.0.1:9", *words, "0")
    assert (gone.returncode, len(list((tmp_path / "nights").iterdir()))) == (8, 2)


def test_a_night_is_held_against_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    nightly = import_module("nightly")
    tonight = {"errors": {"timeout": 2}, "goodput": {"attainment": 0.97}}
    slower, better = (
        Change(
            figure="ttft_s.p50", a=a, b=b, low=min(b - a, 0.1), high=max(b - a, 0.3), p=0.01, could_show=0.1
        )
        for a, b in ((0.2, 0.4), (0.4, 0.2))
    )
    faster = Change(figure="output_tokens_per_s", a=10, b=20, low=9, high=11, p=0.01, could_show=0.1)
    change = {"different": [each.model_dump() for each in (slower, better, faster)]}
    assert nightly.complaints(tonight, change, 0.95) == [
        "2 requests failed: timeout",
        "ttft_s.p50 went from 0.2 to 0.4, more than the noise within both runs",
    ]
    assert nightly.complaints({"errors": {}, "goodput": {"attainment": 1.0}}, None, 0.95) == []


def test_the_workflow_runs_an_example() -> None:
    told: dict[Any, Any] = yaml.safe_load((EXAMPLES / "nightly.yml").read_text())
    (step,) = (each for each in told["jobs"]["probe"]["steps"] if "run" in each)
    assert step["run"].split()[:2] == ["python3", "examples/nightly.py"]
    assert list(step["env"]) == ["CORRAL_API_KEY"]


def test_the_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corral.toml").write_text((EXAMPLES / "corral.toml").read_text())
    monkeypatch.chdir(tmp_path)
    found = {
        each.key: each.value for each in settings(OfCorral()).settings if each.source.endswith("corral.toml")
    }
    assert found == {
        "region": ("us-east-1", "us-west-2"),
        "tag": ("team=ml", "cost-centre=42"),
        "ttl": "8h",
        "idle": "30m",
        "max-usd-per-hour": "20",
        "permissions-boundary": "arn:aws:iam::123456789012:policy/corral-boundary",
    }


def test_every_example_is_told() -> None:
    told = (EXAMPLES / "README.md").read_text()
    files = (path.name for path in EXAMPLES.iterdir() if path.is_file())
    assert [name for name in files if f"[{name}]" not in told] == ["README.md"]
