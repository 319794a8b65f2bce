"""Weights are fetched whole and right, or not at all: a Hub that lies, refuses, stalls or ends early is told as that.

The Hub is the stand-in on loopback (tests/lying_hub.py).
"""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from threading import Event, Thread
from typing import Any

import lying_hub
import pytest
from lying_hub import AT_DOOR, CHUNK, FETCHED, HASTE, OF_BYTES, SHARD_BYTES, SHARDS, STALLING
from test_hub import GRANTED, REPO, STRANGER, fake_hub_class

from infra.data import shipped_text
from infra.errors import CorralError, DocumentError, EndpointError, HostError, UsageError
from infra.fetch import hub_wire
from infra.fetch.download import Fetched, Told, fetch
from infra.fetch.hub_answers import Passing, Source, waited_s
from infra.fetch.layouts import Layout, in_cache, in_folder
from infra.fetch.patience import Pace
from infra.fetch.verifying import verify
from infra.host_files import LIBRARY

KILLS = int(os.environ.get("CORRAL_TEST_KILLS", "4"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lying_hub.repository(tmp_path_factory.mktemp("hub") / "repository")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Any]:
    with fake_hub_class()(REPO, repository) as server:
        yield server
        server.shutdown()


@pytest.fixture
def hub(server: Any) -> Any:
    """As it is at first."""
    server.faults, server.doors, server.told = {}, {}, lambda info: info
    server.bytes_sent, server.asked, server.mood = 0, [], "well"
    return server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def get(hub: Any, said: list[str]) -> Callable[..., Fetched]:
    """Fetch from that Hub into a layout."""

    def run(layout: Layout, token: str = GRANTED, pace: Pace = HASTE, **options: Any) -> Fetched:
        told = Told(said.append, lambda there, total: None)
        return fetch(Source(hub.url, REPO, hub.commit, token), layout, told, pace, **options)

    return run


def names(folder: Path) -> set[str]:
    """Everything below a folder but the lock."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return {name for name in found if not name.endswith(".corral/lock")}


def wanted_bytes(hub: Any) -> int:
    return sum((hub.folder / name).stat().st_size for name in FETCHED)


def test_what_a_server_reads_is_fetched_and_nothing_else(
    hub: Any, get: Callable[..., Fetched], said: list[str], tmp_path: Path
) -> None:
    made = get(in_folder(tmp_path / "to"))
    total = wanted_bytes(hub)
    assert made == Fetched(tmp_path / "to", len(FETCHED), total, total, ("pytorch_model.bin",))
    assert names(tmp_path / "to") == FETCHED | {".corral/manifest.json"}
    assert {name: lying_hub.sha256(tmp_path / "to" / name) for name in FETCHED} == {
        name: lying_hub.sha256(hub.folder / name) for name in FETCHED
    }
    assert said == ["left out, as it may run code when it is loaded: 'pytorch_model.bin'"]
    tokens = {(path.split("/")[1], token) for _, path, token in hub.asked}
    assert tokens == {("api", GRANTED), ("someone", GRANTED), ("cdn", "")}


def test_the_end_is_heard_at_once_however_seldom_somebody_looks(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    """A wait for the next look would be one without an end here."""
    made = get(in_folder(tmp_path / "to"), pace=HASTE._replace(look_every_s=1e6))
    assert made.fetched_bytes == wanted_bytes(hub)
    hub.faults[SHARDS[0]] = lying_hub.flipped
    with pytest.raises(EndpointError):
        get(in_folder(tmp_path / "other"), pace=HASTE._replace(look_every_s=1e6))


def test_the_cache_is_as_the_hubs_library_has_it_and_reads_it(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    layout = in_cache(tmp_path, REPO, hub.commit)
    get(layout)
    assert verify(layout.folder).problems == ()
    (repo,) = scan_cache_dir(tmp_path).repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash) == (REPO, hub.commit)
    assert {file.file_name for file in revision.files} == FETCHED
    for name in FETCHED:
        found = try_to_load_from_cache(REPO, name, cache_dir=tmp_path, revision=hub.commit)
        assert Path(str(found)).read_bytes() == (hub.folder / name).read_bytes()


def test_what_is_there_is_not_fetched_again_whoever_fetched_it(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import snapshot_download

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    snapshot_download(
        REPO,
        revision=hub.commit,
        cache_dir=tmp_path,
        endpoint=hub.url,
        ignore_patterns=["consolidated*", "*.bin"],
    )
    layout = in_cache(tmp_path, REPO, hub.commit)
    blob = (layout.folder / SHARDS[1]).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    before = hub.bytes_sent
    assert get(layout).fetched_bytes == SHARD_BYTES
    index = (hub.folder / "model.safetensors.index.json").stat().st_size
    assert hub.bytes_sent - before == SHARD_BYTES + index  # which is looked into first
    assert get(layout).fetched_bytes == 0


# --- a Hub that answers wrongly

LONG_NAMES = [
    {"rfilename": f"{number}/{'a' * 250}/{'b' * 250}", "size": 2, "blobId": "a" * 40}
    for number in range(5000)
]
"""Of few files; a manifest that holds all of them could not be read again."""


CASES = [*product(OF_BYTES, [False], range(3)), *product(AT_DOOR, [True], [1])]


@pytest.mark.parametrize(("kind", "is_at_door", "position"), CASES)
def test_a_wrong_answer_is_told_as_what_it_is_and_nothing_of_it_is_taken(
    kind: str, is_at_door: bool, position: int, hub: Any, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    fault, error, words = (AT_DOOR if is_at_door else OF_BYTES)[kind]
    shard = SHARDS[position]
    (hub.doors if is_at_door else hub.faults)[shard] = fault
    layout = in_folder(tmp_path / "to")
    pace = HASTE._replace(stall_s=0.3) if kind in STALLING else HASTE
    with pytest.raises(error) as caught:
        get(layout, pace=pace)
    assert type(caught.value) in (error, Passing)
    assert words in caught.value.message
    assert GRANTED not in caught.value.message + caught.value.hint
    assert not (layout.folder / shard).exists()
    assert not layout.manifest.exists()
    for name in SHARDS:
        assert not (layout.folder / name).exists() or lying_hub.sha256(
            layout.folder / name
        ) == lying_hub.sha256(hub.folder / name)
    hub.faults.clear()
    hub.doors.clear()
    get(layout)
    assert names(layout.folder) == FETCHED | {".corral/manifest.json"}
    assert verify(layout.folder).problems == ()


def test_a_byte_that_is_wrong_once_is_fetched_again(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    left = [1]

    def once(*asked: Any) -> bool:
        return bool(left and left.pop() and lying_hub.flipped(*asked))

    hub.faults[SHARDS[0]] = once
    assert get(in_folder(tmp_path / "to")).fetched_bytes == wanted_bytes(hub) + SHARD_BYTES


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"rfilename": "../model.safetensors"}, "it names a file '../model.safetensors', which no folder can hold"),
        ({"rfilename": "/etc/passwd"}, "it names a file '/etc/passwd', which no folder can hold"),
        ({"rfilename": "a/../../b"}, "it names a file 'a/../../b', which no folder can hold"),
        ({"rfilename": "a\0.json"}, "it names a file 'a\\x00.json', which no folder can hold"),
        ({"rfilename": "a\nb.json"}, "it names a file 'a\\nb.json', which no folder can hold"),
        ({"rfilename": "..\\b.json"}, "it names a file '..\\\\b.json', which no folder can hold"),
        ({"rfilename": "x" * 300}, "which no folder can hold"),
        ({"rfilename": ""}, "it names a file '', which no folder can hold"),
        ({"rfilename": "CONFIG.json"}, "it names 'config.json' and 'CONFIG.json', which are one file on many disks"),
        ({"rfilename": "config.json"}, "it names 'config.json' and 'config.json', which are one file on many disks"),
        ({"rfilename": 5}, "it lists a file without a name"),
        ({"size": -1}, "it tells no size of 'x.json'"),
        ({"size": 2**60}, "it tells no size of 'x.json'"),
        ({"size": None}, "it tells no size of 'x.json'"),
        ({"lfs": {"sha256": "a" * 64, "size": 9}}, "it tells two sizes of 'x.json'"),
        ({"lfs": "a"}, "what it says of 'x.json' is no description"),
        ({"blobId": "../../../x"}, "it tells no checksum of 'x.json'"),
        ({"blobId": None}, "it tells no checksum of 'x.json'"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_true_is_refused_before_any_byte(
    told: dict[str, Any], words: str, hub: Any, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    row = {"rfilename": "x.json", "size": 2, "blobId": "a" * 40} | told
    hub.told = lambda info: info | {"siblings": [*info["siblings"], row]}
    with pytest.raises(EndpointError) as caught:
        get(in_folder(tmp_path / "to"))
    assert words in caught.value.message
    assert hub.bytes_sent == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        (lambda info: info | {"sha": "f" * 40}, EndpointError, "and tells of another"),
        (lambda info: [info], EndpointError, "it lists no files"),
        (lambda info: info | {"siblings": None}, EndpointError, "it lists no files"),
        (lambda info: info | {"siblings": LONG_NAMES}, EndpointError, "the names of its files have more than 2,097,"),
        (lambda info: info | {"siblings": [{}]}, EndpointError, "it lists a file without a name"),
        (lambda info: without(info, "config.json"), DocumentError, "has no config.json, so it is no checkpoint"),
        (lambda info: without(info, SHARDS[2]), DocumentError, f"names '{SHARDS[2]}', which the repository does not"),
        (lambda info: without(info, ".safetensors", "index"), DocumentError, "holds its weights as pickles alone"),
        (lambda info: without(info, ".safetensors", "index", ".bin"), DocumentError, "holds no *.safetensors"),
    ],
)  # fmt: skip
def test_a_repository_that_is_no_checkpoint_is_refused_by_what_it_lacks(
    told: Callable[[Any], Any], error: type[CorralError], words: str, hub: Any, get: Any, tmp_path: Path
) -> None:
    hub.told = told
    with pytest.raises(error) as caught:
        get(in_folder(tmp_path / "to"))
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_no_json_is_not_passed_over(
    get: Callable[..., Fetched], repository: Path, tmp_path: Path
) -> None:
    index = repository / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text("{")
    try:
        with pytest.raises(DocumentError, match="is no index of weights"):
            get(in_folder(tmp_path / "to"))
    finally:
        index.write_text(text)
    assert list(tmp_path.iterdir()) == []


def without(info: Any, *ends: str) -> Any:
    """The info without some files."""
    return info | {
        "siblings": [row for row in info["siblings"] if not any(end in row["rfilename"] for end in ends)]
    }


# --- who cannot be reached


@pytest.mark.parametrize(
    ("endpoint", "environ", "words"),
    [
        ("http://127.0.0.1:9", {}, "The Hub at 127.0.0.1 cannot be reached: Connection refused."),
        ("http://no-such-name.invalid", {}, "The Hub at no-such-name.invalid has no address: the name cannot be"),
        ("ftp://hub", {}, "is no address of a Hub."),
        ("http://hub.invalid", {"http_proxy": "http://127.0.0.1:9"}, "The proxy 127.0.0.1 cannot be reached: Conn"),
        ("https://hub.invalid", {"https_proxy": "http://127.0.0.1:9"}, "The proxy 127.0.0.1 cannot be reached: Conn"),
        ("http://hub.invalid", {"http_proxy": "socks5://127.0.0.1:9"}, "corral speaks to no proxy of the kind 'sock"),
    ],
)  # fmt: skip
def test_who_is_not_reached_is_named(
    endpoint: str, environ: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    told = Told(lambda text: None, lambda there, total: None)
    with pytest.raises(EndpointError) as caught:
        fetch(Source(endpoint, REPO, "a" * 40, GRANTED), in_folder(tmp_path / "to"), told, HASTE)
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_is_asked_for_the_hub_and_told_its_own_password(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str | None]] = []

    handler = hub.RequestHandlerClass
    inner = handler.answer

    def answer(self: Any, body: bool) -> None:
        seen.append((re.sub("(https?://[^/]*).*", r"\1", self.path), self.headers.get("Proxy-Authorization")))
        inner(self, body)

    monkeypatch.setattr(handler, "answer", answer)
    monkeypatch.setenv("http_proxy", hub.url.replace("://", "://me:p%40ss@"))
    told = Told(lambda text: None, lambda there, total: None)
    fetch(Source("http://hub.invalid", REPO, hub.commit), in_folder(tmp_path / "to"), told, HASTE)
    assert {way for way, _ in seen} == {"http://hub.invalid", hub.url.replace("127.0.0.1", "localhost")}
    assert {password for _, password in seen} == {"Basic bWU6cEBzcw=="}


@pytest.mark.parametrize(
    ("url", "location", "there", "why"),
    [
        ("https://hub/a", "/b", "https://hub/b", ""),
        ("https://hub/a", "https://cdn/b?x=1", "https://cdn/b?x=1", ""),
        ("http://hub/a", "http://cdn/b", "http://cdn/b", ""),
        ("https://hub/a", "//cdn/b", "https://cdn/b", ""),
        ("https://hub/a", "http://cdn/b", "", "it leads to 'cdn' without TLS"),
        ("https://hub/a", "file:///etc/passwd", "", "is no address of a Hub"),
        ("https://hub/a", "https://cdn:99999/", "", "is no address of a Hub"),
        ("https://hub/a", "", "", "does not say where to"),
    ],
)
def test_no_answer_leads_away_from_tls(url: str, location: str, there: str, why: str) -> None:
    with pytest.raises(EndpointError) if why else nullcontext() as caught:
        assert hub_wire.onward(url, location, "x") == there
    assert why in (caught.value.message if caught else "")


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        (None, None),
        ("7", 7.0),
        ("99999", 300.0),
        ("soon", None),
        ("-3", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_the_hub_is_left_alone_as_long_as_it_asks_within_bounds(
    said: str | None, wait_s: float | None
) -> None:
    assert waited_s(said) == wait_s


# --- a disk that refuses


def test_all_files_together_are_held_against_the_disk_before_any_byte(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = wanted_bytes(hub)
    stat = os.statvfs(tmp_path)
    small = os.statvfs_result([1, 1, *stat[2:4], total - 1, *stat[5:]])
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    hub.bytes_sent = 0
    with pytest.raises(HostError, match=r"The weights need 0\.00 GiB at .*, and 0\.00 GiB are free\."):
        get(in_folder(tmp_path / "to"))
    assert hub.bytes_sent == (hub.folder / "model.safetensors.index.json").stat().st_size
    assert list(tmp_path.iterdir()) == []
    exact = os.statvfs_result([1, 1, *stat[2:4], total, *stat[5:]])
    monkeypatch.setattr(os, "statvfs", lambda path: exact)
    assert get(in_folder(tmp_path / "to")).fetched_bytes == total


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fills_midway_is_one_sentence_and_what_came_is_kept(
    number: int, hub: Any, get: Callable[..., Fetched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.pwrite, [40]

    def full(handle: int, data: Any, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return real(handle, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    layout = in_folder(tmp_path / "to")
    with pytest.raises(HostError) as caught:
        get(layout)
    assert caught.value.message == f"The weights cannot be written to {layout.folder}: {os.strerror(number)}."
    monkeypatch.setattr(os, "pwrite", real)
    assert get(layout).fetched_bytes < wanted_bytes(hub)
    assert verify(layout.folder).problems == ()


def test_a_folder_of_something_else_is_left_alone(
    hub: Any, get: Callable[..., Fetched], tmp_path: Path
) -> None:
    other = tmp_path / "to"
    other.mkdir()
    (other / "config.json").write_text("another's")
    with pytest.raises(UsageError) as caught:
        get(in_folder(other))
    assert (
        caught.value.message
        == f"{other}/config.json is there, and is not that of {REPO} at {hub.commit[:12]}."
    )
    assert names(other) == {"config.json"}
    get(in_folder(other), is_ours=True)
    assert verify(other).problems == ()


def test_another_commit_takes_the_place_of_the_one_before(
    get: Callable[..., Fetched], hub: Any, tmp_path: Path, repository: Path
) -> None:
    layout = in_folder(tmp_path / "to")
    (repository / "added.json").write_text("{}")
    try:
        get(layout)
        assert (layout.folder / "added.json").exists()
        (layout.own / ".manifest.json.x1").touch()  # of one who was killed while writing it
    finally:
        (repository / "added.json").unlink()
    made = get(layout)
    assert made.fetched_bytes == 0
    assert names(layout.folder) == FETCHED | {".corral/manifest.json"}


# --- one at a time; and after kill -9


class Gate:
    """Answers while there is way to go, and then holds everybody."""

    def __init__(self, hub: Any, most_bytes: int) -> None:
        self.hub, self.left = hub, most_bytes
        self.reached, self.open = Event(), Event()

    def __call__(self, handler: Any, first: int, last: int, size: int) -> bool:
        self.left -= last - first + 1
        if self.left < 0:
            self.reached.set()
            self.open.wait()
        return False


PROGRAM = """
import sys
from pathlib import Path
from lying_hub import HASTE
from infra.fetch.download import Told, fetch
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import in_folder
url, repo, commit, folder = sys.argv[1:]
told = Told(lambda text: print(text, flush=True), lambda there, total: None)
fetch(Source(url, repo, commit), in_folder(Path(folder)), told, HASTE)
"""


def started(hub: Any, folder: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent.parent), str(Path(__file__).parent)])
    command = [sys.executable, "-c", PROGRAM, hub.url, REPO, hub.commit, str(folder)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)


def test_however_often_it_is_killed_it_goes_on_and_at_most_one_chunk_a_range_comes_again(
    hub: Any, tmp_path: Path
) -> None:
    folder, total = tmp_path / "to", wanted_bytes(hub)
    index = (hub.folder / "model.safetensors.index.json").stat().st_size
    for _ in range(KILLS):
        gate = Gate(hub, total // (KILLS + 1) + CHUNK * HASTE.workers)
        hub.faults = dict.fromkeys(SHARDS, gate)
        with started(hub, folder) as process:
            while not gate.reached.wait(0.02) and process.poll() is None:
                pass
            process.kill()
            process.wait()
        gate.open.set()
    hub.faults.clear()
    with started(hub, folder) as process:
        assert process.wait() == 0
    again = KILLS * HASTE.workers * CHUNK
    assert hub.bytes_sent <= total + (KILLS + 1) * index + again
    assert names(folder) == FETCHED | {".corral/manifest.json"}
    assert verify(folder).problems == ()


def test_a_second_one_waits_says_so_and_fetches_nothing(
    hub: Any, get: Callable[..., Fetched], said: list[str], tmp_path: Path
) -> None:
    gate = Gate(hub, CHUNK)
    hub.faults = dict.fromkeys(SHARDS, gate)
    layout = in_folder(tmp_path / "to")
    made: list[Fetched] = []
    first = Thread(target=lambda: made.append(get(layout)))
    first.start()
    gate.reached.wait()

    def hear(text: str) -> None:
        if "waiting for it" in text:
            gate.open.set()

    told = Told(hear, lambda there, total: None)
    second = fetch(Source(hub.url, REPO, hub.commit), layout, told, HASTE)
    first.join()
    assert (made[0].fetched_bytes, second.fetched_bytes) == (wanted_bytes(hub), 0)


def test_what_a_host_gets_fetches_and_verifies_there_by_itself(hub: Any, tmp_path: Path) -> None:
    for name in LIBRARY:
        (tmp_path / "lib/infra" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib/infra" / name).write_text(shipped_text("infra", name))
    folder = tmp_path / "to"

    def there(*words: str, token: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-Ss", "-m", "infra.fetch", *words],
            cwd=tmp_path / "lib",
            env={"HF_ENDPOINT": hub.url, "PYTHONDONTWRITEBYTECODE": "1"},
            input=f"{token}\n",
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    hub.mood = "gated"
    assert there(REPO, "main", str(folder))[0] == 2
    code, said = there(REPO, hub.commit, str(folder), token=STRANGER)
    assert (code, "is gated: its licence must be accepted" in said, STRANGER in said) == (5, True, False)
    assert there(REPO, hub.commit, str(folder), token=GRANTED)[0] == 0
    hub.mood = "broken"
    assert there(str(folder)) == there("--again", str(folder)) == (0, "")
    # A disk that lies changes no time.
    wrong = folder / SHARDS[1]
    right, status = wrong.read_bytes(), wrong.stat()
    wrong.write_bytes(right[:-1] + b"?")
    os.utime(wrong, ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / ".complete").touch()  # what lies beside is nobody's matter there
    assert there("--again", str(folder)) == (
        4,
        f"{SHARDS[1]} is changed: its sha256 is another\n{folder} is not what was fetched.\n",
    )
    hub.mood, hub.bytes_sent = "gated", 0
    assert there(REPO, hub.commit, str(folder), token=GRANTED)[0] == 0
    assert wrong.read_bytes() == right
    assert hub.bytes_sent == SHARD_BYTES + (hub.folder / "model.safetensors.index.json").stat().st_size
    hub.mood = "broken"
    assert there("--again", str(folder)) == (0, "")
    (folder / ".complete").unlink()
    (folder / SHARDS[0]).unlink()
    (folder / "x.bin").touch()
    assert there(str(folder)) == (
        4,
        "x.bin is a pickle, which may run code when it is loaded\n"
        f"{SHARDS[0]} is missing\n"
        f"{folder} is not what was fetched.\n",
    )
    (folder / ".corral/manifest.json").unlink()
    assert there("--again", str(folder)) == (4, f"{folder} has no manifest.\n")
    assert names(tmp_path / "lib") == {f"infra/{name}" for name in LIBRARY}
