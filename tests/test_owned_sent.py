"""What leaves this machine for an owned host: a checkpoint's own files, a template, and nothing else a plan names."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundling import a_checkpoint, a_plan, an_engine, checkpoint, planned_for, tree
from fake_box import Box
from ports import free_port
from test_beside import a_draft, with_both
from test_owned import deployment
from test_owned_line import DATA, ROOT, Corral, box, corral

from deploy.bundle.sources import model_files
from deploy.provision_request import approval
from deploy.targets.place import Offer
from deploy.targets.ssh.host_setup import brought, check_template_place
from infra.errors import CorralError, UsageError
from serving.model import checkpoint_files
from serving.sizing.plan import Plan
from serving.vllm import chat_template

__all__ = ["box", "corral"]  # the fixtures of the line
SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY\n"
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def refusal(of: Callable[[], Any]) -> str:
    """The sentence of what must be refused."""
    with pytest.raises(CorralError) as caught:
        of()
    assert caught.value.hint
    return caught.value.message


# --- a model


# What people keep in folders: none of it is a checkpoint's.
STRANGERS = (
    "id_rsa", ".env", ".git/config", "original/consolidated.00.pth", "pytorch_model.bin", "modeling_llama4.py",
    "credentials.json", "service-account.json", "secrets.txt", "notes.txt", "token", "shell.sh", ".netrc",
    "kubeconfig.yaml", "LICENSE.key", "tokenizer.json.bak", "extra.safetensors", ".hidden.safetensors",
)  # fmt: skip


def test_of_a_model_folder_only_the_checkpoints_own_files_are_sent(tmp_path: Path) -> None:
    model = a_checkpoint(tmp_path / "model")
    own = tree(model)
    (model / "LICENSE.txt").write_text("Llama 4 Community License")
    for name in STRANGERS:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(SECRET)
    wanted = tuple(sorted([*own, "LICENSE.txt"]))
    assert brought(deployment(model=str(model), engine=str(an_engine(tmp_path / "e")))).model_files == wanted
    assert tuple(path.name for path in model_files(model)) == wanted


def outside(folder: Path) -> Path:
    """A secret beside a model."""
    (folder.parent / "secret").write_text(SECRET)
    return folder.parent / "secret"


def relinked(name: str, target: Callable[[Path], Path | str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target(folder))

    return change


def piped(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def an_index(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(SECRET)
        index = {"weight_map": dict(enumerate(names))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def put(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


LINK = "is a link to"
NO_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a secret": (relinked("README.md", outside), LINK),
    "a link for the tokenizer": (relinked("tokenizer.json", outside), LINK),
    "a link for the weights": (relinked("model-00001-of-00002.safetensors", outside), LINK),
    "a relative link out": (
        relinked("merges.txt", lambda folder: os.path.relpath(outside(folder), folder)),
        LINK,
    ),
    "a link to a link": (
        relinked("vocab.json", lambda folder: (relinked("a", outside)(folder), "a")[1]),
        LINK,
    ),
    "a link to a process": (relinked("LICENSE", lambda folder: "/proc/self/environ"), LINK),
    "a link to itself": (relinked("README.md", lambda folder: "README.md"), "cannot be read"),
    "a link to nothing": (relinked("NOTICE", lambda folder: "nothing"), "cannot be read"),
    "a link to a folder": (relinked("README.md", lambda folder: folder), "is no regular file"),
    "a pipe for the config": (piped, "is no regular file"),
    "a device for the licence": (relinked("LICENSE.md", lambda folder: "/dev/zero"), "is no regular file"),
    "an index of a key": (an_index("id_rsa"), "is not a safetensors index"),
    "an index of what is hidden": (an_index(".x.safetensors"), "is not a safetensors index"),
    "an index of another folder's": (an_index("sub/x.safetensors"), "is not a safetensors index"),
    "an index of a key by another name": (an_index("id_rsa.safetensors"), "id_rsa.safetensors"),
    "no config": (without("config.json"), "config.json cannot be read"),
    "a config of something else": (put("config.json", '{"auths": {}}'), "is not a"),
    "no weights": (without("model-00002-of-00002.safetensors"), "lacks its weights"),
}


@pytest.mark.parametrize("case", NO_CHECKPOINTS)
def test_a_folder_that_is_no_checkpoint_is_not_sent_nor_packed(case: str, tmp_path: Path) -> None:
    change, why = NO_CHECKPOINTS[case]
    model = a_checkpoint(tmp_path / "model")
    change(model)
    asked = deployment(model=str(model), engine=str(an_engine(tmp_path / "engine")))
    assert why in refusal(lambda: brought(asked))
    assert why in refusal(lambda: model_files(model))


@pytest.mark.parametrize(
    "name", ["/etc/ssh", "/etc/passwd", ".", "..", "~", "~/.ssh", "../x", "a b", "a/b/c"]
)
def test_what_is_no_checkpoint_at_all_is_not_sent(name: str, tmp_path: Path) -> None:
    assert refusal(lambda: brought(deployment(model=name, engine=str(an_engine(tmp_path / "engine")))))


def test_a_snapshot_of_the_hubs_cache_is_sent_by_its_links_into_its_own_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / ("a" * 40)
    blobs = a_checkpoint(repository / "blobs")
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert [path.name for path in checkpoint_files.own_files(snapshot)] == sorted(checkpoint()[0])

    blobs.rename(tmp_path / "keys")
    blobs.symlink_to(tmp_path / "keys")
    assert LINK in refusal(lambda: checkpoint_files.own_files(snapshot))


def test_of_a_folder_of_wheels_only_the_wheels_are_sent(tmp_path: Path) -> None:
    for name in ("vllm-0.33.0-py3-none-any.whl", "id_rsa", ".hidden.whl", "--x.whl", "a.whl.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "link.whl").symlink_to("/etc/passwd")
    (tmp_path / "folder.whl").mkdir()
    assert brought(deployment(engine=str(tmp_path))).wheels == ("vllm-0.33.0-py3-none-any.whl",)


# --- a chat template


NO_TEMPLATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a key": (lambda path: path.write_text(SECRET), "it is no Jinja template that reads the messages"),
    "credentials": (
        lambda path: path.write_text("[default]\naws_secret_access_key = messages\n"),
        "it is no Jinja template that reads the messages",
    ),
    "JSON": (lambda path: path.write_text('{"messages": "x"}'), "it is no Jinja template that reads the messages"),
    "Jinja that breaks off": (lambda path: path.write_text("{{ messages"), "it is no Jinja template"),
    "Jinja of something else": (lambda path: path.write_text("{{ config }}"), "it is no Jinja template"),
    "Jinja that is nested too deep": (
        lambda path: path.write_text("{{" + "(" * 99999 + "messages"), "it is no Jinja template"
    ),
    "a binary": (lambda path: path.write_bytes(b"\xff\xfe{{ messages }}"), "it is no text"),
    "a pipe": (lambda path: os.mkfifo(path), "it is no regular file"),
    "a folder": (lambda path: path.mkdir(), "it cannot be read"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "it cannot be read"),
    "too much": (lambda path: path.write_text(TEMPLATE + " " * 2**20), "it has more than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_TEMPLATES)
def test_what_is_no_template_is_not_sent(case: str, tmp_path: Path) -> None:
    write, why = NO_TEMPLATES[case]
    write(tmp_path / "t.jinja")
    engine = str(an_engine(tmp_path / "engine"))
    asked = deployment(engine=engine, chat_template=str(tmp_path / "t.jinja"))
    assert why in refusal(lambda: brought(asked))


def test_templates_that_vllm_reads_are_templates(tmp_path: Path) -> None:
    model = a_checkpoint(tmp_path / "model")
    said = "{%- generation %}{% for m in messages %}{% continue %}{% endfor %}{% endgeneration %}"
    for text in ((model / "chat_template.jinja").read_text(), TEMPLATE, said):
        (tmp_path / "t").write_text(text)
        assert chat_template.read(tmp_path / "t") == text


@pytest.mark.parametrize(
    ("place", "lies_well"),
    [
        ("plans/t.jinja", True),
        ("plans/deeper/t.jinja", True),
        ("model/chat_template.jinja", True),
        ("elsewhere/t.jinja", False),
        ("plans/../elsewhere/t.jinja", False),
        ("plans/.hidden/t.jinja", False),
        ("plans/.t.jinja", False),
        ("plans/link.jinja", False),
        ("plans/folder/t.jinja", False),
    ],
)
def test_a_template_lies_below_the_plans_folder_or_the_models(
    place: str, lies_well: bool, tmp_path: Path
) -> None:
    a_checkpoint(tmp_path / "model")
    for name in ("plans/deeper", "plans/.hidden", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere/t.jinja").write_text(TEMPLATE)
    (tmp_path / "plans/link.jinja").symlink_to("../elsewhere/t.jinja")
    (tmp_path / "plans/folder").symlink_to("../elsewhere")
    (tmp_path / place).write_text(TEMPLATE)
    plan = deployment(model=str(tmp_path / "model"), chat_template=str(tmp_path / place)).plan
    if lies_well:
        check_template_place(plan, tmp_path / "plans")
    else:
        wrong = refusal(lambda: check_template_place(plan, tmp_path / "plans"))
        assert wrong.endswith(" lies neither below the plan's folder nor below the model's.")


@pytest.mark.parametrize(
    ("model", "template", "is_taken"),
    [
        ("/models/scout", "/models/scout/t.jinja", True),
        ("/models/scout", TEMPLATE, True),
        ("/models/scout", "/models/other/t.jinja", False),
        ("/models/scout", "/models/scout/../../etc/shadow", False),
        ("/models/scout", "t.jinja", False),
        ("org/model", "/root/.ssh/id_rsa.of.somebody", False),
    ],
)
def test_a_template_that_is_not_here_lies_with_the_model_there(
    model: str, template: str, is_taken: bool, tmp_path: Path
) -> None:
    asked = deployment(model=model, chat_template=template, engine=str(an_engine(tmp_path / "engine")))
    if is_taken:
        assert brought(asked).chat_template is None
    else:
        assert refusal(lambda: brought(asked)) == f"The plan's chat template is not here: {template}."


# --- what is said and asked


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of a model that is here, with a template beside it; a key lies in the model's folder."""
    model = a_checkpoint(tmp_path / "model")
    (model / "id_rsa").write_text(SECRET)
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    found = planned_for(Plan.read(DATA / "hosts/plan.json"), model)
    update = {"port": free_port(), "chat_template": str(tmp_path / "t.jinja")}
    found.model_copy(update={"serve": found.serve.model_copy(update=update)}).write(tmp_path / "plan.json")
    return tmp_path / "plan.json"


