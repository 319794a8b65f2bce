"""`corral fetch`: by a name or a plan, into the cache or a folder; and verified offline, file by file."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import lying_hub
import pytest
from lying_hub import FETCHED, SHARDS
from test_hub import GRANTED, REPO, as_at_first, fake_hub_class
from test_owned import deployment

from deploy.cli.main import run
from deploy.targets.deployment import folder
from infra.fetch import checksums
from infra.fetch.discrepancies import strangers
from infra.fetch.hub_answers import Source
from serving.model import fetching
from serving.vllm.lora_modules import LoraModule


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    repository = lying_hub.repository(tmp_path_factory.mktemp("hub") / "repository")
    with fake_hub_class()(REPO, repository) as server:
        yield server
        server.shutdown()


@pytest.fixture
def hub(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Hub as it is at first, and a user with an empty cache and a token."""
    return as_at_first(server, "gated", tmp_path, monkeypatch)


def cache(hub: Any, tmp_path: Path) -> Path:
    found: Path = tmp_path / "hf/hub/models--someone--Tiny-Llama-4/snapshots" / hub.commit
    return found


def total(hub: Any) -> int:
    return sum((hub.folder / name).stat().st_size for name in FETCHED)


def test_a_name_is_fetched_into_the_cache_and_once(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["fetch", REPO, "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said.pop("seconds") > 0
    assert said == {
        "model": REPO, "repository": REPO, "commit": hub.commit, "to": str(cache(hub, tmp_path)),
        "files": len(FETCHED), "bytes": total(hub), "fetched_bytes": total(hub),
    }  # fmt: skip
    assert f"weights: {REPO} at {hub.commit}, 0.0 GiB, licence llama4" in err
    assert GRANTED not in out + err
    held = [path for path in tmp_path.rglob("*") if path.is_file() and GRANTED.encode() in path.read_bytes()]
    assert held == []
    assert fetching.cached_commit(REPO, os.environ) == hub.commit

    # At its commit it is here: nobody is asked, with or without the internet.
    hub.asked.clear()
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    assert run(["fetch", REPO, "--revision", hub.commit]) == 0
    assert "verified; nothing had to come" in capsys.readouterr().out
    assert run(["fetch", REPO]) == 2
    assert "This would ask the model hub for" in capsys.readouterr().err
    assert hub.asked == []


def test_a_plan_is_fetched_at_its_commit_into_a_folder(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = deployment().plan
    serve = plan.serve.model_copy(update={"model": REPO, "revision": hub.commit})
    plan.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    assert run(["fetch", str(tmp_path / "plan.json"), "--to", str(tmp_path / "to"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["commit"], said["to"]) == (plan.model, hub.commit, str(tmp_path / "to"))
    assert {path.name for path in (tmp_path / "to").iterdir()} == FETCHED | {".corral"}
    (tmp_path / "to/.cache/huggingface").mkdir(parents=True)  # as `hf download --local-dir` leaves it
    (tmp_path / "to/.cache/huggingface/.gitignore").write_text("*")
    assert run(["fetch", "--verify", str(tmp_path / "to")]) == 0
    assert GRANTED not in repr(Source("https://hub", REPO, hub.commit, GRANTED))


def test_the_draft_and_the_adapters_of_a_plan_come_with_its_model(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each into a folder below the model's, where a bucket and the exports expect them."""
    plan = deployment().plan
    draft = {"method": "eagle3", "model": REPO, "revision": hub.commit, "num_speculative_tokens": 3}
    elsewhere = LoraModule(name="tuned", path=f"{REPO}@{hub.commit}")
    here = LoraModule(name="own", path="/srv/own")
    serve = plan.serve.model_copy(
        update={
            "model": REPO,
            "revision": hub.commit,
            "speculative_config": draft,
            "lora_modules": (elsewhere, here),
        }
    )
    written = plan.model_copy(update={"serve": serve})
    written.write(tmp_path / "plan.json")
    to = tmp_path / "to"
    assert run(["fetch", str(tmp_path / "plan.json"), "--to", str(to), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(each["model"], each["to"], each["fetched_bytes"]) for each in (*said["beside"], said)] == [
        ("draft", str(to / "draft"), total(hub)),
        ("adapters/tuned", str(to / "adapters/tuned"), total(hub)),
        (plan.model, str(to), total(hub)),
    ]
    assert run(["fetch", "--verify", str(to)]) == 0
    assert f"{3 * len(FETCHED)} files" in capsys.readouterr().out
    flipped(to / "adapters/tuned" / SHARDS[0])
    (to / "draft/stray.bin").write_text("")
    (to / "adapters/stray").write_text("")
    assert run(["fetch", "--verify", str(to)]) == 4
    assert capsys.readouterr().out.splitlines() == [
        "adapters/stray is extra",
        "draft/stray.bin is a pickle, which may run code when it is loaded",
        f"adapters/tuned/{SHARDS[0]} is changed: its sha256 is another",
    ]
    # Another folder is none of those, whatever it says of itself.
    for place in (to / "original", to / "adapters/tuned/draft"):
        (place / ".corral").mkdir(parents=True)
        (place / ".corral/manifest.json").touch()
        (place / "own.py").touch()
    assert run(["fetch", "--verify", str(to), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["problems"][:3] == [
        "adapters/stray is extra", "original/.corral/manifest.json is extra", "original/own.py is extra",
    ]  # fmt: skip
    assert run(["fetch", "--verify", str(to / "adapters/tuned")]) == 4
    manifest = to / "adapters/tuned/draft/.corral/manifest.json"
    assert f"error: {manifest} was changed since corral wrote it" in capsys.readouterr().err
    # In the cache, for a plan whose model is a folder, by the commands that are told.
    folder = written.model_copy(update={"serve": serve.model_copy(update={"model": "/srv/scout"})})
    folder.write(tmp_path / "plan.json")
    assert run(["fetch", str(tmp_path / "plan.json")]) == 2
    one = f"corral fetch {REPO} --revision {hub.commit}"
    assert f"hint: Only what is beside it comes from a hub: {one}; {one}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Which weights? No MODEL and no PLAN is named."),
        ([""], 2, "The model's name is empty."),
        (["nobody"], 2, "'nobody' is no name of weights on the Hub, and no plan."),
        (["x" * 300], 2, f"{'x' * 300!r} is no name of weights on the Hub, and no plan."),
        (["./folder"], 2, "'./folder' is no name of weights on the Hub, and no plan."),
        (["a/b/c.json"], 4, "There is no plan at a/b/c.json."),
        (
            ["someone/Other"],
            4,
            "There is no repository 'someone/Other' on the Hub, or your token may not see it.",
        ),
        ([REPO, "--revision", "v9"], 4, f"{REPO} has no commit of the name that the plan gives."),
        ([REPO, "--revision", "../x"], 2, "--revision '../x' cannot be right."),
        ([REPO, "--precision", "fp8"], 2, f"{REPO} is one repository, of one precision."),
        (["maverick", "--precision", "nvfp9"], 2, "--precision 'nvfp9' is unknown."),
        ([REPO, "--to", "/dev/null"], 2, "/dev/null is there, and is no folder."),
        ([REPO, "--to", "/proc/x"], 11, "The weights need 0.00 GiB at /proc/x, and 0.00 GiB are free."),
        ([REPO, "--verify", "/tmp"], 2, "--verify is about what is there already."),
        (
            ["--verify", "/tmp", "--accept-license", "llama4", "--country", "US"],
            2,
            "--verify is about what is there already.",
        ),
        (["--verify", "/nowhere"], 4, "There is no folder /nowhere."),
        (["--verify", f"/{'x' * 300}"], 4, f"There is no folder /{'x' * 300}."),
        (["--verify", "/proc/self"], 4, "/proc/self has no manifest, so nothing says what should be there."),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    words: list[str], code: int, said: str, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fetch", *words]) == code
    out, err = capsys.readouterr()
    assert (out, f"error: {said}\n" in err) == ("", True), err
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_that_is_let_in_nothing_is_fetched(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert run(["fetch", REPO]) == 5
    assert "is gated: without a token of somebody who accepted its licence" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_revoked_CANARY")
    assert run(["fetch", REPO]) == 5
    assert "does not know the token" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- a disk with a quota, a real one

CORRAL = [sys.executable, "-c", "from deploy.cli.start import main; main()"]
ROOT = Path(__file__).parent.parent
LIMITED = """
truncate --size 128M disk && mkfs.btrfs --quiet --mixed disk >&2 && mkdir disk.d && mount -o loop disk disk.d || exit 99
btrfs quota enable disk.d || exit 99
"$@" --to "$PWD/disk.d/to" --json >&2 && rm disk.d/to/model-00002-of-00003.safetensors || exit 98
until [ "$(btrfs qgroup show --raw disk.d | awk '$1 == "0/5" {print $2}')" -lt 18000000 ]; do sync -f disk.d; done
btrfs qgroup limit 21M disk.d || exit 98
"$@" --to "$PWD/disk.d/to"; echo "rc $?"
cp -r disk.d/to came || exit 98
btrfs qgroup limit none 0/5 disk.d || exit 98
"$@" --to "$PWD/disk.d/to" --json; echo "rc $?"
"""
LARGE_BYTES = 8 * 2**20
"""Of a shard. Two of them and what btrfs puts by for its own trees are below the limit, three are above."""


def test_a_quota_that_is_used_up_midway_is_one_sentence_and_no_half_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[str, str], NoReturn]
) -> None:
    """The disk says that it has room, and refuses: only while it is written is a quota met."""
    if os.getuid() or not (shutil.which("mkfs.btrfs") and shutil.which("btrfs")):
        need("quota", "only root with btrfs-progs mounts a disk with a quota")
    limited = ["unshare", "--mount", "sh", "-c", LIMITED, "limited"]
    with fake_hub_class()(REPO, lying_hub.repository(tmp_path / "repository", LARGE_BYTES)) as hub:
        as_at_first(hub, "gated", tmp_path, monkeypatch)
        done = subprocess.run(
            [*limited, *CORRAL, "fetch", REPO, "--accept-license", "llama4", "--country", "US"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        hub.shutdown()
    if done.returncode in (1, 99):
        need("quota", "no file system with a quota can be mounted here")
    told = [line for line in done.stderr.splitlines() if line.startswith(("error:", "Traceback"))]
    # A part is refused as it is made, or in its midst.
    part = re.escape(str(tmp_path / "disk.d/to")) + r"(/\.corral/[0-9a-f.]+\.part)?"
    assert len(told) == 1, done.stderr
    assert re.fullmatch(f"error: The weights cannot be written to {part}: Disk quota exceeded.", told[0])
    refused, out = done.stdout.split("rc 11\n")
    came = [path for path in (tmp_path / "came").iterdir() if path.name != ".corral"]
    assert {path.name for path in came} == {*FETCHED} - {SHARDS[1]}
    assert all(path.read_bytes() == (hub.folder / path.name).read_bytes() for path in came)
    said, code, _ = out.partition("rc 0\n")
    assert (refused, code, json.loads(said)["files"]) == ("", "rc 0\n", len(FETCHED))
    assert 0 < json.loads(said)["fetched_bytes"] <= LARGE_BYTES


# --- verified, without a network


@pytest.fixture
def place(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Path:
    """What was fetched, in a folder or in the cache; and no Hub any more."""
    where = getattr(request, "param", "folder")
    assert run(["fetch", REPO, *(["--to", str(tmp_path / "to")] if where == "folder" else [])]) == 0
    capsys.readouterr()
    hub.mood = "broken"
    hub.asked.clear()
    return tmp_path / "to" if where == "folder" else cache(hub, tmp_path)


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def shrunk(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("/etc/hostname")


def foldered(path: Path) -> None:
    path.unlink()
    path.mkdir()


SIZE = lying_hub.SHARD_BYTES
WRONG = [
    (lambda path: path.unlink(), [f"{SHARDS[1]} is missing"]),
    (grown, [f"{SHARDS[1]} is too long: {SIZE + 1} of {SIZE} bytes"]),
    (shrunk, [f"{SHARDS[1]} is cut off: {SIZE - 1} of {SIZE} bytes"]),
    (flipped, [f"{SHARDS[1]} is changed: its sha256 is another"]),
    (linked, ["elsewhere is extra", f"{SHARDS[1]} is a link that leaves the folder"]),
    (foldered, [f"{SHARDS[1]} is no file"]),
    (lambda path: os.mkfifo(path.with_name("pipe")), ["pipe is extra"]),
    (
        lambda path: path.with_name("pytorch_model.bin").write_bytes(b"x"),
        ["pytorch_model.bin is a pickle, which may run code when it is loaded"],
    ),
]


def test_a_deployment_is_verified_before_a_folder_that_is_called_so(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.parent)
    assert run(["fetch", "--verify", "t0"]) == 4
    said = "error: Neither a deployment nor a folder here is called 't0'.\n"
    assert capsys.readouterr() == ("", f"{said}hint: Look what lies here: ls -l\n")
    assert run(["fetch", "--verify", "to"]) == 0
    made = deployment().model_copy(update={"name": "to"})
    serve = made.plan.serve.model_copy(update={"model": str(place.parent / "own")})
    made = made.model_copy(update={"target": "local", "plan": made.plan.model_copy(update={"serve": serve})})
    made.write(folder("to") / "deployment.json")
    (place.parent / "own").mkdir()
    capsys.readouterr()
    assert run(["fetch", "--verify", "to"]) == 4
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == (
        f"{place.parent / 'own'}: nothing says what it should be\n",
        "to is the deployment of that name; what lies here is called ./to",
    )
    assert run(["fetch", "--verify", "./to"]) == 0
    assert capsys.readouterr().out.startswith(f"{place} is {REPO} at ")
    assert run(["fetch", "--verify", "t0"]) == 4
    assert capsys.readouterr() == ("", f"{said}hint: Deployments known here: to.\n")


def test_a_licence_may_lie_beside_weights_that_came_without_one(tmp_path: Path) -> None:
    """As what makes a bundle of them asks for; but no link of that name."""
    bare = checksums.Manifest(repository=REPO, commit="0" * 40, files={}, others={})
    (tmp_path / "LICENSE").write_text("Llama 4 Community License Agreement\n")
    assert [*strangers(tmp_path, bare, None, ())] == []
    (tmp_path / "NOTICE").symlink_to("LICENSE")
    (tmp_path / "LICENSE").rename(tmp_path / "elsewhere")
    (tmp_path / "LICENSE").symlink_to("elsewhere")
    assert [*strangers(tmp_path, bare, None, ())] == ["LICENSE", "NOTICE", "elsewhere"]


@pytest.mark.parametrize("place", ["folder", "cache"], indirect=True)
@pytest.mark.parametrize(("break_it", "problems"), WRONG, ids=[" and ".join(said) for _, said in WRONG])
def test_what_is_wrong_is_told_file_by_file(
    break_it: Any, problems: list[str], place: Path, hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fetch", "--verify", str(place), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "folder": str(place), "repository": REPO, "commit": hub.commit, "files": len(FETCHED), "bytes": total(hub),
        "problems": [],
    }  # fmt: skip
    break_it(place / SHARDS[1])
    assert run(["fetch", "--verify", str(place)]) == 4
    out, err = capsys.readouterr()
    assert out.splitlines() == problems
    assert f"error: {place} must not be served: {len(problems)} problem(s).\n" in err
    assert hub.asked == []


@pytest.mark.parametrize("place", ["folder", "cache"], indirect=True)
def test_it_is_verified_where_there_is_no_network_at_all(
    place: Path, hub: Any, without_network: list[str]
) -> None:
    """By the program itself, in a network of its own; and nothing is asked of the Hub that the user's settings name."""

    def verified() -> tuple[int, str, str]:
        command = [*without_network, *CORRAL, "fetch", "--verify", str(place)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr.partition("\n")[0]

    right = f"{place} is {REPO} at {hub.commit}: {len(FETCHED)} files, 0.00 GiB, every checksum right\n"
    assert verified() == (0, right, "")
    flipped((place / SHARDS[1]).resolve())
    wrong = f"error: {place} must not be served: 1 problem(s)."
    assert verified() == (4, f"{SHARDS[1]} is changed: its sha256 is another\n", wrong)


@pytest.mark.parametrize("place", ["folder", "cache"], indirect=True)
def test_a_manifest_that_was_edited_is_no_witness(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (path,) = tmp_path.rglob(".corral/*.json")
    text = path.read_text()
    flipped(place / SHARDS[0])
    edits = (
        text.replace(lying_hub.sha256(place / SHARDS[1]), lying_hub.sha256(place / SHARDS[0])),
        text.replace(SHARDS[0], "../x"),
        text[:-9],
        "[]",
        "[" * 100_000,
        json.dumps(json.loads(text) | {"schema_version": 2}),
    )
    for edited in edits:
        path.write_text(edited)
        assert run(["fetch", "--verify", str(place)]) == 4
        assert f"error: {path} was changed since corral wrote it" in capsys.readouterr().err
    body = json.loads(text)
    del body["sha256"]
    body["files"]["../x"] = body["files"][SHARDS[0]]
    path.write_text(json.dumps(body | {"sha256": checksums.sum_of(body)}))
    assert run(["fetch", "--verify", str(place)]) == 4
    assert f"error: {path} was changed since corral wrote it" in capsys.readouterr().err


def test_a_snapshot_that_another_tool_fetched_is_verified_by_its_names(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(
        REPO, cache_dir=tmp_path / "hf/hub", endpoint=hub.url, token=GRANTED,
        ignore_patterns=["*.bin", "*/*", "*.py", "consolidated*"],
    )  # fmt: skip
    place = cache(hub, tmp_path)
    assert run(["fetch", "--verify", str(place)]) == 0
    flipped((place / SHARDS[0]).resolve())
    (place / SHARDS[2]).unlink()
    capsys.readouterr()
    assert run(["fetch", "--verify", str(place)]) == 4
    assert capsys.readouterr().out.splitlines() == [
        f"{SHARDS[0]} is changed: its checksum is another",
        f"{SHARDS[2]} is missing",
    ]


def test_what_another_tool_fetched_is_noted_with_all_that_lies_deeper(hub: Any, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(
        REPO, cache_dir=tmp_path / "hf/hub", endpoint=hub.url, token=GRANTED,
        ignore_patterns=["*.bin", "*.py", "consolidated*"],
    )  # fmt: skip
    place = cache(hub, tmp_path)
    assert (place / "original/a.safetensors").is_file()
    assert [fetching.confirm(place) for _ in range(2)] == [(), ()]  # the second time by the note
    assert run(["fetch", "--verify", str(place)]) == 0


@pytest.mark.parametrize("place", ["cache"], indirect=True)
def test_a_file_in_the_place_of_a_link_of_the_cache_is_found_before_a_start(place: Path, hub: Any) -> None:
    """So does `sed -i` leave it: the bytes among the blobs are untouched, and not those that are served."""
    config = place / "config.json"
    text = config.read_bytes()
    config.unlink()
    config.write_bytes(text + b" ")
    why = f"is too long: {len(text) + 1} of {len(text)} bytes"
    assert fetching.confirm(place) == (("config.json", why),)
    hub.mood = "gated"
    assert run(["fetch", REPO, "--revision", hub.commit]) == 0
    assert (config.is_symlink(), config.read_bytes()) == (True, text)
    assert fetching.confirm(place) == ()


def test_a_snapshot_that_holds_no_weights_is_not_right(
    hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = cache(hub, tmp_path)
    place.mkdir(parents=True)
    assert run(["fetch", "--verify", str(place)]) == 4
    assert capsys.readouterr().out == "config.json is missing\n*.safetensors is missing\n"
