"""Known tasks by lm-evaluation-harness: a stand-in for its program, which writes samples as it does."""

import json
import sys
from pathlib import Path

import pytest
from fake_scorer import Fake, serving

from deploy.cli.main import run
from serving.quality.tasks import items_of, result, tasks

PROGRAM = """#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
asked = dict(zip(words, words[1:]))
log = pathlib.Path({log!r})
names = "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_ALLOW_CODE_EVAL", "NO_PROXY"
keys = {{name: os.environ.get(name) for name in names}}
told = json.loads(log.read_text()) if log.exists() else []
log.write_text(json.dumps([*told, [words, keys]]))
if os.environ.get("FAIL"):
    sys.exit("Traceback\\nValueError: no such task")
folder = pathlib.Path(asked["--output_path"]) / "fake"
folder.mkdir()
wrong = 3 if "anthropic" in asked["--model"] else 1
with open(folder / f"samples_{{asked['--tasks']}}_2026-11-29T14-10-{{len(told):02}}.123.jsonl", "w") as file:
    for number in range(20):
        for name in ("strict", "flexible"):
            right = float(number >= wrong) if name == "strict" else 1.0
            sample = {{"doc_id": number, "filter": name, "metrics": ["exact_match"], "exact_match": right}}
            file.write(json.dumps(sample) + "\\n")
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program is on the PATH, and notes here how it was asked."""
    place = tmp_path / "bin"
    place.mkdir()
    program = place / "lm_eval"
    program.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "log.json")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path / "log.json"


def test_both_are_asked_and_held_against_each_other_item_by_item(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_API_KEY_A", "of-a")
    a, b = Fake(key="of-a"), Fake(name="claude-x")
    with serving(a, b):
        words = "--tasks humaneval --run-generated-code --task-items 20 --api-b messages --model-b claude-x --json"
        assert run(["quality", a.url, b.url, *words.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["perplexity"], found["finding"], found["noise"], found["texts"]) == (None, None, None, 0)
    (task,) = found["tasks"]
    assert (task["task"], task["items"], task["a"], task["b"]) == ("humaneval", 20, 0.95, 0.85)
    assert task["b_minus_a"]["mean"] == pytest.approx(-0.1)
    assert task["cannot_show"] == pytest.approx(0.15)
    (of_a, keys_a), (of_b, keys_b) = json.loads(log.read_text())
    assert of_a[:8] == [
        "--model", "local-chat-completions", "--model_args",
        f"model=fake,base_url={a.url}/v1/chat/completions,num_concurrent=8,max_retries=3,timeout=600",
        "--tasks", "humaneval_instruct", "--apply_chat_template", "--limit",
    ]  # fmt: skip
    assert of_a[8:14] == ["20", "--confirm_run_unsafe_code", "--log_samples", "--seed", "0", "--output_path"]
    assert of_b[1] == "anthropic-chat-completions"
    assert keys_a == {
        "OPENAI_API_KEY": "of-a",
        "ANTHROPIC_API_KEY": None,
        "HF_ALLOW_CODE_EVAL": "1",
        "NO_PROXY": "127.0.0.1",
    }
    assert keys_b["OPENAI_API_KEY"] is None
    assert [path.name for path in log.parent.glob("corral-tasks-*")] == []


def test_only_a_task_that_runs_code_is_allowed_to(log: Path) -> None:
    a, b = Fake(), Fake()
    with serving(a, b):
        assert run(["quality", a.url, b.url, "--tasks", "humaneval,math", "--run-generated-code"]) == 0
    allowed = {
        words[words.index("--tasks") + 1]: ("--confirm_run_unsafe_code" in words, keys["HF_ALLOW_CODE_EVAL"])
        for words, keys in json.loads(log.read_text())
    }
    assert allowed == {"humaneval_instruct": (True, "1"), "minerva_math500": (False, None)}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--tasks mmlu,gsm", 2, "error: --tasks gsm is unknown.\nhint: One or more of: mmlu,humaneval,math\n"),
        ("--tasks ,", 2, "error: --tasks nothing is unknown.\nhint: One or more of: mmlu,humaneval,math\n"),
        ("--tasks humaneval", 2,
         "error: humaneval runs on this machine what the models write.\n"
         "hint: On a machine that may be spoiled, such as a container: add --run-generated-code.\n"),
        ("--tasks math --offline", 2,
         "error: This would ask the Hugging Face Hub for the tasks' items, and --offline forbids it.\n"
         "hint: Leave out --offline (and unset CORRAL_OFFLINE), or bring what is needed along: a folder, "
         "wheels, a plan.\n"),
        ("--tasks math --blind --texts x", 2,
         "error: --blind writes a page alone.\n"
         "hint: Ask for the tasks by themselves: leave --blind out.\n"),
        ("", 2, "error: There is nothing to compare on.\nhint: Give your own texts: --texts texts.txt\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_before_anybody_is(
    words: str,
    code: int,
    said: str,
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "0")
    assert run(["quality", "http://127.0.0.1:1", "http://127.0.0.1:1", *words.split()]) == code
    assert capsys.readouterr().err == said
    assert not log.exists()


def test_without_the_program_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["quality", "http://127.0.0.1:1", "http://127.0.0.1:1", "--tasks", "math"]) == 11
    assert capsys.readouterr().err == (
        "error: --tasks needs lm-evaluation-harness, and lm_eval is not on the PATH.\n"
        "hint: Install it: uv pip install 'lm-eval[api]>=0.4.13'\n"
    )


def test_a_program_that_fails_is_quoted(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "1")
    a = Fake()
    with serving(a):
        assert run(["quality", a.url, a.url, "--tasks", "math"]) == 11
    assert capsys.readouterr().err.endswith(
        "error: lm_eval did not do math: ValueError: no such task.\nhint: Try it by hand: lm_eval --help\n"
    )


def test_what_no_item_told_apart_may_still_be() -> None:
    """164 times the same: by the rule of three up to 1.8 points could hide."""
    same = {("t", number): 1.0 for number in range(tasks()["humaneval"].items)}
    found = result("humaneval", same, same)
    assert (found.b_minus_a.low, found.b_minus_a.high) == (0.0, 0.0)
    assert found.cannot_show == pytest.approx(3 / 164)


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"filter": "x"}', b'{"filter": 1, "doc_id": "z", "metrics": []}']
)
def test_a_sample_that_is_none_is_told(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any words
        items_of("t", line)
