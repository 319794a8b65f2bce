"""What a document says is a value wherever it goes: no program takes it for an option, no shell runs what is in it.

The lines that people paste are run by bash here, with programs that only note how they were called.
"""

import ast
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_box import commands, words
from pydantic import ValidationError
from test_export import ask
from test_owned import deployment

from deploy.export.formats import FORMATS, export
from deploy.export.kubernetes_weights import job
from deploy.next_step import next_line
from deploy.targets import show_server
from deploy.targets.deployment import Deployment, checked_name, folder, load
from deploy.targets.ec2.weights_push import sync, upload
from deploy.targets.prove_egress import checked_destination
from infra.argument import pasted
from infra.aws import bucket
from infra.aws.region import checked_region
from infra.errors import CorralError, DocumentError, UsageError
from infra.host import join_command
from infra.ssh import Host
from serving.sizing.plan import Plan
from serving.sizing.plan_text import next_step
from serving.vllm import pack
from serving.vllm.endpoint import Endpoint
from serving.vllm.serve_options import ServeOptions, argv

# Each would leave a file called `ran` where a shell runs it.
NASTY = (
    "it's", "a'; touch ran; '", '"; touch ran; "', "$(touch ran)", "`touch ran`", "x; touch ran", "x && touch ran",
    "x | touch ran", "x > ran", "$HOME", "${IFS}", "a b", "50%h %n %%", "\\'; touch ran; \\'", "*", "~", "#x",
    "{{ x }}", "!x", "ünï cödé",
)  # fmt: skip
OPTIONS = ("--trust-remote-code", "-x", "-oProxyCommand=touch ran", "--", "-")
CONTROL = ("a\nb", "a\rb", "a\0b", "\x1b[2J", "\x9b2J", "a\u2028b")

STUBS = ("curl", "corral", "hf", "vllm", "env", "mkdir", "podman", "vllm-router", "hostname")
STUB = """\
#!/bin/sh
for word; do printf '%s\\0' "$word"; done >>"$CALLS/${0##*/}"
[ "${0##*/}" != env ] || exit 0
"""


@pytest.fixture
def pasting(tmp_path: Path) -> Callable[[str], dict[str, list[str]]]:
    """Let bash run lines: what each program was called with, in a row."""
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    for name in STUBS:
        (tools / name).write_text(STUB)
        (tools / name).chmod(0o755)

    def run(lines: str) -> dict[str, list[str]]:
        calls.mkdir(exist_ok=True)
        for path in calls.iterdir():
            path.unlink()
        environ = {"PATH": f"{tools}:/usr/bin:/bin", "CALLS": str(calls), "HOME": str(tmp_path)}
        place = tmp_path / "place"
        place.mkdir(exist_ok=True)
        done = subprocess.run(["bash", "-c", lines], env=environ, cwd=place, capture_output=True, check=False)
        assert list(place.iterdir()) == [], lines
        assert done.stderr == b"", done.stderr
        return {path.name: path.read_text().split("\0")[:-1] for path in calls.iterdir()}

    return run


# --- lines to paste


@pytest.mark.parametrize("nasty", NASTY)
def test_the_lines_below_an_endpoint_run_what_they_say(
    nasty: str, tmp_path: Path, pasting: Callable[[str], dict[str, list[str]]]
) -> None:
    key = tmp_path / nasty.replace("/", "_") / "api-key"
    key.parent.mkdir()
    key.write_text("sk-1\n")
    answering = Endpoint(base_url="http://127.0.0.1:8000", served_model_name=nasty, api_key_file=key)
    ask = show_server.endpoint(deployment(), answering).splitlines()[1].removeprefix("ask:")
    called = pasting(f"{ask}\n{next_line(deployment(), 'serving').removeprefix('Next:')}")
    assert called["curl"][:5] == [
        "http://127.0.0.1:8000/v1/chat/completions", "-H", "Authorization: Bearer sk-1", "-H",
        "Content-Type: application/json",
    ]  # fmt: skip
    assert json.loads(called["curl"][6])["model"] == nasty
    load = deployment().plan.workload
    assert called["corral"] == [
        "probe", "scout", "--concurrency", f"{load.concurrency}", "--requests", "200",
        "--input-tokens", f"{load.input_tokens}", "--output-tokens", f"{load.output_tokens}",
    ]  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY)
