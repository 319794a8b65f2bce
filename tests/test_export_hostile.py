"""What is exported under nasty names, read by parsers of the tools' own: they see what corral wrote, and nothing else.

Kubernetes' reader of YAML (which Helm has too), Compose's schema, systemd's reader of units and Terraform's of
expressions: each in one run over all names. What Podman's generator reads is in tests/test_export.py.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from fake_box import commands
from test_export import ask

from deploy.export.formats import FORMATS, export
from deploy.export.rendering import Ask
from deploy.targets.ec2.options import BoxOptions
from infra.errors import CorralError
from serving.sizing.plan import Plan

# Each is something else to one of the readers: a number, a tag, a comment, a variable, an option, an escape.
NASTY = (
    "a b", " lead", "it's", 'say "x"', "${HOME}", "$(id)", "50%h %%", "%{ if x }", "x #y", "{{ x }}", "{% x %}", "x\\",
    "\\n\\x41", "--help", "\u00fcn\u00ef", "*", "&a", "!x", "|", "? y", "~", "null", "No", "1e5", "0x1f", "1.0", "=",
    "[a]", "a;b",
)  # fmt: skip
# They are no part of a path that is mounted.
NAMES = ("a: b", "12:30:45")


def loaded(text: str) -> list[Any]:
    """Its documents, by the reader that is quick."""
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def template(name: str) -> str:
    """A chat template, which every form has in the server's command."""
    return f"{{%- for m in messages -%}}\n  {{{{ m }}}}\t{name}\r\n{{%- endfor -%}}\n\n"


@cache
def asked(name: str) -> Ask:
    """A plan of a model of that name; it is a plan's document that says so."""
    given = ask("scout-int4", box=BoxOptions(regions=("us-east-1",)))
    model = f"org/{name}" if name in NASTY else "org/x"
    served = name if not name.startswith("-") else f"x{name}"
    update = {"model": model, "served_model_name": served, "chat_template": template(name)}
    serve = given.plan.serve.model_copy(update=update)
    return given.model_copy(update={"plan": given.plan.model_copy(update={"serve": serve})})


@cache
def rendered(to: str) -> dict[str, dict[str, str]]:
    """What each name's files hold."""
    return {
        name: {file.path: file.content for file in export(to, asked(name)).files} for name in (*NASTY, *NAMES)
    }


def yaml_formats() -> list[str]:
    """What is YAML, and is read by Go's reader: also SkyPilot's, dstack's and LiteLLM's, which others read too."""
    return [to for to in FORMATS if any(path.endswith((".yaml", ".yml")) for path in rendered(to)["a b"])]


def test_every_form_of_yaml_is_read_alike_by_kubectl(tmp_path: Path, kubectl: str) -> None:
    """All documents as parts of one resource, which kustomize reads and writes again."""
    texts = {
        f"{to}:{number}:{part}": document
        for to in yaml_formats()
        for number, files in enumerate(rendered(to).values())
        for path, text in files.items()
        if path.endswith((".yaml", ".yml")) and to != "terraform"
        for part, document in enumerate(re.split("^---\n", text, flags=re.MULTILINE))
        if document
    }
    inner = "".join(
        f"  {json.dumps(key)}:\n" + "".join(f"    {line}" for line in document.splitlines(keepends=True))
        for key, document in texts.items()
    )
    (tmp_path / "all.yaml").write_text(
        f"apiVersion: x/v1\nkind: Read\nmetadata:\n  name: all\nread:\n{inner}"
    )
    (tmp_path / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    done = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = yaml.load(done.stdout, Loader=Plain)["read"]
    assert found.keys() == texts.keys()
    assert [key for key, text in texts.items() if found[key] != loaded(text)[0]] == []


class Plain(yaml.CSafeLoader):
    """Go writes `=` without quotes; here it is text."""


Plain.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))


def words_of(to: str, files: dict[str, str]) -> list[str]:
    """The server's command as the platform's document says it."""
    if to == "compose":
        return list(loaded(files["compose.yaml"])[0]["services"]["vllm"]["command"])
    resources = loaded(files["server.yaml"])
    return list(resources[0]["spec"]["template"]["spec"]["containers"][0]["command"])


