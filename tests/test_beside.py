"""Drafts and adapters wherever weights arrive: over SSH, on EC2, in a bundle; at one commit, and held to sums."""

import hashlib
import json
from pathlib import Path
from typing import Any

import adapters
import pytest
import yaml
from adapters import adapter
from bundling import a_bundle, a_checkpoint, a_plan, an_engine, tree
from fake_box import setup
from test_drafts import SCOUTS, eagle, sized
from test_hub import fake_hub_class
from test_onhost import MakeBox, box, prepare
from test_owned import deployment as owned

from deploy.bundle import named as in_bundle
from deploy.bundle.install import install
from deploy.bundle.verify import verify
from deploy.cli.main import run
from deploy.export.formats import export
from deploy.export.rendering import Ask
from deploy.releases import release
from deploy.releases.next_release import next_of
from deploy.releases.upgrade_options import UpgradeOptions
from deploy.targets import adapters as brought_here
from deploy.targets import drafts, hub_weights, licence
from deploy.targets.deployment import Deployment, folder, load, make
from deploy.targets.ec2 import boxes, each_server, judged_start, ordering, tunnels
from deploy.targets.ec2.options import BoxOptions, Ec2Options
from deploy.targets.local import cached_weights
from deploy.targets.local import place as local
from deploy.targets.place import Check
from deploy.targets.ssh import bringing, egress
from deploy.targets.ssh import place as ssh
from deploy.targets.ssh.host_setup import brought, host_setup, sent
from infra import host_files
from infra.aws import power, rented_machines
from infra.data import shipped_text
from infra.errors import CorralError, DocumentError, UsageError
from infra.fetch.hub_answers import no_commit
from infra.onhost import heal
from serving.model import fetching, hub
from serving.sizing.given_adapters import slots_of
from serving.sizing.plan import Plan
from serving.vllm import lora_proof
from serving.vllm.endpoint import Endpoint
from serving.vllm.lora_modules import LoraModule
from serving.vllm.serve_options import argv

__all__ = ["box"]
COMMIT, OTHER = "5c0c7a3e" * 5, "0123abcd" * 5
ROOT = "/opt/corral/scout"
DRAFT = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 9,
}


def a_draft(folder: Path) -> Path:
    """A draft of a few bytes, and what does not belong to it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(DRAFT))
    header = json.dumps({"fc.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    (folder / "id_rsa").write_text("CANARY")
    return folder


def tuned(path: str, name: str = "tuned") -> LoraModule:
    return LoraModule(name=name, path=path, config_sha256="a" * 64, weights_sha256="b" * 64)


def with_both(plan: Plan, draft: str = "", *modules: LoraModule, revision: str = "") -> Plan:
    """The plan with a draft that lies there, or is at that commit, and adapters."""
    said = json.loads(eagle(draft)) | ({"revision": revision} if revision else {})
    update: dict[str, Any] = {"lora_modules": modules}
    if draft:
        update["speculative_config"] = said
    return plan.model_copy(update={"serve": plan.serve.model_copy(update=update)})


def words(setup_file: str) -> dict[str, str]:
    """What a host's setup.env says."""
    import shlex

    return dict(word.partition("=")[::2] for word in shlex.split(setup_file))


# --- EC2


HUBS = f"/home/me/.cache/huggingface/hub/models--somebody--tuned/snapshots/{OTHER}"


def ordered(plan: Plan, **options: Any) -> tuple[dict[str, str], str]:
    """What the box is told of weights, and the command of its server."""
    order = ordering.order(make(plan, "ec2", "scout"), Ec2Options(regions=("us-east-1",), **options))
    files = {file["path"]: file["content"] for file in yaml.safe_load(order.user_data)["write_files"]}
    told = {
        key: value
        for key, value in words(files[f"{ROOT}/setup.env"]).items()
        if key in ("BESIDE", "SUMS", "WEIGHTS")
    }
    return told, files["/etc/systemd/system/corral-scout.service"].replace('\\"', "'")


