"""`corral status` of many: one that does not answer, or cannot be read, hides no other."""

import math
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import moon
import pytest
import status_doors
from test_owned import deployment as owned

from deploy import line
from deploy.cli.main import run
from deploy.targets import deployment as deployments
from deploy.targets import table
from deploy.targets.deployment import Deployment
from deploy.targets.place import LOOK_S, Status
from deploy.targets.prove_egress import ATTEMPT_S, PROOF_S
from deploy.targets.show_server import status as shown
from deploy.targets.ssh import egress, place
from infra import bounded_process, deadline, ssh
from infra.errors import HostError
from infra.processes import Birth, birth
from serving.vllm import client, health
from serving.vllm.endpoint import Endpoint
from serving.vllm.http_door import Answer, NoAnswer
from serving.vllm.server import Server

THERE = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Lets go of what hangs, at the test's end."""
    event = threading.Event()
    yield event
    event.set()


def test_ten_of_which_one_is_silent_are_told_before_twenty_seconds(
    over: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    clock, left = Clock(), []

    def status_of(name: str) -> Status:
        left.append(deadline.left_s(120.0))
        if name == "d4":
            clock.now_s += line.STATUSES_S + line.LAST_WORDS_S - 0.1
            over.wait(60)
        return Status(name=name, target="local", state="serving", detail="it answered")

    monkeypatch.setattr(line, "status_of", status_of)
    names = [f"d{number}" for number in range(10)]
    seen = line.statuses(names, clock=clock)
    why = "it did not answer within 18.5 s; ask it alone: corral status d4"
    assert [each.name for each in seen] == names
    assert [each.detail for each in seen] == ["it answered"] * 4 + [why] + ["it answered"] * 5
    assert (seen[4].state, seen[4].target) == ("unknown", "unknown")
    assert max(left) < line.STATUSES_S + 0.001
    assert health.LOOK_S < line.STATUSES_S
    assert line.STATUSES_S + line.LAST_WORDS_S < 20


def test_a_mistake_of_ours_is_not_lost_in_its_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    monkeypatch.setattr(line, "status_of", lambda name: {}[name])
    with pytest.raises(KeyError):
        line.statuses(["a"])
    assert line.statuses([]) == []


def test_a_look_at_a_server_that_drips_takes_no_longer_than_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer comes at the last moment or not at all: together the questions get what one look has."""
    clock, asked = Clock(), []

    class Door:
        def __init__(self, url: str, headers: dict[str, str], timeout_s: float) -> None:
            self.timeout_s = timeout_s

        def close(self) -> None:
            pass

        def ask(self, method: str, path: str, body: object) -> Answer:
            asked.append((path, self.timeout_s))
            clock.now_s += self.timeout_s
            if path in ("/health", "/v1/models"):
                return Answer(200, {}, b'{"data": [{"id": "m"}]}')  # type: ignore[arg-type]
            raise NoAnswer("time", "late")

    monkeypatch.setattr(client, "HttpDoor", Door)
    monkeypatch.setattr(deadline, "within", partial(deadline.within, clock=clock))
    seen = health.look(THERE)
    assert asked == [
        ("/health", 2.0),
        ("/metrics", 5.0),
        ("/v1/models", 5.0),
        ("/v1/completions", 6.0),
        ("/metrics", 0.1),
    ]
    assert clock.now_s == pytest.approx(1000 + health.LOOK_S + deadline.LEAST_S)
    assert health.judge(seen, "m").state == "degraded"


@pytest.mark.parametrize("value", ["NaN", "1e999", "-inf", "1e308"])
def test_a_counter_that_is_no_number_says_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"vllm:prompt_tokens_total {value}\nvllm:generation_tokens_total 1e308\n"
    monkeypatch.setattr(client, "get", lambda *asked: Answer(200, {}, text.encode()))  # type: ignore[arg-type]
    assert health.reading(THERE) == {"vllm:generation_tokens_total": 1e308} | (
        {"vllm:prompt_tokens_total": 1e308} if value == "1e308" else {}
    )


def test_names_a_server_made_up_are_one_line_of_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    models = ("a\nm (local): serving: it answered a completion", "\x1b[2J", "x" * 1_000_000)
    judged = health.judge(health.Seen(health=200, models=models, canary="right"), "m")
    text = shown(Status(name="m", target="local", state=judged.state, detail=judged.detail))
    assert len(text) < 400
    assert text.isprintable()
    assert text.startswith(
        "m (local): degraded: it serves a m (local): serving: it answered a completion, �[2J, xxx"
    )


SLOW_S = 50.0
DATA = Path(__file__).parent / "data"
HOST = (DATA / "hosts" / "debian.txt").read_text()
UNIT = "Record=yes\nActiveState=active\nSubState=running\nNRestarts=0\nVLLM_API_KEY=k\nours\n"


@pytest.mark.parametrize(
    ("asked", "most_s"),
    [
        (["status", "scout"], LOOK_S),
        (["logs", "scout"], 2 * LOOK_S),  # whose it is, and the log itself
        (["logs", "-f", "scout"], 2 * LOOK_S),
        (["probe", "scout", "--requests", "1"], LOOK_S),
        (["hosts", "show", "gpu-1"], LOOK_S),
        (["hosts", "adopt", "gpu-1", "other"], LOOK_S),
    ],
    ids=lambda asked: "-".join(asked[:2]) if isinstance(asked, list) else "",
)
def test_a_host_that_takes_its_time_with_each_answer_holds_no_verb_for_longer_than_a_look(
    asked: list[str], most_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock()

    def slow(
        argv: list[str], stdin: bytes, timeout_s: float, *more: int
    ) -> subprocess.CompletedProcess[bytes]:
        clock.now_s += min(SLOW_S, timeout_s)
        if timeout_s < SLOW_S:
            raise subprocess.TimeoutExpired(argv, timeout_s)
        said = HOST if b"os-release" in stdin else UNIT
        return subprocess.CompletedProcess(argv, 0, f"{argv[-1][5:21]}\n{said}".encode(), b"")

    class Silent(bounded_process.Patience):
        """Of a client that says nothing."""

        def wait(self, ready: object) -> bool:
            clock.now_s += self.left_s
            return False

    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    monkeypatch.setattr(ssh, "answered", slow)
    monkeypatch.setattr(ssh, "Patience", Silent)
    monkeypatch.setattr(deadline, "within", partial(deadline.within, clock=clock))
    made = owned()
    made.write(tmp_path / "scout" / "deployment.json")
    begun_s = clock.now_s
    assert run(asked) == 11
    assert SLOW_S < clock.now_s - begun_s <= most_s + 1


def test_a_proof_has_its_time_and_more_for_what_is_tried_besides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    monkeypatch.setattr(deadline, "within", partial(deadline.within, clock=Clock()))
    left = []

    def proved(*asked: object) -> None:
        left.append(deadline.left_s(math.inf))
        raise HostError("No.")

    monkeypatch.setattr(place, "refuse_others", lambda deployment: None)
    monkeypatch.setattr(egress, "proved", proved)
    owned().write(tmp_path / "scout" / "deployment.json")
    assert [run(["egress", "scout", *more]) for more in ([], ["--target", "1.1.1.1:443"])] == [11, 11]
    assert left == [PROOF_S, PROOF_S + ATTEMPT_S]


NESTED = '{"document": "deployment", "schema_version": 1, "name": "deep", "target": "local", "plan": '


@pytest.mark.parametrize(
    "text",
    [NESTED + "[" * 100_000, NESTED + '{"a":' * 100_000, NESTED, NESTED + "1e999}", NESTED + '"\xff"}',
     NESTED.replace("local", "local\x1b[2J"), "[" * 100_000, "", "\0" * 100, "1e999", "9" * 5000],
)  # fmt: skip
def test_a_deployment_that_cannot_be_read_is_listed_and_taken_away(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `status` advises must work, and so must the next hint."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "deployment.json").write_text(text, encoding="latin-1")
    assert run(["status"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(("deep (local): unknown: ", "deep (unknown): unknown: "))
    assert told.rstrip().endswith("Take it away, then make it again: corral down deep")
    assert run(["status", "deep"]) == 4
    code = run(["down", "deep"])
    if code:
        assert "corral down deep --target local" in capsys.readouterr().err
        assert (code, run(["down", "deep", "--target", "local"])) == (4, 0)
    assert not folder.exists()
    assert (code == 0) == text.startswith(NESTED)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_deployment_that_is_no_file_is_not_read_without_an_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path))
    document = tmp_path / "deep" / "deployment.json"
    document.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(document)
    else:
        document.symlink_to("/dev/zero")
    assert run(["status"]) == 0
    assert capsys.readouterr().out == (
        f"deep (unknown): unknown: The deployment at {document} cannot be read: it is no regular file. "
        "Take it away, then make it again: corral down deep\n"
    )
    assert run(["status", "deep"]) == 4
    assert (run(["down", "deep"]), run(["down", "deep", "--target", "local"])) == (4, 0)
    assert not document.parent.exists()


# Ten, asked by their real doors


NINE = ("a0", "a1", "a2", "b0", "b1", "c0", "c1", "d0", "d1")
AT = datetime(2026, 11, 24, tzinfo=UTC)
LEFT_S = 1.0
"""For the one that hangs, whose clock is nearly at the end; the others have their whole time, however busy this is."""
HANGS: ContextVar[bool] = ContextVar("hangs", default=False)


def late() -> float:
    return time.monotonic() + (line.STATUSES_S - LEFT_S if HANGS.get() else 0.0)


def local(home: Path, name: str, there: status_doors.Server, leader: Birth) -> None:
    """A deployment of this machine whose processes are this leader's, and whose endpoint is that server."""
    made = owned().model_copy(update={"name": name, "target": "local", "hosts": ()})
    made.write(home / name / "deployment.json")
    Server(
        leader=leader, started_at=AT, vllm=Path("/v"), vllm_version="0.33.0", arguments=("serve",),
        shutdown_timeout_s=1, load_budget_s=60,
        endpoint=Endpoint(base_url=there.url, served_model_name="m"),
    ).write(home / name / "server.json")  # fmt: skip


def remote(home: Path, name: str, host: str) -> None:
    made = owned(hosts=(host,)).model_copy(update={"name": name})
    made.write(home / name / "deployment.json")


@pytest.fixture
def nine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Birth]:
    """Nine deployments that are well: three serve here, two are on hosts, two on the moon, two were never started."""
    home = tmp_path / "home"
    monkeypatch.setenv("CORRAL_HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(table.PLACES, "moon", table.Row("moon", "moon.MoonOptions"))
    monkeypatch.setattr(moon, "RENTED", {"c0": "Tycho", "c1": "Tycho"})
    within = deadline.within
    monkeypatch.setattr(deadline, "within", lambda seconds, *_: within(seconds, late))
    status_doors.ssh(tmp_path, DATA / "hosts" / "debian.txt", UNIT.replace("=active", "=inactive"))
    load = deployments.load

    def marked(name: str) -> Deployment:
        HANGS.set(name == "late")
        return load(name)

    monkeypatch.setattr(deployments, "load", marked)
    well = status_doors.Server("well")
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as leader:
        try:
            born = birth(leader.pid)
            assert born is not None
            for name in NINE[:3]:
                local(home, name, well, born)
            for name in NINE[3:5]:
                remote(home, name, "gpu-1")
            for name in NINE[5:]:
                target = "moon" if name[0] == "c" else "local"
                made = owned().model_copy(
                    update={"name": name, "target": target, "hosts": (), "region": "Tycho"}
                )
                made.write(home / name / "deployment.json")
            yield born
        finally:
            leader.kill()
    well.close()


OF_NINE = [
    *(("serving", "it answered a completion"),) * 3,
    *(("provisioned", "not prepared"),) * 2,
    *(("serving", "the moon, Tycho"),) * 2,
    *(("provisioned", "it was never started"),) * 2,
]
MUTE = ("hung", "not ready after 60 s; last: vLLM is being imported")
ENDLESS = (
    "HOST says more than anything we ask is answered with. Something there floods the login or the command;"
)
NO_FILE = "cannot be read: it is no regular file."
AGAIN = "Take it away, then make it again: corral down x"
TENTH = {
    "silent": MUTE,
    "drip": ("degraded", "URL did not answer within 18.5 s."),
    "drip_headers": MUTE,
    "endless": ("degraded", "URL answered more than 16,777,216 bytes for a short question."),
    "packed": ("degraded", "URL answered more than 16,777,216 bytes for a short question."),
    "elsewhere": ("dead", "/health answers 302: the engine behind it has died"),
    "rude": (
        "degraded",
        "URL cannot be reached: illegal status line: bytearray(b'\\x1b[2J\\x1b]0;x\\x07 go away').",
    ),
    "gpu-flood": ("unknown", f"{ENDLESS} look there: ssh HOST"),
    "gpu-line": ("unknown", f"{ENDLESS} look there: ssh HOST"),
    "gpu-silent": (
        "unknown",
        "HOST did not answer within 18 s. It may be overloaded or hung; look there: ssh HOST uptime",
    ),
    "gpu-drip": (
        "unknown",
        "HOST did not answer within 18 s. It may be overloaded or hung; look there: ssh HOST uptime",
    ),
    "gpu-words": ("unknown", "HOST cannot be reached: �]0;x��[2Jgo away. Try it by hand: ssh HOST true"),
    "gpu-nothing": ("unknown", "HOST cannot be reached: it said nothing. Try it by hand: ssh HOST true"),
    "pipe": ("unknown", f"The deployment at HOME/x/deployment.json {NO_FILE} {AGAIN}"),
    "device": ("unknown", f"The deployment at HOME/x/deployment.json {NO_FILE} {AGAIN}"),
    "nested": (
        "unknown",
        "HOME/x/deployment.json is not a deployment this version can read: Invalid JSON: recursion limit exceeded at "
        f"line 1 column 292. {AGAIN}",
    ),
    "record": (
        "unknown",
        f"The server record at HOME/x/server.json {NO_FILE} Its processes are found without it: corral stop x",
    ),
}
HANG = ("silent", "drip", "drip_headers", "gpu-silent", "gpu-drip")


@pytest.mark.parametrize("way", TENTH)
def test_nine_that_are_well_are_told_whatever_the_tenth_does(way: str, nine: Birth, tmp_path: Path) -> None:
    home, name = tmp_path / "home", "late" if way in HANG else "x"
    server = status_doors.Server(way if hasattr(status_doors.Asked, way) else "well")
    if way.startswith("gpu-"):
        remote(home, name, way)
    else:
        local(home, name, server, nine)
    place = home / name / ("server.json" if way == "record" else "deployment.json")
    if way in ("pipe", "device", "nested", "record"):
        place.unlink()
    if way in ("pipe", "record"):
        os.mkfifo(place)
    if way == "device":
        place.symlink_to("/dev/zero")
    if way == "nested":
        place.write_text(NESTED + "[" * 100_000)
    *seen, tenth = line.statuses([*NINE, name], clock=late)
    server.close()
    assert [(each.name, each.state, each.detail) for each in seen] == [
        (name, *said) for name, said in zip(NINE, OF_NINE, strict=True)
    ]
    host = way if way.startswith("gpu-") else "gpu-1"
    said = tenth.detail.replace(str(home), "HOME").replace(server.url, "URL").replace(host, "HOST")
    assert (tenth.state, said) == TENTH[way]