def test_the_next_step_after_a_plan_is_of_that_model(
    nasty: str, pasting: Callable[[str], dict[str, list[str]]]
) -> None:
    plan = deployment(model=f"/models/{nasty}").plan.model_copy(update={"model": nasty})
    said = next_step(plan, None).removeprefix("Next: ")
    assert pasting(said)["corral"][:2] == ["size", f"/models/{nasty}"]
    written = next_step(plan, Path(nasty)).removeprefix("Next: ")
    assert pasting(written)["corral"][:2] == ["up", nasty]
    unfit = next_step(plan.model_copy(update={"fits": False}), None).partition(": corral ")[2]
    assert pasting(f"corral {unfit}")["corral"][:2] == ["size", f"/models/{nasty}"]


@pytest.mark.parametrize("nasty", [*NASTY, *OPTIONS])
def test_what_is_pasted_is_one_word_and_no_option(nasty: str) -> None:
    (word,) = shlex.split(pasted(nasty))
    assert word == (f"./{nasty}" if nasty.startswith("-") else nasty)


@pytest.mark.parametrize("nasty", NASTY)
def test_the_hint_of_a_document_that_is_not_there(
    nasty: str, tmp_path: Path, pasting: Callable[[str], dict[str, list[str]]]
) -> None:
    with pytest.raises(DocumentError) as caught:
        Plan.read(tmp_path / nasty / "x" / "plan.json")
    assert pasting(caught.value.hint.partition(": ")[2] + " 2>/dev/null") == {}


# --- what other tools are told


def leaves(value: Any) -> list[Any]:
    """Every text of nested tables and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for each in inner for leaf in leaves(each)]


SHELLS = {"dstack": "serve.dstack.yml", "skypilot": "task.yaml"}


@pytest.mark.parametrize("nasty", NASTY)
def test_a_rendered_form_says_the_name_and_runs_nothing_of_it(
    nasty: str, pasting: Callable[[str], dict[str, list[str]]]
) -> None:
    given = ask("scout-int4")
    serve = given.plan.serve.model_copy(update={"model": f"org/{nasty}", "served_model_name": nasty})
    given = given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})})
    found = {}
    for to in FORMATS:
        made = export(to, given)
        files = {file.path: file.content for file in made.files}
        for note in made.notes:
            if "hf download" in note:
                line = note[note.index("hf download") :].partition(". The server itself")[0]
                assert pasting(line)["hf"][:2] == ["download", f"org/{nasty}"], to
        if to in SHELLS:
            document = yaml.safe_load(files[SHELLS[to]])
            script = document["commands"] if to == "dstack" else [document["setup"], document["run"]]
            called = pasting("\n".join(script).replace("exec env", "env"))["env"]
            found[to] = (nasty in called, f"org/{nasty}" in called)
        elif to == "kubernetes":
            found[to] = (
                nasty.replace("$", "$$") in leaves(list(yaml.safe_load_all(files["server.yaml"]))),
                True,
            )
        elif to == "compose":
            said = yaml.safe_load(files["compose.yaml"])["services"]["vllm"]["command"]
            found[to] = (nasty.replace("$", "$$") in said, True)
        elif to == "quadlet":
            (line,) = [
                line for line in files["corral-scout-int4.container"].splitlines() if line.startswith("Exec=")
            ]
            found[to] = (nasty in words(line.removeprefix("Exec=")), True)
        elif to == "systemd":
            (unit,) = [text for path, text in files.items() if path.endswith("corral-scout-int4.service")]
            found[to] = (any(nasty in line for _, _, line in commands(unit)), True)
            (setup,) = [text for path, text in files.items() if path.endswith("setup.env")]
            pasting(setup)
        elif to == "litellm":
            found[to] = (yaml.safe_load(files["config.yaml"])["model_list"][0]["model_name"] == nasty, True)
    assert set(found.values()) == {(True, True)}, found


def test_no_variable_of_the_kubelet_is_in_what_fetches_the_weights() -> None:
    """$(HF_TOKEN) in a model's name would send the token to the Hub as a part of it."""
    from deploy.export.container import container

    given = ask("scout-int4")
    serve = given.plan.serve.model_copy(update={"model": "org/$(HF_TOKEN)"})
    given = given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})})
    (fetch,) = job(given, container(given, listen="0.0.0.0"))["spec"]["template"]["spec"]["containers"]
    assert "org/$$(HF_TOKEN)" in fetch["command"]


@pytest.mark.parametrize("to", ["quadlet", "dstack"])
@pytest.mark.parametrize("path", ["/m:/etc", "/a b", "/a'b", '/a"b', "/a\\b", "/$x", "/a;b"])
def test_a_folder_that_a_form_cannot_tell_apart_is_refused(to: str, path: str) -> None:
    given = ask("scout-int4")
    serve = given.plan.serve.model_copy(update={"model": path})
    with pytest.raises(UsageError, match="cannot be (told of the folder|mounted)"):
        export(to, given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})}))