@pytest.fixture(scope="module")
def rented() -> Plan:
    return sized(machine="p5.48xlarge")


def test_a_box_fetches_what_the_hub_has_and_takes_the_rest_from_beside_the_weights(rented: Plan) -> None:
    both = with_both(rented, SCOUTS, tuned(HUBS), revision=COMMIT)
    told, unit = ordered(both)
    assert told["BESIDE"] == f"draft hf://{SCOUTS}@{COMMIT}\nadapters/tuned hf://somebody/tuned@{OTHER}"
    assert told["SUMS"] == (
        f"{'a' * 64}  adapters/tuned/adapter_config.json\n{'b' * 64}  adapters/tuned/adapter_model.safetensors"
    )
    assert f"'model': '{ROOT}/draft'" in unit
    assert f"'path': '{ROOT}/adapters/tuned'" in unit
    assert "revision" not in unit
    here = with_both(rented, "/srv/draft", tuned("/srv/tuned"))
    told, unit = ordered(here, weights="s3://bucket/scout/")
    assert told == {
        "WEIGHTS": "s3://bucket/scout/",
        "BESIDE": "",
        "SUMS": f"{'a' * 64}  model/adapters/tuned/adapter_config.json\n"
        f"{'b' * 64}  model/adapters/tuned/adapter_model.safetensors",
    }
    assert f"'model': '{ROOT}/model/draft'" in unit
    assert f"'path': '{ROOT}/model/adapters/tuned'" in unit


@pytest.mark.parametrize(
    ("plan", "place"),
    [(("/srv/draft",), "draft"), (("", tuned("/srv/tuned")), "adapters/tuned")],
    ids=["a draft", "an adapter"],
)
def test_what_lies_here_alone_is_refused_before_anything_is_rented(
    plan: tuple[Any, ...], place: str, rented: Plan
) -> None:
    with pytest.raises(UsageError) as caught:
        ordered(with_both(rented, *plan))
    folder = f"/srv/{place.rpartition('/')[2]}"
    assert caught.value.message == f"EC2 cannot see the folder {folder} of this machine."
    assert f"aws s3 sync {folder} s3://bucket/scout/{place}/" in caught.value.hint


@pytest.mark.parametrize("weights", [None, "s3://bucket/scout/"])
def test_an_adapter_of_the_hub_without_a_commit_is_no_folder_and_no_branch(
    weights: str | None, rented: Plan
) -> None:
    with pytest.raises(UsageError) as caught:
        ordered(with_both(rented, "", tuned("somebody/tuned")), weights=weights)
    assert (caught.value.message, caught.value.hint) == (
        "Which commit of the adapter tuned, somebody/tuned, to fetch is not known, and a branch may move.",
        "Name it again, which looks it up: --lora tuned=somebody/tuned",
    )


@pytest.mark.parametrize("draft", ["org/a b", "org/x@y z", "a/b/c", "$(id)/x", "-x/y"])
def test_a_draft_that_is_no_repository_is_told_to_no_host(draft: str, rented: Plan) -> None:
    for at in (lambda plan: ordered(plan), lambda plan: brought(make(plan, "ssh", "a"))):
        with pytest.raises(CorralError):
            at(with_both(rented, draft))


@pytest.mark.parametrize("draft", ["~/draft", "./draft"])
def test_a_draft_whose_folder_is_named_from_somewhere_is_told(draft: str, rented: Plan) -> None:
    with pytest.raises(DocumentError) as caught:
        cached_weights.settled_draft(make(with_both(rented, draft), "local", "a"))
    assert caught.value.message == f"The draft {draft} is no full path."


