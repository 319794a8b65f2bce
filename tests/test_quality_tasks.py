"""Tasks by lm-evaluation-harness: what it really wrote (tests/data/lm_eval), and a stand-in that writes as it does."""

import json
import re
import sys
from pathlib import Path

import own_tls
import pytest
from fake_scorer import Fake, serving

from deploy.cli.main import run
from serving.probe.spec import Target
from serving.quality.harness import environment
from serving.quality.respondent import Respondent
from serving.quality.task_result import Kept, kept, result, result_line
from serving.quality.tasks import tasks

REAL = Path(__file__).parent / "data" / "lm_eval"
PROGRAM = """#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
asked = dict(zip(words, words[1:]))
log = pathlib.Path({log!r})
names = "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_ALLOW_CODE_EVAL", "NO_PROXY", "HF_HUB_OFFLINE", "SSL_CERT_FILE"
keys = {{name: os.environ[name] for name in names if name in os.environ}}
if "SSL_CERT_FILE" in keys:
    keys["trusted"] = pathlib.Path(keys.pop("SSL_CERT_FILE")).read_text()
told = json.loads(log.read_text()) if log.exists() else []
log.write_text(json.dumps([*told, [words, keys]]))
if os.environ.get("FAIL"):
    sys.exit("Traceback\\nValueError: no such task")
if "--include_path" in asked:
    named = [line for file in pathlib.Path(asked["--include_path"]).glob("*.yaml") for line in file.open()]
    if not {{f"task: {{asked['--tasks']}}\\n", f"group: {{asked['--tasks']}}\\n"}}.intersection(named):
        sys.exit("ValueError: Tasks not found: " + asked["--tasks"])
folder = pathlib.Path(asked["--output_path"]) / "fake"
folder.mkdir(parents=True)
wrong = 3 if "anthropic" in asked["--model"] else 1
known = {{"humaneval_instruct": "pass@1", "minerva_math500": "math_verify", "stable": "acc"}}
metric = known.get(asked["--tasks"], "exact_match")
date = f"2026-11-30T14-10-{{len(told):02}}.123"
written = {{"n-samples": {{asked["--tasks"]: {{"original": 99, "effective": 20}}}}, "lm_eval_version": "0.4.13"}}
(folder / f"results_{{date}}.json").write_text(json.dumps(written))
with open(folder / f"samples_{{asked['--tasks']}}_{{date}}.jsonl", "w") as file:
    for number in range(20):
        for name in ("strict", "flexible"):
            right = float(number >= wrong) if name == "strict" else 1.0
            sample = {{"doc_id": number, "doc_hash": str(number), "filter": name, "metrics": ["acc", metric]}}
            file.write(json.dumps(sample | {{"acc": right, metric: right}}) + "\\n")
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
    for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "HF_HUB_OFFLINE", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "of the user for somebody else")
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
    assert (task["metric"], task["harness_version"]) == ("pass@1", "0.4.13")
    (of_a, keys_a), (of_b, keys_b) = json.loads(log.read_text())
    about = {"num_concurrent": 8, "max_retries": 3, "timeout": 600}
    goes_on = {"continue_final_message": True, "add_generation_prompt": False}
    assert (of_a[:3], json.loads(of_a[3])) == (
        ["--model", "local-chat-completions", "--model_args"],
        {"model": "fake", "base_url": f"{a.url}/v1/chat/completions", **about},
    )
    assert of_a[4:8] == ["--tasks", "humaneval_instruct", "--apply_chat_template", "--gen_kwargs"]
    assert json.loads(of_a[8]) == goes_on
    rest = ["--limit", "20", "--confirm_run_unsafe_code", "--log_samples", "--seed", "0", "--output_path"]
    assert of_a[9:-1] == rest
    assert of_b[1] == "anthropic-chat-completions"
    assert of_b[4:-1] == ["--tasks", "humaneval_instruct", "--apply_chat_template", *rest]
    common = {"HF_ALLOW_CODE_EVAL": "1", "NO_PROXY": "127.0.0.1"}
    assert keys_a == {"OPENAI_API_KEY": "of-a", **common}
    assert keys_b == {"ANTHROPIC_API_KEY": "", **common}, "a key that is set for others goes to nobody"
    assert found["notes"][-1] == (
        "humaneval begins each answer, and only of vLLM's own chat is it known how to ask to go on from there. "
        f"Where B ({b.url}) begins another instead, its share says nothing."
    )
    assert [path.name for path in log.parent.glob("corral-tasks-*")] == []


def test_a_solution_in_mathematics_has_room_and_no_more_than_half_of_the_context(
    log: Path,
) -> None:
    """The harness's own limit of 256 tokens would cut it off before its answer."""
    a, b = Fake(longest=512), Fake(longest=100_000)
    with serving(a, b):
        assert run(["quality", a.url, b.url, "--tasks", "mmlu,math"]) == 0
    told = [
        (json.loads(words[3]).get("max_gen_toks"), "--num_fewshot" in words)
        for words, _ in json.loads(log.read_text())
    ]
    assert told == [(None, True), (None, True), (256, False), (2048, False)]


