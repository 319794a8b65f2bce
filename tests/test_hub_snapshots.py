"""What another tool fetched, in part or with more than a server reads: adopted, completed, and verified as that."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lying_hub
import pytest
from lying_hub import CHUNK, FETCHED, SHARD_BYTES, SHARDS
from test_hub import GRANTED, REPO, as_at_first, fake_hub_class

from deploy.cli.main import run
from infra.fetch.layouts import OLD_S, in_cache, in_folder
from infra.fetch.partial import Partial
from serving.model import fetching

NOTES = (".gitattributes", "README.md", "photo.png")
PICKLES = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    repository = lying_hub.repository(tmp_path_factory.mktemp("hub") / "repository")
    for name in (*NOTES, *PICKLES):
        (repository / name).write_bytes(b"not for a server")
    with fake_hub_class()(REPO, repository) as server:
        yield server
        server.shutdown()


@pytest.fixture
def hub(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return as_at_first(server, "well", tmp_path, monkeypatch)


@pytest.fixture
def downloaded(hub: Any, tmp_path: Path) -> Callable[..., Path]:
    """What `hf download` leaves: in the cache, or in a folder; all of it, or what the patterns say."""

    def download(*patterns: str, folder: Path | None = None) -> Path:
        from huggingface_hub import snapshot_download

        snapshot_download(
            REPO, revision=hub.commit, endpoint=hub.url, token=GRANTED, allow_patterns=[*patterns] or None,
            cache_dir=tmp_path / "hf/hub", local_dir=folder,
        )  # fmt: skip
        hub.bytes_sent = 0
        return folder or in_cache(tmp_path / "hf/hub", REPO, hub.commit).folder

    return download


def unseen(path: Path) -> None:
    """Change a byte as a disk does that lies: neither the size nor the time tells of it."""
    real = path.resolve()
    status, content = real.stat(), real.read_bytes()
    real.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(real, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_no_server_reads_need_not_be_good_and_pickles_are_told_of(
    downloaded: Callable[..., Path], hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = downloaded()
    for name in (*NOTES, *PICKLES, "modeling.py", "consolidated.safetensors", "original/a.safetensors"):
        unseen(place / name)
    hub.mood = "broken"
    assert [fetching.confirm(place) for _ in range(2)] == [(), ()]
    assert run(["fetch", "--verify", str(place)]) == 0
    out, err = capsys.readouterr()
    assert f"is {REPO} at {hub.commit}: {len(FETCHED)} files" in out
    assert (
        "weights: optimizer.pt and 3 more of the repository may run code when loaded; no server that" in err
    )
    assert f"corral fetch {REPO} --revision {hub.commit} asks the Hub, and fetches what is missing" in err
    unseen(place / SHARDS[2])
    assert run(["fetch", "--verify", str(place)]) == 4
    assert capsys.readouterr().out == f"{SHARDS[2]} is changed: its sha256 is another\n"


@pytest.mark.parametrize("in_a_folder", [False, True])
def test_what_the_repository_lists_is_not_extra_whoever_brought_it(
    in_a_folder: bool,
    downloaded: Callable[..., Path],
    hub: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = downloaded(folder=tmp_path / "to" if in_a_folder else None)
    to = ["--to", str(place)] if in_a_folder else []
    assert run(["fetch", REPO, *to]) == 0
    assert "verified; nothing had to come" in capsys.readouterr().out
    hub.mood = "broken"
    assert run(["fetch", "--verify", str(place)]) == 0
    assert "optimizer.pt and 3 more of the repository may run code" in capsys.readouterr().err
    (place / "stray.md").write_text("")
    (place / "training_args.bin").unlink()
    (place / "training_args.bin").write_text("another than the repository's")
    assert run(["fetch", "--verify", str(place)]) == 4
    assert capsys.readouterr().out.splitlines() == [
        "stray.md is extra",
        "training_args.bin is a pickle, which may run code when it is loaded",
    ]


INDEX = "model.safetensors.index.json"
ENDED = [
    ((*SHARDS, "config.json", INDEX), []),
    ((*SHARDS, "config.json"), []),
    ((*SHARDS[:2], "config.json", "tokenizer.json"), [f"{SHARDS[2]} is missing"]),
    ((SHARDS[0], "config.json", INDEX), [f"{SHARDS[1]} is missing", f"{SHARDS[2]} is missing"]),
    (SHARDS, ["config.json is missing"]),
    (("*.json", "*.bin"), [f"{shard} is missing" for shard in SHARDS]),
    (("config.json", "*.bin"), ["*.safetensors is missing"]),
]


@pytest.mark.parametrize(("names", "told"), ENDED, ids=[str(number) for number in range(len(ENDED))])
def test_a_download_that_was_ended_is_completed_and_nothing_that_is_right_comes_again(
    names: tuple[str, ...], told: list[str], downloaded: Callable[..., Path], hub: Any, tmp_path: Path
) -> None:
    place = downloaded(*names)
    assert [f"{name} {why}" for name, why in fetching.confirm(place)] == told
    there = {path.name for path in place.iterdir()}
    assert run(["fetch", REPO, "--revision", hub.commit]) == 0
    assert {path.name for path in place.iterdir()} == FETCHED | there
    blobs = {(hub.folder / name).resolve(): (hub.folder / name).stat().st_size for name in FETCHED - there}
    assert hub.bytes_sent == sum(blobs.values()) + (hub.folder / INDEX).stat().st_size
    assert run(["fetch", "--verify", str(place)]) == 0
    hub.asked.clear()
    assert run(["fetch", REPO, "--revision", hub.commit]) == 0
    assert hub.asked == []


def test_what_another_tool_adds_later_is_summed_too(downloaded: Callable[..., Path], hub: Any) -> None:
    place = downloaded(*SHARDS, "config.json")
    assert fetching.confirm(place) == ()
    downloaded("tokenizer.json")
    unseen(place / "tokenizer.json")
    assert fetching.confirm(place) == (("tokenizer.json", "is changed: its checksum is another"),)
    unseen(place / SHARDS[0])
    assert {SHARDS[0], "tokenizer.json"} <= {name for name, _ in fetching.confirm(place)}
    assert run(["fetch", REPO, "--revision", hub.commit]) == 0
    assert run(["fetch", "--verify", str(place)]) == 0


@pytest.mark.parametrize("in_a_folder", [False, True])
def test_what_is_found_wrong_comes_again_though_its_time_says_nothing(
    in_a_folder: bool, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--to", str(tmp_path / "to")] if in_a_folder else []
    again = ["fetch", REPO, "--revision", hub.commit, *to]
    assert run(again) == 0
    place = tmp_path / "to" if in_a_folder else in_cache(tmp_path / "hf/hub", REPO, hub.commit).folder
    unseen(place / SHARDS[1])
    assert run(["fetch", "--verify", str(place)]) == 4
    assert [name for name, _ in fetching.confirm(place)] == [SHARDS[1]]  # and it is not served
    hub.bytes_sent = 0
    assert run(again) == 0
    assert hub.bytes_sent == SHARD_BYTES + (hub.folder / INDEX).stat().st_size
    assert run(["fetch", "--verify", str(place)]) == 0


@pytest.mark.parametrize("in_a_folder", [False, True])
def test_what_came_of_another_commit_is_kept_for_its_fetch_until_it_is_old(
    in_a_folder: bool, hub: Any, tmp_path: Path
) -> None:
    layout = in_folder(tmp_path / "to") if in_a_folder else in_cache(tmp_path / "hf/hub", REPO, hub.commit)
    layout.make()
    (file,) = [
        lying_hub.wanted(path) for name, path in hub.files().items() if name == SHARDS[0]
    ]  # of the commit before, a file of that name
    before = file._replace(sha256="b" * 64, size=file.size + CHUNK)
    part = Partial(layout.part(before), before, CHUNK)
    part.close()
    old = layout.own / f"{'c' * 64}.part"
    old.touch()
    os.utime(old, (0, old.stat().st_mtime - OLD_S - 60))
    assert run(["fetch", REPO, *(["--to", str(layout.folder)] if in_a_folder else [])]) == 0
    assert {path.name for path in layout.own.glob("*.part")} == {part.path.name}
    assert run(["fetch", "--verify", str(layout.folder)]) == 0