def test_a_box_serves_once_its_adapters_change_what_it_says(
    rented: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(with_both(rented, "", tuned(HUBS)), "ec2", "scout")
    order = ordering.order(made, Ec2Options(regions=("us-east-1",)))
    answering = Endpoint(base_url="http://127.0.0.1:1", served_model_name="scout")
    asked: list[tuple[Endpoint, tuple[str, ...]]] = []
    monkeypatch.setattr(power, "is_stopped", lambda machines: False)
    monkeypatch.setattr(rented_machines, "machines", lambda *_: ())
    for name in ("tell_ends", "wait_prepared", "wait_ready"):
        monkeypatch.setattr(boxes, name, lambda *_: None)
    monkeypatch.setattr(judged_start, "start", lambda *_: None)
    monkeypatch.setattr(boxes, "running", lambda *_: (None,))
    monkeypatch.setattr(tunnels, "endpoint", lambda *_: answering)
    monkeypatch.setattr(lora_proof, "require", lambda endpoint, names: asked.append((endpoint, names)))
    nobody: Any = None
    assert each_server.served(nobody, made, order) == answering
    assert asked == [(answering, ("tuned",))]


# --- the host's own script


def test_a_box_prepares_draft_and_adapters_once_and_holds_them_to_their_sums(box: MakeBox) -> None:
    empty = hashlib.sha256(b"{}").hexdigest()
    beside = {"draft": "hf://org/draft@abc", "adapters/tuned": "hf://org/tuned@def"}
    given = {"hf_token_parameter": "", "beside": beside}
    made = box(**given, sums={"adapters/tuned/config.json": empty})
    for _ in range(2):
        done = prepare(made)
        assert done.returncode == 0, done.stderr
    assert [call for call in made.calls if "/bin/fetch" in call][1:] == [
        f"python {ROOT}/bin/fetch org/draft abc {ROOT}/draft",
        f"python {ROOT}/bin/fetch org/tuned def {ROOT}/adapters/tuned",
    ]
    assert "corral: scout: fetching the adapters/tuned\n" in made.console
    made.path(f"{ROOT}/adapters/tuned/config.json").write_text("[]")
    assert prepare(made).returncode != 0
    assert "corral: scout: failed: adapters, line " in made.console


def test_what_a_box_has_is_read_again_after_it_was_brought_and_not_after_a_boot(box: MakeBox) -> None:
    beside = {"draft": "hf://org/draft@abc", "adapters/my-model": "hf://org/tuned@def"}
    notes = ["adapters-my-model.sums", "draft.sums", "weights.sums"]
    made = box(hf_token_parameter="", beside=beside)
    left = []
    for lost in ("", "model", "draft", "adapters/my-model"):
        for name in notes:
            made.path(f"{ROOT}/{name}").write_text("{}")
        made.path(f"{ROOT}/{lost or 'nothing'}.complete").unlink(missing_ok=True)
        assert prepare(made).returncode == 0
        left.append(sorted(path.name for path in made.path(ROOT).glob("*.sums")))
    assert left == [[], notes[:2], [notes[0], notes[2]], notes[1:]]
    assert prepare(made).returncode == 0
    assert "corral: scout: fetching the adapters/my-model\n" in made.console


def test_what_is_brought_to_a_host_on_purpose_is_read_again(box: MakeBox) -> None:
    made = box(rented=False, weights="")
    made.path(f"{ROOT}/weights.sums").write_text("{}")
    assert prepare(made, b"\n").returncode == 0
    assert not made.path(f"{ROOT}/weights.sums").exists()


def test_a_release_whose_draft_or_adapter_is_gone_is_none_to_go_back_to(box: MakeBox) -> None:
    options = with_both(sized(machine="p5.48xlarge"), f"{ROOT}/draft", tuned(f"{ROOT}/adapters/tuned")).serve
    made = box(rented=False, argv=argv(options.model_copy(update={"model": f"{ROOT}/model"})))
    there = made.path("/opt/corral/.releases/scout/abc/units/corral-scout.service")
    there.parent.mkdir(parents=True)
    there.write_text(made.as_here(made.path("/etc/systemd/system/corral-scout.service").read_text()))
    files = [f"{ROOT}/{name}" for name in ("model/config.json", "draft/config.json")]
    files += [f"{ROOT}/adapters/tuned/adapter_config.json", f"{ROOT}/engine/.complete"]
    for name in files:
        made.path(name).parent.mkdir(parents=True, exist_ok=True)
        made.path(name).touch()
    script = made.as_here(shipped_text("infra.onhost", "release.sh")).encode()

    def gone() -> str:
        done = made.run(["sh", "-s", "--", "scout", "look", "abc", ""], script)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.replace(str(made.folder), "")

    said = [gone()]
    for name in files[1:3]:
        made.path(name).unlink()
        said.append(gone())
    (draft, adapter) = (f"its files in {ROOT}/{place}\n" for place in ("draft", "adapters/tuned"))
    assert said == ["", draft, draft + adapter]


def test_a_host_shares_a_draft_and_hands_its_token_on_once(box: MakeBox) -> None:
    made = box(
        rented=False,
        weights=f"hf://meta-llama/model@{COMMIT}",
        beside={"draft": f"hf://meta-llama/draft@{OTHER}"},
    )
    done = prepare(made, b"hf_granted_CANARY\n")
    assert done.returncode == 0, done.stderr
    for place, repository in (("model", f"model@{COMMIT}"), ("draft", f"draft@{OTHER}")):
        folder = made.path(f"/opt/corral/weights/meta-llama--{repository}")
        assert made.path(f"{ROOT}/{place}").resolve() == folder
        assert {"config.json", ".complete"} <= {path.name for path in folder.iterdir()}


def test_a_host_without_weights_of_the_hub_gets_what_fetches_a_draft() -> None:
    paths = {
        file.path
        for file in host_files.host_files(setup(rented=False, weights="", beside={"draft": "hf://a/b@c"}))
    }
    assert f"{ROOT}/lib/infra/fetch/__main__.py" in paths


# --- over SSH


def test_a_draft_that_lies_here_is_sent_and_one_of_the_hub_is_fetched_there(tmp_path: Path) -> None:
    draft, model = a_draft(tmp_path / "draft"), a_checkpoint(tmp_path / "model")
    plan = owned(model=str(model), engine=str(an_engine(tmp_path / "engine")))

    def asked(place: str, **more: str) -> Any:
        return plan.model_copy(update={"plan": with_both(plan.plan, place, **more)})

    bring = brought(asked(str(draft)))
    assert (bring.draft, bring.draft_files) == (draft, ("config.json", "model.safetensors"))
    assert bring.is_planned
    there = host_setup(asked(str(draft)), bring)
    assert there.beside == {}
    assert f'"model": "/opt/corral/{plan.name}/draft"' in " ".join(there.argv)
    assert any(f":/opt/corral/{plan.name}/draft" in line for line in sent(asked(str(draft)), bring))
    of_hub = asked("org/draft", revision=COMMIT)
    bring = brought(of_hub)
    assert (bring.draft, host_setup(of_hub, bring).beside) == (None, {"draft": f"hf://org/draft@{COMMIT}"})
    assert f'"model": "/opt/corral/{plan.name}/draft"' in " ".join(host_setup(of_hub, bring).argv)
    kept = host_setup(asked("/root/draft"), brought(asked("/root/draft")))
    assert (kept.beside, "/root/draft" in kept.read_only_paths) == ({}, True)


# --- exports


@pytest.mark.parametrize("to", ["systemd", "terraform"])
def test_an_export_that_fetches_a_draft_names_its_commit(to: str, rented: Plan) -> None:
    def asked(**more: str) -> Ask:
        box = BoxOptions(regions=("us-east-1",))
        return Ask(
            plan=with_both(rented, SCOUTS, **more), name="scout", claude_model="claude-sonnet-5-5", box=box
        )

    with pytest.raises(UsageError, match="Which commit of the draft lmsys/"):
        export(to, asked())
    assert f"draft hf://{SCOUTS}@{COMMIT}" in repr(export(to, asked(revision=COMMIT)))


def test_an_export_says_what_must_lie_below_the_weights(rented: Plan) -> None:
    here = with_both(rented, "/srv/draft", tuned("/srv/tuned"))
    box = BoxOptions(regions=("us-east-1",), weights="s3://bucket/scout/")
    made = export("terraform", Ask(plan=here, name="scout", claude_model="claude-sonnet-5-5", box=box))
    assert made.notes[3] == (
        "Expected below the weights: s3://bucket/scout/draft/ as in /srv/draft here, s3://bucket/scout/adapters/tuned/ "
        "as in /srv/tuned here."
    )


# --- a bundle


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_bundle_carries_draft_and_adapters_to_where_its_plan_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    draft, tuned_at = a_draft(tmp_path / "a draft"), adapter(tmp_path / "tuned")
    found = Plan.read(tmp_path / "plan.json")
    with_both(found, str(draft), LoraModule(name="tuned", path=str(tuned_at))).write(tmp_path / "plan.json")
    monkeypatch.setattr("deploy.targets.adapters.checked", lambda plan: plan.serve.lora_modules)
    made = a_bundle(tmp_path)
    assert verify(made.folder, made.manifest_sha256, print).problems == ()
    there = tree(made.folder)
    assert {name for name in there if name.startswith(("draft/", "adapters/"))} == {
        "draft/config.json",
        "draft/model.safetensors",
        "adapters/tuned/adapter_config.json",
        "adapters/tuned/adapter_model.safetensors",
    }
    assert "Beside the model: the draft " in there["README.txt"].decode()
    named_by_bundle = in_bundle.expected(made.folder, print)
    plan = Plan.read(tmp_path / "plan.json")
    here = make(plan, "ssh", "scout").model_copy(update={"engine": str(tmp_path / "engine")})
    named_here = egress.expected(here)
    assert (
        named_by_bundle.beside
        == named_here.beside
        == {
            "draft": {
                name.removeprefix("draft/"): sum_of(there[name])
                for name in there
                if name.startswith("draft/")
            },
            "adapters/tuned": {name: sum_of(data) for name, data in tree(tuned_at).items()},
        }
    )
    assert named_by_bundle.model == named_here.model != {}
    fetched = with_both(plan, "org/draft", revision=COMMIT)
    assert egress.expected(here.model_copy(update={"plan": fetched})).beside == {"draft": {}}
    installed = install(made.folder, made.manifest_sha256, print)
    serve = Plan.read(installed.plan).serve
    assert serve.draft == f"{installed.folder}/draft"
    assert [module.path for module in serve.lora_modules] == [f"{installed.folder}/adapters/tuned"]
    of_adapter = tree(installed.folder / "adapters/tuned")
    assert of_adapter.pop(".corral/manifest.json")
    assert of_adapter == tree(tuned_at)
    (made.folder / "draft/model.safetensors").unlink()
    assert verify(made.folder, None, print).problems == ("draft/model.safetensors is missing",)


@pytest.mark.parametrize("place", ["a draft", "tuned"])
def test_what_lies_beside_the_model_leaves_in_a_bundle_once_its_licence_is_accepted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    draft, tuned_at = a_draft(tmp_path / "a draft"), adapter(tmp_path / "tuned")
    found = Plan.read(tmp_path / "plan.json")
    with_both(found, str(draft), LoraModule(name="tuned", path=str(tuned_at))).write(tmp_path / "plan.json")
    monkeypatch.setattr("deploy.targets.adapters.checked", lambda plan: plan.serve.lora_modules)

    def require(name: str) -> None:
        if name:
            raise UsageError(f"Nobody has accepted the {name}.", "Read it.")

    monkeypatch.setattr(licence, "require", require)
    terms = licence.known()["llama4"]
    (tmp_path / place / "LICENSE").write_text(terms.text)
    with pytest.raises(UsageError, match=f"Nobody has accepted the {terms.names[0]}."):
        a_bundle(tmp_path)


# --- here


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of the toy that has slots, with its own adapter."""
    folder = tmp_path_factory.mktemp("base")
    model, given = adapters.dense(folder / "toy"), adapter(folder / "given")
    asked = ["size", str(model), "--on", "local", "--kv-cache-memory-bytes", "64M", "--max-model-len", "4096"]
    assert run([*asked, "--lora", f"given={given}", "-o", str(folder / "plan.json")]) == 0
    return folder / "plan.json"


def test_an_adapter_is_fetched_by_who_serves_it_at_the_commit_that_is_named(
    planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = adapter(tmp_path / "repository")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with fake_hub_class()("somebody/tuned", repository) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        snapshot = tmp_path / "hf/hub/models--somebody--tuned/snapshots" / hub.commit
        elsewhere = f"/home/other/hub/models--somebody--tuned/snapshots/{hub.commit}"
        asked = ["serve", str(planned), "--lora", "tuned=somebody/tuned"]
        assert run([*asked, "--dry-run"]) == 4
        assert not snapshot.exists()
        assert brought_here.here([LoraModule(name="tuned", path=elsewhere)])[0].path == str(snapshot)
        assert tree(snapshot) == {name: each for name, each in tree(repository).items()}
        hub.shutdown()
    for named in (f"somebody/tuned@{hub.commit}", elsewhere):
        assert brought_here.here([LoraModule(name="tuned", path=named)])[0].path == str(snapshot)
    capsys.readouterr()


def test_other_adapters_of_a_deployment_are_its_next_release(
    planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, plan = adapter(tmp_path / "other"), Plan.read(planned)
    for target, accepted in (("local", "0123456789ab"), ("ssh", ""), ("ec2", "")):
        made = make(plan, target, "mine").model_copy(update={"release": accepted})
        made.write(folder("mine") / "deployment.json")
        capsys.readouterr()
        assert run(["serve", "mine", "--lora", f"other={other}", "--dry-run"]) == 2
        assert capsys.readouterr().err.splitlines()[-2:] == [
            "error: mine was brought with other adapters than these.",
            f"hint: Bring them as its next release: corral upgrade mine --lora other={other}",
        ]
        assert load("mine") == made
    make(plan, "local", "mine").write(folder("mine") / "deployment.json")
    assert run(["serve", "mine", "--lora", f"other={other}", "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        ("", (0, ())),
        ("--enable-lora", (16, ())),
        ("--enable_lora --max_lora_rank=64", (64, ())),
        ("--no-enable-lora", (0, ())),
        ("--enable-lora --no-enable-lora", (0, ())),
        ("--no-enable-lora --enable-lora --max-lora-rank 8 --max-lora-rank 32", (32, ())),
        ("--enable-lora --lora-target-modules o_proj v_proj --max-loras 2", (16, ("o_proj", "v_proj"))),
        ("--enable-lora --lora-target-modules=o_proj", (16, ("o_proj",))),
        ("--enable-lora --lora-target-modules o_proj --lora-target-modules v_proj", (16, ("v_proj",))),
    ],
)
def test_slots_are_what_vllm_is_told_last(
    words: str, slots: tuple[int, tuple[str, ...]], rented: Plan
) -> None:
    assert slots_of(rented.serve.model_copy(update={"extra_args": tuple(words.split())})) == slots


def test_a_commit_that_is_none_is_corrected_where_it_was_said(
    rented: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(repo: str, *_: object) -> None:
        raise no_commit(repo)

    monkeypatch.setattr(hub, "headers", none)
    said = eagle("some/draft", revision="nine")
    assert run(["size", "scout", "--on", "8xH100", "--speculative-config", said]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "error: The draft some/draft has no commit 'nine'.",
        "hint: Correct 'revision' in --speculative-config, or leave it out.",
    ]
    monkeypatch.setattr(hub_weights, "looked_up", none)
    with pytest.raises(DocumentError) as caught:
        drafts.settled(make(with_both(rented, SCOUTS, revision=OTHER), "ssh", "a"))
    assert caught.value.hint.startswith("Correct 'revision' under speculative_config")
    with pytest.raises(DocumentError) as caught:
        brought_here.here([LoraModule(name="tuned", path=f"somebody/tuned@{OTHER}")])
    assert caught.value.hint == "Name another, or none for the newest: --lora tuned=somebody/tuned"


def test_a_draft_in_the_cache_that_has_changed_is_fetched_again(
    rented: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, str]] = []
    monkeypatch.setattr(fetching, "confirm", lambda folder: (("model.safetensors", "is changed"),))
    monkeypatch.setattr(fetching, "fetch", lambda repo, commit, token: fetched.append((repo, commit)))
    made = make(with_both(rented, SCOUTS, revision=COMMIT), "local", "a")
    options = made.plan.serve.with_draft(str(a_draft(tmp_path / "draft")))
    cached_weights.make_sure(made, options)
    assert fetched == [(SCOUTS, COMMIT)]
    with pytest.raises(DocumentError, match="these are not the weights that were fetched"):
        cached_weights.make_sure(make(rented, "local", "a"), options)


def test_a_host_starts_no_draft_or_adapter_that_has_changed(tmp_path: Path) -> None:
    for place in ("model", "draft", "adapters/tuned"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.safetensors").write_text("ab")
    assert heal.changed(tmp_path, True) == ""
    for place, told in (("adapters/tuned", "adapters/tuned/"), ("draft", "draft/"), ("model", "")):
        (tmp_path / place / "x.safetensors").write_text("ac")
        assert heal.changed(tmp_path, True) == f"{told}x.safetensors"


def test_other_adapters_are_another_release(planned: Path, tmp_path: Path) -> None:
    """With the engine and the commit that it has; its slots hold them."""
    other, plan = adapter(tmp_path / "other"), Plan.read(planned)
    present = make(plan, "local", "mine").model_copy(update={"release": "0123456789ab"})
    asked = UpgradeOptions.model_validate({"lora": [f"other={other}"]})
    wanted = next_of(present, local, None, asked)
    assert [(module.name, module.path) for module in wanted.plan.serve.lora_modules] == [
        ("other", str(other))
    ]
    assert wanted.plan.serve.extra_args == plan.serve.extra_args
    assert release.id_of(wanted, "1.0.0") != release.id_of(make(plan, "local", "mine"), "1.0.0")


def test_the_next_adapters_are_fetched_with_the_token_of_the_deployment(
    planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    def fetched(module: LoraModule, token_file: str) -> LoraModule:
        used.append(token_file)
        return module

    monkeypatch.setattr(brought_here, "fetched", fetched)
    (tmp_path / "named").write_text("hf_CANARY\n")
    update = {"release": "0123456789ab", "hf_token_file": "/srv/token"}
    present = make(Plan.read(planned), "local", "mine").model_copy(update=update)
    for named in (None, str(tmp_path / "named")):
        asked = {"lora": [f"other={adapter(tmp_path / 'other')}"], "hf_token_file": named}
        next_of(present, local, None, UpgradeOptions.model_validate(asked))
    assert used == ["/srv/token", str(tmp_path / "named")]


def test_adapters_are_fetched_with_the_token_of_the_deployment_that_is_served(
    planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used: list[str] = []

    def fetched(module: LoraModule, token_file: str) -> LoraModule:
        used.append(token_file)
        raise DocumentError("It is not there.", "Name another.")

    monkeypatch.setattr(brought_here, "fetched", fetched)
    made = make(Plan.read(planned), "local", "mine").model_copy(update={"hf_token_file": "/srv/token"})
    made.write(folder("mine") / "deployment.json")
    asked = ["--lora", f"other={adapter(tmp_path / 'other')}"]
    for words in (["mine"], ["mine", "--hf-token-file", "/srv/other"], [str(planned)]):
        assert run(["serve", *words, *asked]) == 4
    assert used == ["/srv/token", "/srv/other", ""]
    capsys.readouterr()


def test_a_draft_is_pinned_once_for_a_deployment(rented: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def looked_up(repo: str, revision: str | None, *_: object) -> hub_weights.Weights:
        asked.append(revision)
        return hub_weights.Weights(repo=repo, revision=revision or OTHER, bytes=1, gated=False)

    monkeypatch.setattr(hub_weights, "looked_up", looked_up)
    made = make(with_both(rented, SCOUTS), "ssh", "a")
    for begun in (
        None,
        with_both(rented, SCOUTS, revision=COMMIT),
        with_both(rented, "some/other", revision=COMMIT),
    ):
        if begun:
            make(begun, "ssh", "a").write(folder("a") / "deployment.json")
        drafts.settled(made)
    drafts.settled(make(with_both(rented, SCOUTS, revision=OTHER), "ssh", "a"))
    assert asked == [None, COMMIT, None, OTHER]


@pytest.mark.parametrize("draft", ["", "org/draft", "/srv/draft"])
def test_a_host_that_fetches_a_draft_gets_the_token(draft: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_CANARY\n")
    model = a_checkpoint(tmp_path / "model")
    found = owned(model=str(model), engine=str(an_engine(tmp_path / "engine")))
    plan = with_both(found.plan, draft, revision=COMMIT)
    asked = found.model_copy(update={"plan": plan, "hf_token_file": str(tmp_path / "token")})
    line = bringing.token_line(asked, brought(asked))
    assert line == (b"hf_CANARY\n" if draft == "org/draft" else b"\n")


@pytest.mark.parametrize(
    ("draft", "shared", "asked"),
    [
        ("", "", []),
        ("/srv/draft", "", []),
        ("org/draft", "", ["fetched ''"]),
        ("org/draft", "/srv/hub/draft", ["fetched '/srv/hub/draft'"]),
    ],
)
def test_of_a_draft_that_hosts_fetch_it_is_asked_which_and_whether_they_have_it(
    draft: str, shared: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_checkpoint(tmp_path / "model")
    found = owned(model=str(model), engine=str(an_engine(tmp_path / "engine")))
    plan = with_both(found.plan, draft, revision=COMMIT)
    made = found.model_copy(update={"plan": plan})
    told: list[str] = []

    def looked_up(deployment: Deployment, at: str) -> tuple[Deployment, tuple[Check, ...]]:
        told.append(f"fetched {at!r}")
        return deployment, ()

    monkeypatch.setattr(drafts, "settled", looked_up)
    monkeypatch.setattr(ssh, "shared_weights", lambda deployment, repository, revision: shared)
    assert ssh.settled_draft(made, brought(made)) == (made, ())
    assert told == asked
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    if draft == "org/draft" and not shared:
        with pytest.raises(UsageError, match="the model hub for org/draft"):
            ssh.settled_draft(made, brought(made))
    else:
        assert ssh.settled_draft(made, brought(made)) == (made, ())


def test_nothing_is_fetched_for_a_plan_without_room(
    rented: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_weights, "looked_up", lambda *_: pytest.fail("the Hub was asked"))
    rented.write(tmp_path / "plan.json")
    for verb in (["serve"], ["up"], ["provision"]):
        assert run([*verb, str(tmp_path / "plan.json"), "--lora", "tuned=somebody/tuned"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-2] == "error: The plan sets no memory aside for adapters."


def test_a_release_whose_draft_or_adapter_is_gone_is_not_gone_back_to(tmp_path: Path, rented: Plan) -> None:
    draft, other = a_draft(tmp_path / "draft"), adapter(tmp_path / "other")
    serve = with_both(rented, str(draft), tuned(str(other))).serve
    assert local.missing_beside(serve) == ""
    other.rename(tmp_path / "away")
    assert local.missing_beside(serve) == f"its adapter tuned at {other}"
    draft.rename(tmp_path / "away too")
    assert local.missing_beside(serve) == f"its draft {draft}"


@pytest.mark.parametrize(
    ("model", "is_fetched"),
    [("a/b", True), ("/srv/b", False), ("./b", False), ("../b", False), ("~/b", False)],
)
def test_what_is_named_as_a_folder_is_no_repository(model: str, is_fetched: bool, rented: Plan) -> None:
    named = rented.model_copy(update={"serve": rented.serve.model_copy(update={"model": model})})
    assert hub_weights.is_fetched(named) is is_fetched