def test_what_leaves_is_said_and_asked_for_and_nothing_else_arrives(
    box: Box, corral: Corral, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = an_engine(tmp_path / "engine", "0.33.0", "3.11")
    draft = a_draft(tmp_path / "draft")
    with_both(Plan.read(plan), str(draft)).write(plan)
    (engine / "lib/vllm").mkdir()
    given = ["--target", "ssh", "--host", "gpu-1", "--engine", str(engine), "--name", "scout"]
    code, _, said = corral("provision", str(plan), *given)
    assert (code, said.splitlines()[-2:]) == (
        2,
        ["error: Nobody is there to confirm what is sent.", "hint: Say so beforehand: --yes"],
    )
    assert not box.path("/opt/corral").exists()

    own = checkpoint()[0]
    size = sum(map(len, own.values()))
    size_of_draft = sum((draft / name).stat().st_size for name in ("config.json", "model.safetensors"))
    lines = [
        f"leaves this machine: {len(own)} files, {size:,} bytes, of {tmp_path}/model ({', '.join(sorted(own))}), "
        f"to gpu-1:{ROOT}/model",
        f"leaves this machine: 1 file, {len(TEMPLATE)} bytes, of {tmp_path} (t.jinja), to "
        f"gpu-1:{ROOT}/chat_template.jinja",
        f"leaves this machine: 2 files, {size_of_draft:,} bytes, of {draft} (config.json, model.safetensors), to "
        f"gpu-1:{ROOT}/draft",
        f"leaves this machine: the engine {engine}, vLLM 0.33.0, to gpu-1:{ROOT}/engine",
    ]
    assert [line for line in said.splitlines() if line.startswith("leaves")] == lines
    code, _, said = corral("provision", str(plan), *given, "--yes")
    assert code == 0, said
    assert [line for line in said.splitlines() if line.startswith("leaves")] == lines
    assert tree(box.path(ROOT) / "model") == own
    assert tree(box.path(ROOT) / "draft").keys() == {"config.json", "model.safetensors"}
    assert (box.path(ROOT) / "chat_template.jinja").read_text() == TEMPLATE
    assert "CANARY" not in "".join(
        path.read_text(errors="replace") for path in box.folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(("answer", "taken"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_what_a_plan_sends_is_agreed_to(answer: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from deploy import provision_request

    offer = Offer(deployment(), (), sent=("x",), is_planned=True)
    monkeypatch.setattr(provision_request, "is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    if taken:
        approval(False)(offer)
        return
    with pytest.raises(UsageError, match="Not confirmed; nothing was sent"):
        approval(False)(offer)


def test_a_template_elsewhere_is_refused_before_any_host_is_asked(
    box: Box, corral: Corral, plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "plans").mkdir()
    plan.rename(tmp_path / "plans/plan.json")
    for verb in (["provision"], ["up"], ["provision", "--dry-run"]):
        given = ["--target", "ssh", "--host", "gpu-1", "--yes"]
        code, said, complaint = corral(*verb, str(tmp_path / "plans/plan.json"), *given)
        assert (code, said) == (2, "")
        assert complaint.startswith(f"error: The chat template {tmp_path}/t.jinja lies neither below")
    assert list(box.folder.glob("ssh-*")) == []


def test_a_bundle_takes_no_template_from_elsewhere_either(corral: Corral, tmp_path: Path) -> None:
    an_engine(tmp_path / "engine")
    a_plan(tmp_path / "plans")
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    path = tmp_path / "plans/plan.json"
    found = Plan.read(path)
    serve = found.serve.model_copy(update={"chat_template": str(tmp_path / "t.jinja")})
    found.model_copy(update={"serve": serve}).write(path)
    given = ["--engine", str(tmp_path / "engine"), "-o", str(tmp_path / "bundle"), "--without-corral"]
    code, _, complaint = corral("bundle", "create", str(path), *given)
    assert (code, "lies neither below the plan's folder" in complaint) == (2, True), complaint
    assert not (tmp_path / "bundle").exists()
