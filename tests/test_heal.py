"""What root does around a server's life on its host: waits before a start, counts ends, ends, gives up."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import fake_box
import pytest
from killed import killed_at

from infra import host_judge
from infra.fetch import checksums
from infra.onhost import codes, heal, history, judge, marks, sums
from serving.vllm import events

MINUTE_S = 60.0
POLICY = judge.Policy()


class Host:
    """A host as root sees it: its clock, what its programs say, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.place = heal.Place("scout", folder / "root", folder / "run")
        self.place.root.mkdir()
        self.place.run.mkdir()
        self.up_s, self.job, self.state, self.log = 10_000.0, "", "running", ""
        self.starts = "/opt/corral/scout/engine/bin/python"
        self.gpus: list[int] = []
        self.buses, self.kernel = "", ""
        self.asked: list[str] = []
        self.told: list[str] = []
        self.obeys = True
        self.slept: list[float] = []

    def said(self, command: list[str]) -> str:
        """What a program of it says."""
        if command == ["nvidia-smi", "-L"]:
            if not self.gpus:
                raise FileNotFoundError
            count = self.gpus.pop(0) if len(self.gpus) > 1 else self.gpus[0]
            return "".join(
                f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: GPU-{number})\n" for number in range(count)
            )
        if command[0] == "nvidia-smi":
            return self.buses
        if "--dmesg" in command:
            self.asked.append(command[-1])
            return self.kernel
        if command[0] == "journalctl":
            return self.log or f"the log of {command[-1]}\n"
        said = {
            "list-jobs": self.job,
            "is-system-running": self.state,
            "show": f"argv[]={self.starts} serve x",
        }
        return f"{said[command[1]]}\n"

    def do(self, command: list[str]) -> bool:
        """Note what a program is told; whether it does it."""
        self.told.append(" ".join(command).replace(str(self.place.root), "/root"))
        return self.obeys

    def begin(self, gpus: int = 0) -> None:
        """A start of a server that takes so many GPUs."""
        own = heal.served(self.place)
        own.mkdir(parents=True, exist_ok=True)
        (own / "gpus").write_text(f"{gpus}\n")
        heal.begin(self.place, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.up_s += seconds

    def ready(self, for_s: float) -> None:
        """The judge finds it ready; then it serves so long."""
        heal.judged(self.place, {"EXIT_CODE": "exited", "EXIT_STATUS": str(codes.READY)})
        self.up_s += for_s

    def end(self, **environ: str) -> None:
        """The server ends, as systemd tells it."""
        heal.ended(
            self.place, {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"} | environ
        )

    @property
    def history(self) -> list[tuple[str, str]]:
        """What was kept of it, without when."""
        return told(self.place.root)


def told(folder: Path) -> list[tuple[str, str]]:
    """The whole lines of the history in a folder, without when."""
    path = folder / "history.jsonl"
    return [(line.event, line.cause) for line in events.parsed(path.read_bytes() if path.exists() else b"")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(heal, "said", made.said)
    monkeypatch.setattr(heal, "up_s", lambda: made.up_s)
    monkeypatch.setattr("random.random", lambda: 0.0)
    monkeypatch.setattr(heal, "told", made.do)
    return made


@pytest.mark.parametrize(
    ("environ", "refused", "cause"),
    [
        ({}, "", "it was killed by SIGKILL"),
        ({"EXIT_CODE": "dumped", "EXIT_STATUS": "SEGV"}, "", "it was killed by SIGSEGV"),
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "1"}, "", "it ended with exit code 1"),
        # vLLM leaves with code 0 when its engine dies.
        (
            {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"},
            "",
            "it ended with exit code 0",
        ),
        ({"SERVICE_RESULT": "oom-kill"}, "", "the host's memory ran out, and Linux killed it"),
        ({"SERVICE_RESULT": "timeout"}, "", "it did not start or end in time"),
        # The code is that of an earlier end: this one was never started.
        ({}, "nft is missing", "nft is missing"),
        ({"SERVICE_RESULT": "resources", "EXIT_CODE": ""}, "", "it was not started (resources)"),
    ],
)
def test_an_end_is_told_by_its_cause(environ: dict[str, str], refused: str, cause: str, host: Host) -> None:
    (host.place.root / "refused").write_text(f"{refused}\n")
    host.end(**environ)
    assert host.history == [("died", cause)]
    assert not (host.place.root / "refused").exists()


def test_starts_that_do_not_get_ready_are_counted_however_long_each_took(host: Host) -> None:
    causes = ["it ended with exit code 1", "it was killed by SIGKILL", "it was killed by SIGKILL"]
    for number, status in enumerate(("1", "KILL", "KILL")):
        host.begin()
        host.up_s += 310 * MINUTE_S
        code = "exited" if status == "1" else "killed"
        host.end(EXIT_CODE=code, EXIT_STATUS=status, INVOCATION_ID=f"i{number}")
    words = f"gave up after 3 starts that did not get ready, without an hour of service between; the first: {causes[0]}"
    again = ["", "again, after 1 end", "again, after 2 ends"]
    lives = [
        life
        for start, cause in zip(again, causes, strict=True)
        for life in (("started", start), ("died", cause))
    ]
    assert host.history == [*lives, ("gave up", words)]
    # systemd itself has waited 10 s of each.
    assert host.slept == [0.0, 0.0, 10.0]
    assert host.told == [
        f"/root/bin/phase failed: start: {words}",
        "systemctl --no-block stop corral-scout.service",
    ]
    assert (host.place.root / "gave-up").read_text() == f"{words}\n"
    assert (host.place.root / "first-death.log").read_text() == "the log of INVOCATION_ID=i0\n\n"
    assert {path.stat().st_mode & 0o777 for path in host.place.root.glob("*-*")} == {0o600}


XID = "NVRM: Xid (PCI:0000:{}:00): {}, pid=7, name=python3, Ch 00000008\n"
TWO = "00000000:CB:00.0\n00000000:CC:00.0\n"
WHY = "an end that no start mends: a GPU failed (Xid {}; 0000:{}:00); reset it or restart the host, then serve again"


@pytest.mark.parametrize(
    ("there", "kernel", "why"),
    [
        (TWO, XID.format("cb", 48), WHY.format(48, "cb")),
        ("00000000:CB:00.0\n", XID.format("cc", 79), WHY.format(79, "cc")),
        (
            "Unable to determine the device handle for GPU0000:CC:00.0: GPU is lost.\n",
            XID.format("cc", 79),
            WHY.format(79, "cc"),
        ),
        # Of a third, which the next start does not take.
        (f"{TWO}00000000:CD:00.0\n", XID.format("cd", 48), ""),
        (TWO, XID.format("cd", 79), ""),
        (TWO, XID.format("cb", 31), ""),
        (TWO, "", ""),
    ],
)
def test_a_gpu_that_no_start_mends_is_given_up_after_one_end(
    there: str, kernel: str, why: str, host: Host
) -> None:
    (xids,) = (file for file in host_judge.files(fake_box.setup()) if file.path.endswith("/xids"))
    (host.place.root / "xids").write_text(xids.content)
    host.gpus, host.buses, host.kernel = [2], there, kernel
    for up_s in (2000.0, 60.0):
        host.begin(gpus=2)
        host.up_s += up_s
        host.end()
    # What was said before this life is no cause of its end, nor what was long ago.
    assert host.asked == ["--since=-900s", "--since=-60s"]
    gave_up = [("gave up", f"gave up after {why}")] if why else []
    assert [each for each in host.history if each[0] in ("died", "gave up")] == [
        ("died", "it was killed by SIGKILL"),
        *gave_up,
    ] * 2


LOGS = Path(__file__).parent / "data/vllm_logs"


@pytest.mark.parametrize(
    ("log", "served", "cause"),
    [
        ("worker-killed", True, "it ended with exit code 0: Worker proc VllmWorker-0 died unexpectedly"),
        ("engine-core-killed", True, "it ended with exit code 0: engine core exited unexpectedly"),
        # Before it was ready that comes of something else, which its log has.
        ("kv-too-small", False, "it ended with exit code 0"),
        ("port-in-use", True, "it ended with exit code 0"),
    ],
)
def test_a_process_that_vllm_misses_is_named(log: str, served: bool, cause: str, host: Host) -> None:
    host.log = (LOGS / f"{log}.log").read_text()
    if served:
        host.ready(60.0)
    host.end(SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="0", INVOCATION_ID="i")
    assert host.history[-1] == ("died", cause)


def test_the_cause_of_giving_up_is_the_first_that_failed_and_not_an_end_of_before(host: Host) -> None:
    """Who served for a minute and was killed is none of the starts that failed for something else."""
    host.ready(60.0)
    host.end(INVOCATION_ID="served")
    for number in range(3):
        host.end(EXIT_CODE="exited", EXIT_STATUS=str(number + 1), INVOCATION_ID=f"failed {number}")
    assert host.history[-1][1].endswith("; the first: it ended with exit code 1")
    assert (host.place.root / "first-death.log").read_text() == "the log of INVOCATION_ID=failed 0\n\n"


def test_a_reboot_between_does_not_end_a_series(host: Host) -> None:
    host.end()
    host.end()
    for path in host.place.run.iterdir():
        path.unlink()
    host.end()
    assert host.history[-1][0] == "gave up"


def test_an_hour_of_service_ends_a_series(host: Host) -> None:
    for _ in range(8):
        host.ready(3599.0)
        host.end()
    host.ready(3600.0)
    host.end()
    assert heal.noted(host.place.root) == judge.Ends(0, 1)
    assert [event for event, _ in host.history if event == "gave up"] == []


def test_so_does_one_that_somebody_stopped(host: Host) -> None:
    """A host that is started anew every night gives up nothing for what failed weeks ago."""
    host.end()
    host.job = "4711 corral-scout.service stop running"
    for served_s, known in ((3599.0, judge.Ends(1, 1)), (3600.0, judge.Ends())):
        host.ready(served_s)
        host.end()
        assert (heal.noted(host.place.root), heal.noted(host.place.run)) == (known, known)


@pytest.mark.parametrize(
    ("state", "job", "cause"),
    [
        ("running", "stop", ""),
        ("degraded", "restart", ""),
        ("stopping", "stop", "the host shuts down"),
    ],
)
def test_an_end_that_was_asked_for_is_none(state: str, job: str, cause: str, host: Host) -> None:
    host.job, host.state = f"4711 corral-scout.service {job} running", state
    for _ in range(5):
        host.end()
    assert host.history == [("stopped", cause)] * 5
    assert heal.noted(host.place.root) == judge.Ends()


def test_a_rank_that_nobody_asks_has_served_while_it_ran(host: Host) -> None:
    """Else the third end in a year would be its last."""
    (host.place.root / "first").write_text("10.0.0.5\n")
    for _ in range(4):
        host.begin()
        host.up_s += 3600
        host.end()
    assert heal.noted(host.place.root) == judge.Ends(0, 1)
    for _ in range(9):
        host.begin()
        host.up_s += 600
        host.end()
    assert host.history[-1][0] == "gave up"


def test_a_box_that_is_taken_back_dies_no_death(host: Host) -> None:
    words = "interrupted by EC2: spot notice, ends at 2026-11-26T08:22:00Z"
    (host.place.root / "interrupted").write_text(f"{words}\n")
    host.job = "4711 corral-scout.service stop running"
    host.end()
    assert (host.history, heal.noted(host.place.root)) == ([("stopped", words)], judge.Ends())


def test_starts_that_are_refused_before_it_are_counted_while_systemd_still_has_their_job(host: Host) -> None:
    """What comes before `begin` failed, so that nothing of the life before was forgotten there."""
    host.ready(7200.0)
    host.end()
    host.job = "4712 corral-scout.service start running"
    for _ in range(3):
        (host.place.root / "refused").write_text("nft is missing\n")
        host.end()
    assert [event for event, _ in host.history] == ["ready", "died", "died", "died", "died", "gave up"]
    assert host.history[-2] == ("died", "nft is missing")


@pytest.mark.parametrize("kind", codes.ILL)
def test_what_the_judge_finds_ill_is_ended_and_started_anew(kind: judge.Kind, host: Host) -> None:
    code = str(codes.code_of(kind))
    heal.judged(host.place, {"EXIT_CODE": "exited", "EXIT_STATUS": code})
    assert host.told == ["systemctl kill --signal=KILL corral-scout.service"]
    host.end()
    assert host.history == [("ended", judge.WORDS[kind])]
    assert heal.noted(host.place.run) == judge.Ends(1, 1)
    host.begin()
    host.end()
    assert host.history[-1] == ("died", "it was killed by SIGKILL")


@pytest.mark.parametrize(
    "environ",
    [
        {"EXIT_CODE": "killed", "EXIT_STATUS": "TERM"},  # it was stopped with the server
        {"EXIT_CODE": "exited", "EXIT_STATUS": "1"},  # it fell over
        {"EXIT_CODE": "exited", "EXIT_STATUS": "18"},
        {"EXIT_CODE": "exited", "EXIT_STATUS": "-1"},
        {},
    ],
)
def test_a_judge_that_ends_without_a_verdict_ends_nothing(environ: dict[str, str], host: Host) -> None:
    heal.judged(host.place, environ)
    assert (host.told, host.history, list(host.place.run.iterdir())) == ([], [], [])


def test_a_gpu_that_is_late_at_boot_is_waited_for_and_uses_up_no_start(host: Host) -> None:
    host.up_s, host.gpus = 20.0, [0, 0, 7, 8]
    host.begin(8)
    assert host.history == [("waiting", "0 of 8 GPUs are there"), ("started", "")]
    assert host.slept == [0.0, 5.0, 5.0, 5.0]
    assert heal.noted(host.place.run) == judge.Ends()


def test_a_gpu_that_does_not_come_is_told(host: Host) -> None:
    host.up_s, host.gpus = 20.0, [7]
    with pytest.raises(SystemExit, match="corral: 7 of 8 GPUs are there, so the server is not started"):
        host.begin(8)
    assert host.up_s == 900.0
    assert host.told == ["/root/bin/phase failed: start: 7 of 8 GPUs are there"]
    # Long after the boot nothing is waited for.
    with pytest.raises(SystemExit):
        host.begin(8)
    assert host.up_s == 900.0


def test_a_host_that_cannot_tell_of_gpus_starts_its_server(host: Host) -> None:
    host.begin(8)
    assert host.history == [("started", "")]


def model_of(host: Host) -> Path:
    """Weights of two shards, of which a first start has noted the sums."""
    model = host.place.root / "model"
    model.mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        (model / name).write_bytes(name.encode() * 100)
    host.begin()
    return model


def spoil(path: Path, *, time_ns: int = 0) -> None:
    """Change one byte; with its time, as a disk that lies."""
    before = path.stat()
    path.write_bytes(b"X" + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + time_ns))


def test_a_shard_that_was_changed_is_not_served(host: Host) -> None:
    spoil(model_of(host) / "b.safetensors", time_ns=1)
    words = "the weights have changed on the disk: b.safetensors is not what was brought"
    for _ in range(2):
        with pytest.raises(SystemExit, match=words):
            host.begin()
    host.end()
    assert host.history == [("started", ""), ("died", words)]


def test_of_a_release_its_own_weights_are_held_to_what_was_brought(host: Host) -> None:
    model_of(host)
    host.starts = "/opt/corral/.releases/scout/0123456789ab/engine/bin/python"
    own = host.place.root.parent / ".releases/scout/0123456789ab"
    (own / "model").mkdir(parents=True)
    (own / "model/c.safetensors").write_bytes(b"c" * 100)
    for shard in (host.place.root / "model").iterdir():  # those of the release before are no matter any more
        shard.unlink()
    host.begin()
    spoil(own / "model/c.safetensors", time_ns=1)
    with pytest.raises(SystemExit, match=r"c\.safetensors is not what was brought"):
        host.begin()


def test_a_disk_that_lies_is_found_out_when_a_start_has_failed(host: Host) -> None:
    spoil(model_of(host) / "a.safetensors")
    host.begin()
    host.end()
    with pytest.raises(SystemExit, match=r"a\.safetensors is not what was brought"):
        host.begin()


def test_a_file_that_the_disk_did_not_give_for_once_is_no_change(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr("infra.onhost.sums.sum_of", lambda _: sums.UNREADABLE)
        model_of(host)
    host.end()
    host.begin()
    assert host.history[-1] == ("started", "again, after 1 end")


def test_weights_are_read_again_only_where_something_changed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, read = model_of(host), []

    def summed(path: Path) -> str:
        read.append(path.name)
        return real(path)

    real = sums.sum_of
    monkeypatch.setattr("infra.onhost.sums.sum_of", summed)
    host.begin()
    assert read == []
    os.utime(model / "a.safetensors", ns=(1, 1))
    (model / "c.json").write_text("{}")
    (model / ".lock").touch()
    host.begin()
    assert sorted(read) == ["a.safetensors", "c.json"]
    (model / "c.json").unlink()
    with pytest.raises(SystemExit, match=r"c\.json is not what was brought"):
        host.begin()


def verified(host: Host, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What reading every byte of what it serves finds."""
    capsys.readouterr()
    heal.verify(host.place)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return [row | {"at": row["at"].replace(str(host.place.root), "/root")} for row in found]


def test_weights_of_ones_own_are_held_to_the_sums_of_the_first_start_whatever_their_time_says(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a draft and an adapter that lie below them, as in a bucket."""
    for place in ("draft", "adapters/tuned"):
        (host.place.root / "model" / place).mkdir(parents=True)
        (host.place.root / "model" / place / "config.json").write_text("{}")
    (host.place.root / "model/a.safetensors").write_bytes(b"a" * 100)
    rows = [
        {
            "at": f"/root/model{place}",
            "is_model": not place,
            "by": "",
            "files": 0,
            "bytes": 0,
            "problems": [],
        }
        for place in ("", "/draft", "/adapters/tuned")
    ]
    assert verified(host, capsys) == rows
    assert list(host.place.root.rglob("*.sums")) == []  # to look notes nothing
    host.begin()
    noted = [
        row | {"by": "the first start's", "files": 1, "bytes": size}
        for row, size in zip(rows, (100, 2, 2), strict=True)
    ]
    assert verified(host, capsys) == noted
    spoil(host.place.root / "model/draft/config.json")
    wrong = noted[1] | {"problems": ["config.json is changed: its sha256 is another"]}
    assert verified(host, capsys) == [noted[0], wrong, noted[2]]
    with pytest.raises(SystemExit, match=r"model/draft/config\.json is not what was brought"):
        host.begin()  # though its time is that of before
    (host.place.root / "model/a.safetensors").unlink()
    missing = noted[0] | {"files": 0, "bytes": 0, "problems": ["a.safetensors is missing"]}
    assert verified(host, capsys)[0] == missing


def test_a_disk_that_takes_no_new_notes_keeps_those_of_the_first_start(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them the next start would note spoilt bytes as right."""
    model, notes = model_of(host), host.place.root / "weights.sums"
    before = notes.read_text()

    def full(path: Path, *_: object, **__: object) -> int:
        path.write_bytes(b"")
        raise OSError(28, "No space left on device")

    spoil(model / "b.safetensors")
    (model / "c.safetensors").write_bytes(b"c")
    monkeypatch.setattr(Path, "write_text", full)
    assert sums.changed(model, notes, is_doubted=False) == ""
    assert notes.read_text() == before
    assert sums.verified(model, notes).problems == ["b.safetensors is changed: its sha256 is another"]
    assert notes.read_text() == before


def test_what_was_fetched_is_held_to_the_hubs_sums_and_a_manifest_to_its_own(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(host)
    right = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model.iterdir()}
    stamp = model.stat().st_mtime_ns
    kept = {name: checksums.Kept(1300, summed, summed, stamp) for name, summed in right.items()}
    (model / ".corral").mkdir()
    manifest = model / ".corral/manifest.json"
    checksums.write(manifest, checksums.Manifest("org/x", "a" * 40, kept))
    spoil(model / "b.safetensors")
    wrong = ["b.safetensors is changed: its sha256 is another"]
    row = {
        "at": "/root/model",
        "is_model": True,
        "by": "the Hub's",
        "files": 2,
        "bytes": 2600,
        "problems": wrong,
    }
    assert verified(host, capsys) == [row]
    manifest.write_text(manifest.read_text().replace(right["a.safetensors"], "0" * 64))
    assert verified(host, capsys)[0]["problems"] == [".corral/manifest.json was changed"]


def test_a_full_disk_loses_what_is_written_and_nothing_that_is_done(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> int:
        if path.is_relative_to(host.place.root):
            raise OSError(28, "No space left on device")
        return real(path, *_, **__)  # type: ignore[arg-type]

    real = Path.write_text
    (host.place.root / "first-cause").write_text("what ended it on another day\n")
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    heal.judged(host.place, {"EXIT_CODE": "exited", "EXIT_STATUS": str(codes.READY + 4)})
    for _ in range(3):
        host.end()
    assert host.told[0] == "systemctl kill --signal=KILL corral-scout.service"
    assert host.told[-1] == "systemctl --no-block stop corral-scout.service"
    assert host.told[-2].endswith(f"; the first: {judge.WORDS['frozen']}")
    assert host.history == []


@pytest.fixture(params=["size=4k", "nr_inodes=1"])
def full_run(
    request: pytest.FixtureRequest, host: Host, need: Callable[[str, str], NoReturn]
) -> Iterator[Host]:
    """The host, whose memory is a file system that is really full: of bytes, or of files."""
    run = host.place.run
    command = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(run)]
    if os.getuid() or subprocess.run(command, check=False).returncode:
        need("fleet", "only root mounts a small disk")
    with suppress(OSError):
        (run / "filled").write_bytes(bytes(4096))
    yield host
    subprocess.run(["umount", run], check=True)


def none_of(folder: Path) -> str:
    return f"{folder} takes nothing more, make room there (df -h {folder})"


def is_marked(place: heal.Place, *names: str) -> list[bool]:
    """By what the judge looks at: whether anything of that name is there."""
    return [(folder / name).exists() for name in names for folder in (place.run, place.root)]


def test_a_server_that_serves_is_marked_on_the_disk_where_memory_is_full(
    full_run: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host = full_run
    host.begin()
    assert is_marked(host.place, "began", "ready") == [False, True, False, False]
    host.ready(POLICY.service_s)
    assert is_marked(host.place, "ready") == [False, True]
    host.end()
    assert is_marked(host.place, "began", "ready") == [False] * 4
    full = none_of(host.place.run)
    died = "it was killed by SIGKILL"
    assert host.history == [("started", ""), ("ready", full), ("died", died)]
    assert capsys.readouterr().out.splitlines() == [
        f"corral: {full}; it is not marked there as began",
        "corral: started",
        f"corral: {full}; it is not marked there as ready",
        f"corral: ready: {full}",
        f"corral: died: {died}",
    ]
    # What served for an hour and dies at times is no start that failed, however often.
    for _ in range(POLICY.most_loads):
        host.begin()
        host.ready(POLICY.service_s)
        host.end()
    assert (heal.noted(host.place.root), host.told) == (judge.Ends(0, 1), [])


def test_one_that_does_not_get_ready_is_given_up_where_memory_is_full(full_run: Host) -> None:
    host = full_run
    for count in range(POLICY.most_loads):
        assert (host.told, heal.noted(host.place.root)) == ([], judge.Ends(count, count))
        host.begin()
        host.end()
    assert host.told[-1] == "systemctl --no-block stop corral-scout.service"
    assert host.history[-1][0] == "gave up"


def test_why_a_start_is_refused_is_known_where_memory_is_full(full_run: Host) -> None:
    host = full_run
    host.gpus = [1]
    with pytest.raises(SystemExit):
        host.begin(gpus=2)
    host.end()
    assert host.history[-1] == ("died", "1 of 2 GPUs are there")


def test_what_the_judge_said_and_when_it_began_are_known_where_memory_is_full(full_run: Host) -> None:
    host = full_run
    host.gpus, host.buses, host.kernel = [1], "00000000:CB:00.0\n", XID.format("cb", 79)
    (host.place.root / "xids").write_text("79\n")
    host.begin(gpus=1)
    heal.judged(host.place, {"EXIT_CODE": "exited", "EXIT_STATUS": str(codes.code_of("hung"))})
    host.end()
    assert host.history[1] == ("ended", judge.WORDS["hung"])
    assert host.told[-1] == "systemctl --no-block stop corral-scout.service"
    assert is_marked(host.place, "judged") == [False, False]


def test_where_nothing_takes_a_mark_nobody_takes_a_server_for_one_that_failed(
    full_run: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor for one that serves: the judge asks on as of one that starts, and is not started again at once."""
    host, real = full_run, Path.write_text

    def write_text(path: Path, text: str, **options: Any) -> int:
        if path.parent == host.place.root and path.name in ("began", "ready", "mark"):
            path.touch()  # all that a full disk takes
            raise OSError(28, "No space left on device")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    for count in range(1, POLICY.most_loads + 1):
        host.begin()
        host.slept.clear()
        heal.judged(host.place, {"EXIT_CODE": "exited", "EXIT_STATUS": str(codes.READY)}, host.sleep)
        assert (host.slept, is_marked(host.place, "ready")) == ([POLICY.look_again_s], [False, False])
        host.end()
        assert heal.noted(host.place.root) == judge.Ends(0, count)
    assert (host.told, [event for event, _ in host.history if event == "ready"]) == ([], [])
    said = capsys.readouterr().out
    for folder in (host.place.run, host.place.root):
        assert f"corral: {none_of(folder)}; it is not marked there as ready\n" in said


def test_a_mark_of_an_earlier_life_is_none_of_this_one(host: Host) -> None:
    for name in ("ready", "judged"):
        (host.place.root / name).write_text("1\n")
    host.begin()
    assert is_marked(host.place, "ready", "judged") == [False] * 4
    host.end()
    assert heal.noted(host.place.run) == judge.Ends(1, 1)


def test_what_a_full_disk_did_not_take_of_its_history_waits_and_comes_first(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that was cut short is told whole; nothing is told twice."""
    room, real = [30], os.write

    def write(handle: int, text: bytes) -> int:
        if not Path(os.readlink(f"/proc/self/fd/{handle}")).is_relative_to(host.place.root):
            return real(handle, text)
        taken = text[: room[0]]
        room[0] -= len(taken)
        if not taken:
            raise OSError(28, "No space left on device")
        return real(handle, taken)

    died, ready = ("died", "it was killed by SIGKILL"), ("ready", "")
    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        host.ready(60.0)
        host.end()
        assert (host.history, told(host.place.run)) == ([], [ready, died])
        room[0] = 90
        heal.note(host.place, "started")
        assert (host.history, told(host.place.run)) == ([ready], [died, ("started", "")])
    heal.note(host.place, "rolled back", "to this")
    assert host.history == [ready, died, ("started", ""), ("rolled back", "to this")]
    assert {path.name for path in host.place.run.iterdir()} == {"ends", "first-cause"}


@pytest.mark.parametrize("taken", [0, 1, 30, 69, 70])
def test_a_line_that_waited_is_told_once_whenever_the_move_was_killed(host: Host, taken: int) -> None:
    """Killed before each change of the disk in turn, the last time on a disk that took only so much of the next."""
    waiting, kept = (folder / "history.jsonl" for folder in (host.place.run, host.place.root))
    for cause in ("one", "two", "two"):
        history.append(str(waiting), "died", cause, 0.0)
    lines, change = waiting.read_text().splitlines(), 1
    kept.write_text(f"{lines[0]}\n{lines[1][:taken]}")  # moved, and killed before they were gone
    while killed_at(change, lambda: heal.note(host.place, "started")):
        change += 1
    causes = [(event, cause) for event, cause in host.history if event == "died"]
    assert (change > 2, causes) == (True, [("died", "one"), ("died", "two"), ("died", "two")])
    assert not waiting.exists()


FULL = (
    "the disk of /var/lib/corral-scout is full; make room there (df -h /var/lib/corral-scout), "
    "and it starts by itself"
)


def test_a_start_that_failed_on_a_full_disk_is_made_again_once_there_is_room(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is tried, for a server may need no room; what waits after that is no end, however long it does.

    The root is on that disk, too: it takes no mark.
    """
    free_bytes, state = [0] * 170, Path("/var/lib/corral-scout")

    def statvfs(path: Path) -> Any:
        assert path == state
        return SimpleNamespace(f_bavail=free_bytes.pop() if free_bytes else 2**40, f_frsize=1)

    def write_text(path: Path, *given: Any, **options: Any) -> int:
        if free_bytes and path.is_relative_to(host.place.root):
            raise OSError(28, "No space left on device")
        return real(path, *given, **options)

    real = Path.write_text
    monkeypatch.setattr("os.statvfs", statvfs)
    (host.place.root / "gpus").write_text("0\n")
    monkeypatch.setattr(Path, "write_text", write_text)
    heal.begin(host.place, host.sleep)
    host.end(EXIT_CODE="exited", EXIT_STATUS="1")
    assert host.slept == [0.0]
    for _ in range(4):
        with pytest.raises(SystemExit):
            heal.begin(host.place, host.sleep)
        host.end()
    heal.begin(host.place, host.sleep)
    assert host.history == [
        ("started", ""),
        ("died", f"it ended with exit code 1; {FULL}"),
        *[("waiting", FULL), ("died", FULL)] * 4,
        ("waiting", FULL),
        ("started", "again, after 1 end"),
    ]
    assert host.slept == [0.0, *[0.0, *[30.0] * 40] * 4, 0.0, 30.0]
    assert heal.noted(host.place.run) == judge.Ends(1, 1)


@pytest.mark.parametrize("marks", ["run", "root"])
def test_a_start_that_was_refused_as_the_roots_disk_is_full_uses_up_none(
    marks: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own folder may be on another disk, which has room."""

    def statvfs(path: Path) -> Any:
        return SimpleNamespace(f_bavail=0 if path == host.place.root else 2**40, f_frsize=1)

    monkeypatch.setattr("os.statvfs", statvfs)
    words = "/root takes nothing more"
    for _ in range(9):
        (getattr(host.place, marks) / "refused").write_text(f"{words}\n")
        host.end()
    assert host.history == [("died", words)] * 9
    assert heal.noted(host.place.run) == judge.Ends()
    host.end()  # for something else
    assert heal.noted(host.place.run) == judge.Ends(1, 1)


def test_what_a_start_waits_for_leaves_a_third_of_systemds_hour_to_the_sums_of_the_weights(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    (given_s,) = re.findall("^TimeoutStartSec=([0-9]+)$", host_judge.SERVER_DROP_IN, re.MULTILINE)
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=1))
    ends = judge.Ends(judge.Policy().most_loads - 1, judge.Policy().most_ends - 1)
    marks.write(host.place.run / "ends", json.dumps(ends))
    host.gpus, host.up_s = [1] * 120 + [2], 0.0
    with pytest.raises(SystemExit):
        host.begin(gpus=2)
    assert (sum(host.slept) < int(given_s) * 2 / 3, [event for event, _ in host.history]) == (
        True,
        ["waiting", "waiting"],
    )


def test_a_program_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heal.said(["echo", "ü"]) == "ü\n"
    monkeypatch.setattr(heal, "PATIENCE_S", 0.05)
    assert heal.said(["sleep", "60"]) == ""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["true"], ""),
        (["sh", "-c", "exit 3"], "corral: sh -c exit 3: code 3\n"),
        (["sleep", "60"], "corral: sleep 60: no end within 0.05 s\n"),
        (["/no/such"], "corral: /no/such: No such file or directory\n"),
    ],
)
def test_what_a_program_does_not_do_is_one_sentence(
    command: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heal, "PATIENCE_S", 0.05 if command[0] == "sleep" else 30)
    assert heal.told(command) is (said == "")
    assert capsys.readouterr().out == said


def test_a_server_that_systemd_did_not_end_is_judged_anew(host: Host) -> None:
    """What ends it one day is told by that."""
    host.obeys = False
    heal.judged(host.place, {"EXIT_CODE": "exited", "EXIT_STATUS": str(codes.code_of("hung"))})
    assert (host.history, list(host.place.run.iterdir())) == ([], [])
    host.end()
    assert host.history == [("died", "it was killed by SIGKILL")]


def test_a_refusal_from_before_a_boot_is_no_cause_of_what_dies_after_it(host: Host) -> None:
    (host.place.root / "refused").write_text("nft is missing\n")
    host.begin()
    host.end()
    assert host.history[-1] == ("died", "it was killed by SIGKILL")


def test_a_disk_that_gives_no_weights_is_the_engines_to_tell(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sums, "changed", unreadable)
    host.begin()
    assert host.history == [("started", "")]


def test_of_a_release_its_own_gpus_are_waited_for(host: Host) -> None:
    (host.place.root / "gpus").write_text("1\n")
    host.starts, host.up_s, host.gpus = (
        "/opt/corral/.releases/scout/0123456789ab/engine/bin/python",
        20.0,
        [1, 2],
    )
    host.begin(2)
    assert host.history == [("waiting", "1 of 2 GPUs are there"), ("started", "")]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["begin", "scout"], ("begin",)),
        (["ended", "scout"], ("ended", os.environ)),
        (["judged", "scout"], ("judged", os.environ)),
        (["note", "scout", "stopped", "by ann"], ("note", "stopped", "by ann")),
        (["verify", "scout"], ("verify",)),
    ],
)
def test_what_systemd_asks_for_is_done_and_what_it_keeps_the_judge_can_read(
    words: list[str], wanted: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    for verb in ("begin", "ended", "judged", "note", "verify"):
        monkeypatch.setattr(heal, verb, lambda place, *rest, verb=verb: done.append((verb, place, *rest)))
    monkeypatch.setattr(heal, "Path", lambda name: Path(re.sub("^/run/", f"{tmp_path}/", name)))
    monkeypatch.setattr(sys, "argv", ["/opt/corral/scout/bin/heal", *words])
    own = os.umask(0o077)
    try:
        heal.main()
    finally:
        os.umask(own)
    run = tmp_path / "corral-scout"
    place = heal.Place("scout", Path(heal.__file__).parent.parent, run)
    assert done == [(wanted[0], place, *wanted[1:])]
    assert run.stat().st_mode & 0o777 == 0o755