@pytest.mark.parametrize("to", ["compose", "kubernetes"])
def test_no_variable_and_no_number_is_made_of_a_name(to: str) -> None:
    """Both put variables in place of a `$`, but not of two."""
    said = {
        name: words[words.index("--served-model-name") + 1]
        for name, files in rendered(to).items()
        if (words := words_of(to, files))
    }
    assert said == {name: asked(name).plan.serve.served_model_name.replace("$", "$$") for name in said}
    templates = {
        name: words[words.index("--chat-template") + 1]
        for name, files in rendered(to).items()
        if (words := words_of(to, files))
    }
    assert templates == {name: template(name).replace("$", "$$") for name in templates}


def test_composes_own_schema_accepts_every_name(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> None:
    if not (checker := shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))):
        need("schemas", "check-jsonschema is not installed")
    paths = [tmp_path / f"n{number}.yaml" for number, _ in enumerate(rendered("compose"))]
    for path, files in zip(paths, rendered("compose").values(), strict=True):
        path.write_text(files["compose.yaml"])
    command = [checker, "--builtin-schema", "vendor.compose-spec", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_systemds_own_reader_takes_every_unit(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> None:
    """It tells of an escape, a specifier or a section that it does not know; here no program of a unit is there."""
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd is not installed")
    units = []
    for number, files in enumerate(rendered("systemd").values()):
        for path, text in files.items():
            if path.endswith((".service", ".timer")):
                units.append(tmp_path / f"n{number}-{Path(path).name}")
                units[-1].write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert len(units) == 4 * len(rendered("systemd"))
    assert [line for line in done.stderr.splitlines() if "is not executable: No such file" not in line] == []


def test_in_a_unit_each_name_is_one_word() -> None:
    wrong = {}
    for name, files in rendered("systemd").items():
        (unit,) = (text for path, text in files.items() if path.endswith("corral-scout-int4.service"))
        served = asked(name).plan.serve.served_model_name
        if not any(served in words for _, _, words in commands(unit)):
            wrong[name] = unit
    assert wrong == {}


NOT_STORED = (
    "s3://bucket/${path.module}/", "s3://bucket/%{ if true }x/", "s3://bucket/a b/", 's3://bucket/"/', "s3://b/#/",
    "s3://bucket/a\nb/", "s3://bucket/$x/", "s3://bucket/\\/", "s3://bucket/*/", "/opt/${x}", "/opt/a b",
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_STORED)
def test_what_terraform_would_read_as_an_expression_is_no_place_nor_name(text: str) -> None:
    with pytest.raises((CorralError, ValueError)):
        BoxOptions(weights=text)
    with pytest.raises((CorralError, ValueError)):
        BoxOptions(hf_token_parameter=text)


def texts(value: Any) -> list[str]:
    """Every text of nested tables and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for each in inner for text in texts(each)]


def test_terraform_evaluates_every_text_to_itself(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    """But for the expressions that are meant: none comes of a name, a place or a policy."""
    if not (terraform := shutil.which("terraform")):
        need("terraform", "terraform is not installed")
    said = set()
    for name in (*NASTY, *NAMES):
        box = BoxOptions(regions=("us-east-1",), weights="s3://bucket/x/", hf_token_parameter="/hf/token")
        made = export("terraform", asked(name).model_copy(update={"box": box}))
        said |= {
            text
            for file in made.files
            if file.path == "main.tf.json"
            for text in texts(json.loads(file.content))
        }
    meant = {text for text in said if re.search(r"\$\{(data|aws_|base64gzip|sort)", text)}
    plain = sorted(said - meant)
    (tmp_path / "main.tf.json").write_text(json.dumps({"locals": {"texts": plain}}))
    done = subprocess.run(
        [terraform, "console"],
        input="jsonencode(local.texts)\n",
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(json.loads(done.stdout)) == plain
    looked_up = r"\$\{(sort\()?(data|aws_[a-z_]+)\.[a-z_0-9.\[\]]+\)?(\[0\])?\}"
    own = looked_up + r"|\$\{base64gzip\(file\(.\$\{path\.module\}/user-data\.yaml.\)\)\}"
    assert [text for text in meant if re.search(r"[$%]\{", re.sub(own, "", text))] == []


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\x1bb", "a\u2028b"])
def test_a_plan_with_a_name_of_two_lines_is_no_plan_to_render(text: str) -> None:
    given = ask("scout-int4").plan.model_dump(mode="json")
    given["serve"] |= {"served_model_name": text}
    with pytest.raises((CorralError, ValueError)):
        Plan.model_validate(given)