OWN = ("--task-folder", str(REAL / "tasks"))
COMPLETIONS = ("--api-a", "completions", "--api-b", "completions")


def test_a_task_of_ones_own_is_scored_by_ones_own_tokenizer_and_needs_no_internet(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    a = Fake(longest=512)
    with serving(a):
        words = ("--tasks", "stable", *OWN, "--task-tokenizer", "some/tokenizer", *COMPLETIONS)
        assert run(["quality", a.url, a.url, *words]) == 0
    (words, keys), _ = json.loads(log.read_text())
    assert json.loads(words[3]) == {
        "model": "fake", "base_url": f"{a.url}/v1/completions", "num_concurrent": 8, "max_retries": 3,
        "timeout": 600, "tokenizer": "some/tokenizer", "tokenizer_backend": "huggingface",
        "tokenized_requests": True, "add_bos_token": True, "max_length": 512,
    }  # fmt: skip
    assert words[4:8] == ["--tasks", "stable", "--include_path", str(REAL / "tasks")]
    assert "--apply_chat_template" not in words
    assert keys["HF_HUB_OFFLINE"] == "1"


def test_whom_an_endpoint_is_trusted_by_is_trusted_beside_the_others(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness takes an authority for all it asks, the Hub too."""
    others = tmp_path / "others.pem"
    others.write_text("OTHERS")
    monkeypatch.setenv("SSL_CERT_FILE", str(others))
    with own_tls.https(tmp_path) as (_, own):
        target = Target(base_url="https://127.0.0.1:1", api="chat", model="m", ca_file=own)
        respondent = Respondent("A", target)
        given = environment(respondent, tasks()["math"], tmp_path)
        respondent.close()
        assert Path(given["SSL_CERT_FILE"]).read_text() == f"OTHERS\n{own.read_text()}"


def test_only_a_task_that_runs_code_is_allowed_to(log: Path) -> None:
    a, b = Fake(), Fake()
    with serving(a, b):
        assert run(["quality", a.url, b.url, "--tasks", "humaneval,math", "--run-generated-code"]) == 0
    allowed = {
        words[words.index("--tasks") + 1]: (
            "--confirm_run_unsafe_code" in words,
            keys.get("HF_ALLOW_CODE_EVAL"),
        )
        for words, keys in json.loads(log.read_text())
    }
    assert allowed == {"humaneval_instruct": (True, "1"), "minerva_math500": (False, None)}


UNKNOWN = (
    "hint: One or more of: mmlu,humaneval,math; one of your own: say where it lies with --task-folder.\n"
)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--tasks mmlu,gsm", 2, f"error: --tasks gsm is unknown.\n{UNKNOWN}"),
        ("--tasks ,", 2, f"error: --tasks nothing is unknown.\n{UNKNOWN}"),
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
        ("--tasks mine --task-folder /nowhere", 2,
         "error: /nowhere holds no task: no .yaml file.\n"
         "hint: Describe one as lm-evaluation-harness wants it: docs/new_task_guide.md there.\n"),
        ("--tasks math --task-tokenizer t", 2,
         "error: --task-tokenizer is for an endpoint that scores given answers, and only completions does.\n"
         "hint: Add: --api-a completions --api-b completions\n"),
        ("--texts x --task-folder /nowhere", 2,
         "error: --task-folder and --task-tokenizer go with --tasks.\nhint: Name a task: --tasks mmlu\n"),
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
        "hint: Install it: uv pip install 'lm-eval[api,math]>=0.4.13' transformers\n"
    )


def test_a_program_that_fails_is_quoted(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "1")
    a = Fake()
    with serving(a):
        assert run(["quality", a.url, a.url, "--tasks", "math"]) == 11
    said = capsys.readouterr().err
    assert "error: lm_eval did not do math: ValueError: no such task.\nhint: Try it by hand: lm_eval " in said
    assert said.endswith("--tasks minerva_math500 --apply_chat_template --log_samples --seed 0\n")


def of_real(name: str, metric: str | None = None) -> Kept:
    """What is made of the files of one real run."""
    return kept(metric, {path.name: path.read_bytes() for path in (REAL / name).iterdir()})


def test_what_no_item_told_apart_may_still_be() -> None:
    """164 times the same: by the rule of three up to 1.8 points could hide."""
    items = {("t", number, ""): 1.0 for number in range(tasks()["humaneval"].items or 0)}
    same = Kept(metrics=("acc",), harness_version="0", items=items)
    found = result("humaneval", same, same)
    assert (found.b_minus_a.low, found.b_minus_a.high) == (0.0, 0.0)
    assert found.cannot_show == pytest.approx(3 / 164)
    assert result_line(found)[-1] == "no difference shown; one below 1.8% cannot be"


SUMMARY = b'{"n-samples": {"t": {"effective": 1}}, "lm_eval_version": "0.4.13"}'
SAMPLE = b'{"filter": "x", "doc_id": 0, "doc_hash": "h", "metrics": ["acc"], "acc": 1}'


def of_files(summary: bytes, samples: bytes) -> dict[str, bytes]:
    """As one run leaves them."""
    return {"results_1.json": summary, "samples_t_1.jsonl": samples}


def test_a_run_that_is_whole_is_taken() -> None:
    assert kept(None, of_files(SUMMARY, SAMPLE)).items == {("t", 0, "h"): 1.0}


@pytest.mark.parametrize(
    ("summary", "samples", "said"),
    [
        (SUMMARY, b"{", "unexpected end of data"),
        (SUMMARY, b"[]", "a sample of t without"),
        (SUMMARY, SAMPLE.replace(b'"x"', b"[]").replace(b'["acc"]', b"[]"), "a sample of t without"),
        (SUMMARY, SAMPLE.replace(b'"doc_hash"', b'"hash"'), "a sample of t without 'doc_hash'"),
        (SUMMARY, SAMPLE.replace(b": 1}", b": [1, 2]}"), "a sample of t without"),
        (SUMMARY, SAMPLE.replace(b": 1}", b": 17.5}"), "acc of t is no share of what is right: 17.5"),
        (SUMMARY, SAMPLE.replace(b": 1}", b": NaN}"), "unexpected character"),
        (SUMMARY, b"", "no sample of t"),
        (SUMMARY.replace(b": 1}", b": 2}"), SAMPLE, "it kept 1 samples of 2"),
        (b'{"n-samples": {}}', SAMPLE, "its results do not say 'lm_eval_version'"),
        (b"[]", SAMPLE, "its results do not say"),
    ],
)
def test_a_run_that_is_not_whole_is_told(summary: bytes, samples: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        kept(None, of_files(summary, samples))


def test_other_items_are_not_compared() -> None:
    """The same numbers of another data set."""
    a = kept(None, of_files(SUMMARY, SAMPLE))
    b = kept(None, of_files(SUMMARY, SAMPLE.replace(b'"h"', b'"g"')))
    with pytest.raises(ValueError, match="not asked the same items"):
        result("t", a, b)


@pytest.mark.parametrize(("name", "shares"), [("tiny", (0.75, 10 / 12)), ("damaged", (0.75, 0.0))])
def test_what_the_harness_wrote_is_read_as_it_reckons_it(name: str, shares: tuple[float, float]) -> None:
    """A group of a task that scores given answers and one that generates; lm-eval 0.4.13 on vLLM 0.32.0, 2026-11-30."""
    (written,) = (REAL / name).glob("results_*.json")
    own = json.loads(written.read_text())["results"]
    its = own["stable_choice"]["acc,none"], own["stable_answer"]["exact_match,strict"]
    items = of_real(name).items
    ours = tuple(
        sum(worth for (task, *_), worth in items.items() if task == each) / 12
        for each in ("stable_choice", "stable_answer")
    )
    assert ours == pytest.approx(its)
    assert ours == pytest.approx(shares)


@pytest.mark.parametrize("short", ["math", "humaneval"])
def test_the_metric_of_a_known_task_is_among_those_that_it_wrote(short: str) -> None:
    """The harness's own task with three items of ours, asked of the toy, which is right of none (2026-11-30)."""
    task = tasks()[short]
    found = of_real(short, task.metric)
    assert (found.metrics, len(found.items), set(found.items.values())) == ((task.metric,), 3, {0.0})
    assert {name for name, *_ in found.items} == {task.name}


def test_what_it_wrote_of_two_toys_is_held_against_each_other() -> None:
    found = result("stable", of_real("tiny"), of_real("damaged"))
    assert (found.items, found.metric, found.harness_version) == (24, "acc, exact_match", "0.4.13")
    assert (found.a, found.b) == (19 / 24, 9 / 24)
    assert result_line(found) == (
        "stable, 24 items", "79.2%", "37.5%", "-62.5% to -20.8%",
        "different; one below 19.7% cannot be",
    )  # fmt: skip


def test_of_a_run_with_a_file_gone_nothing_is_made() -> None:
    files = {path.name: path.read_bytes() for path in (REAL / "tiny").iterdir()}
    gone = {name: text for name, text in files.items() if "stable_answer" not in name}
    with pytest.raises(ValueError, match="it kept 12 samples of 24"):
        kept(None, gone)