def test_a_specifier_of_systemd_in_a_folder_stays_what_it_is() -> None:
    given = ask("scout-int4")
    serve = given.plan.serve.model_copy(update={"model": "/m/50%h"})
    made = export(
        "quadlet", given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})})
    )
    assert "Volume=/m/50%%h:/model:ro\n" in made.files[0].content


def test_what_dstack_would_replace_is_refused() -> None:
    given = ask("scout-int4")
    serve = given.plan.serve.model_copy(update={"served_model_name": "${{ secrets.key }}"})
    with pytest.raises(UsageError, match="dstack reads"):
        export("dstack", given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})}))


# --- values that would be options


FIELDS = (
    "model", "served_model_name", "host", "kv_cache_dtype", "dtype", "quantization", "generation_config",
    "chat_template",
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("text", [*OPTIONS, "\x1b[2J", "a\0b"])
def test_no_field_of_a_plan_is_an_option_or_directs_a_terminal(field: str, text: str) -> None:
    with pytest.raises(ValidationError):
        ServeOptions.model_validate({"model": "/m", "served_model_name": "m"} | {field: text})


@pytest.mark.parametrize("text", [*OPTIONS, "\x1b[2J", "a\0b"])
@pytest.mark.parametrize("name", ["model", "revision", "method"])
def test_nor_does_what_a_plan_says_of_a_draft(name: str, text: str) -> None:
    said = {"method": "eagle3", "model": "/draft", "num_speculative_tokens": 3} | {name: text}
    with pytest.raises(ValidationError):
        ServeOptions.model_validate({"model": "/m", "served_model_name": "m", "speculative_config": said})


def test_every_text_of_a_plan_is_held_so() -> None:
    texts = {name for name, field in ServeOptions.model_fields.items() if "str" in str(field.annotation)}
    others = {"revision", "extra_args", "hf_overrides", "limit_mm_per_prompt", "speculative_config"}
    assert texts - others == set(FIELDS)


@pytest.mark.parametrize("text", [*OPTIONS, *CONTROL])
def test_a_plan_with_such_a_model_is_no_plan(text: str, tmp_path: Path) -> None:
    document = json.loads(deployment().plan.text())
    document["serve"]["model"] = text
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(DocumentError, match=r"serve\.model: it (begins with a hyphen|holds a control)"):
        Plan.read(tmp_path / "plan.json")


@pytest.mark.parametrize("field", ["name", "region", "engine", "hf_token_file", "hosts"])
@pytest.mark.parametrize("text", [*OPTIONS, *CONTROL])
def test_no_field_of_a_deployment_is_one(field: str, text: str) -> None:
    document = json.loads(deployment().text()) | {field: [text] if field == "hosts" else text}
    with pytest.raises(DocumentError, match=field):
        Deployment.parse(json.dumps(document), "here")


def test_a_deployments_document_is_of_the_name_it_lies_under() -> None:
    folder("other").mkdir(parents=True)
    deployment().write(folder("other") / "deployment.json")
    with pytest.raises(DocumentError, match="is the document of another deployment, scout, not of other"):
        load("other")


REFUSED: dict[str, Callable[[str], object]] = {
    "ssh": lambda text: Host(text).shell(),
    "a deployment's name": checked_name,
    "a region": checked_region,
    "a bucket": bucket.place_of,
    "a destination": checked_destination,
    "a peer": lambda text: join_command("scout", 0, (text,)),
    "an image": lambda text: export("compose", versioned(text)),
}


def versioned(text: str) -> Any:
    given = ask("scout-int4")
    return given.model_copy(update={"plan": given.plan.model_copy(update={"vllm_version": text})})


@pytest.mark.parametrize("builder", REFUSED)
@pytest.mark.parametrize("text", [*OPTIONS, *CONTROL])
def test_who_builds_a_command_refuses_an_option(builder: str, text: str) -> None:
    with pytest.raises((CorralError, ValueError)):
        REFUSED[builder](text)


def test_what_is_given_to_vllm_follows_its_option() -> None:
    given = argv(ServeOptions(model="m", served_model_name="n", chat_template="{{ x }}"))
    assert [word for word in given if word.startswith("-") and not word.startswith("--")] == []
    assert given[given.index("--served-model-name") + 1] == "n"


def test_no_file_of_an_engine_is_an_option_of_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "--checkpoint-action=exec=touch ran"
    for name in ("--checkpoint=1", "-x", "lib", hostile):
        (tmp_path / "e" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pack, "is_packed", lambda entry: True)
    with (tmp_path / "e.tar").open("wb") as file:
        pack.pack(tmp_path / "e", file)
    assert not (tmp_path / "ran").exists()
    listed = subprocess.run(["tar", "-tf", tmp_path / "e.tar"], capture_output=True, text=True, check=True)
    assert f"{hostile}/" in listed.stdout.splitlines()


def test_no_folder_is_an_option_of_the_aws_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def noted(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr("deploy.targets.ec2.weights_push.shutil.which", lambda name: name)
    monkeypatch.setattr("deploy.targets.ec2.weights_push.subprocess.run", noted)
    monkeypatch.chdir(tmp_path)
    place = bucket.place_of("s3://bucket/x/")
    upload(Path("--endpoint-url=x"), ("a",), place, "us-east-1")
    assert asked == [sync(f"{tmp_path}/--endpoint-url=x", place, "us-east-1", ("a",))]


# --- every command that is built here


PROGRAMS = {
    "aws", "bash", "cat", "chmod", "chown", "cp", "curl", "date", "df", "env", "find", "findmnt", "flock",
    "getent", "grep", "head", "hf", "id", "install", "ip", "journalctl", "kill", "ln", "ls", "lspci", "mkdir",
    "mv", "nft", "nice", "nvidia-smi", "pip", "ps", "python", "python3", "rm", "sed", "session-manager-plugin",
    "sh", "sha256sum", "ss", "ssh", "ssh-keygen", "stat", "sudo", "sysctl", "systemctl", "tail", "tar", "tee",
    "test", "timeout", "tool", "touch", "unshare", "useradd", "uv", "venv", "vllm",
}  # fmt: skip
# After one of these comes no value of its own.
SWITCHES = {
    "--compile-bytecode", "--no-config", "--no-pager", "--no-progress", "--no-same-owner", "--now", "--quiet",
    "-I", "-n", "-p", "-s", "-x",
}  # fmt: skip
# They begin with a word of ours: corral-NAME.service, /opt/corral/NAME.
OURS = ("hosts.unit", "hosts.root", "hosts.model_folder")
# What could begin with a hyphen by its place, and why it cannot.
HELD = {
    "deploy/bundle/wheels.py:make": ({"str(source())"}, "the path of a URL: it begins with a slash"),
    "deploy/export/container.py:container": ({"*argv(options)"}, "every text of a plan is held (FIELDS)"),
    "deploy/export/container.py:downloaded": ({"repo", "*commit", "*files"}, "held so; options with their values"),
    "deploy/export/container.py:draft_beside": ({"f'{place}/draft'"}, "below a place of ours"),
    "deploy/export/container.py:fetch_online": ({"*self.fetch"}, "a command of ours"),
    "deploy/export/container.py:folders": ({"self.environment['TMPDIR']"}, "a place of ours"),
    "deploy/targets/ec2/boxes.py:death": (
        {"*host_deaths.kernel_command(deployment.name)"}, "a command of ours, with the unit of a name that is held"
    ),
    "deploy/targets/ec2/box_release.py:words": ({"*asked"}, "after a script of sh: its own words, read in their order"),
    "deploy/targets/ec2/common_key.py:taking": (
        {"*words"}, "a path of ours, a script of Python's, which reads no options, and after it paths and digits"
    ),
    "deploy/targets/ec2/journals.py:history": ({"*host_history.command(deployment.name)"}, "the same"),
    "deploy/targets/ec2/judged_start.py:start": ({"*command"}, "a command of ours"),
    "deploy/targets/ec2/place.py:verified": ({"*host_weights.command(deployment.name)"}, "the same"),
    "deploy/targets/ec2/release_room.py:asked": ({"*places"}, "the same"),
    "deploy/targets/ec2/releases.py:note_there": (
        {"*PYTHON", "heal", "deployment.name", "event", "cause"}, "a path of ours; bin/heal reads the rest in its order"
    ),
    "deploy/targets/ec2/weights_push.py:sync": (
        {"*chosen", "place.address", "source"}, "options with values; s3://...; an absolute path"
    ),
    "deploy/targets/local/place.py:requests": ({"*argv(options)"}, "every text of a plan is held"),
    "deploy/targets/ssh/egress.py:gateway_at": (
        {"host_gateway.servers_file(title)"}, "below /opt/corral"
    ),
    "deploy/targets/ssh/egress.py:looked": ({"name", "*destinations"}, "a name; checked_destination"),
    "deploy/targets/ssh/owned_hosts.py:_read": ({"path"}, "below /opt/corral"),
    "deploy/targets/ssh/bringing.py:engine_is_there": ({"path"}, "below /opt/corral"),
    "infra/onhost/heal.py:give_up": ({"place.unit"}, "corral-NAME.service, of a unit that is ours"),
    "infra/cloud_init.py:_first_boot": ({"*at_boot", "name"}, "units of ours"),
    "infra/cloud_init.py:user_data": ({"*UPGRADE_UNITS"}, "units of Ubuntu's, in the code"),
    "infra/onhost/egress_look.py:nft": ({"*words"}, "words in the code, and the table corral_NAME"),
    "infra/onhost/gatekeeper.py:again": ({"*table"}, "the table corral-NAME"),
    "infra/onhost/gatekeeper.py:told": ({"*words"}, "words in the code, and a unit of ours"),
    "infra/onhost/spot.py:interrupt": (
        {"unit", "root / 'bin/phase'", "words"}, "a unit of ours; an absolute path; what begins with a word of ours"
    ),
    "infra/onhost/watch.py:main": ({"options.unit"}, "a unit of ours"),
    "infra/onhost/watch.py:state": ({"unit"}, "a unit of ours"),
    "infra/processes.py:birth_by_ps": ({"str(pid)"}, "a number"),
    "infra/ssh_client.py:client": ({"*(['-F', config] if config else [])", "*given"}, "options with values"),
    "infra/transfer.py:copy_files": ({"remote"}, "a place of ours on the host"),
    "serving/vllm/engine.py:attempts": ({"recipe().requirement"}, "in engine.toml"),
    "serving/vllm/engine.py:install_packages": ({"str(folder(home))"}, "below the home, which is absolute"),
    "serving/vllm/engine.py:install_version": ({"*python", "str(place)"}, "the same; an option with its value"),
    "serving/vllm/unpack.py:unpack": ({"str(prefix)"}, "below the home, which is absolute"),
}  # fmt: skip


def built(tree: ast.AST, name: str = "") -> Iterator[tuple[str, list[ast.expr]]]:
    """Each command of a module: the function that builds it, and its words."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.List | ast.Tuple):
            words = [word for each in node.elts for word in flat(each)]
            if words and isinstance(words[0], ast.Constant) and words[0].value in PROGRAMS:
                yield name, words
                continue
        yield from built(node, node.name if isinstance(node, ast.FunctionDef) else name)


def flat(word: ast.expr) -> list[ast.expr]:
    """A word, or those of the list that is put in its place."""
    if isinstance(word, ast.Starred) and isinstance(word.value, ast.List | ast.Tuple):
        return [inner for each in word.value.elts for inner in flat(each)]
    return [word]


def open_words(words: list[ast.expr]) -> Iterator[str]:
    """Those that a program would take for options, if they began with a hyphen."""
    before: object = ""
    is_shell = isinstance(words[0], ast.Constant) and words[0].value in ("sh", "bash")
    for word in words[1:]:
        if isinstance(word, ast.Constant):
            if word.value == "--":
                return
            before = word.value
            continue
        is_value = (
            isinstance(before, str) and before.startswith("-") and len(before) > 1 and before not in SWITCHES
        )
        if is_shell and before == "-c":
            return  # the words after a script are its own
        begins = word.values[0] if isinstance(word, ast.JoinedStr) else word
        is_ours = isinstance(begins, ast.FormattedValue) and ast.unparse(begins.value).startswith(OURS)
        is_ours |= ast.unparse(word).startswith(OURS) or isinstance(begins, ast.Constant)
        if not is_value and not is_ours:
            yield ast.unparse(word)
        before = ""


def test_of_every_command_that_is_built_no_value_can_be_an_option() -> None:
    """A new one is found by itself: let its values follow an option or `--`, or say here why none is one."""
    root = Path(__file__).parent.parent
    found: dict[str, set[str]] = {}
    commands = 0
    for path in sorted(path for top in ("deploy", "infra", "serving") for path in (root / top).rglob("*.py")):
        for function, command in built(ast.parse(path.read_text(encoding="utf-8"))):
            commands += 1
            if loose := set(open_words(command)):
                found.setdefault(f"{path.relative_to(root).as_posix()}:{function}", set()).update(loose)
    assert commands > 40
    assert found == {where: words for where, (words, _) in HELD.items()}
