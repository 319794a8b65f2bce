"""What every test gets: a home of its own, no AWS account, no model hub; and how a missing need is said."""

import fcntl
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import fake_server
import pytest
from lanes import lane_of
from xdist.scheduler import LoadScopeScheduling

A_DAY = "1796040000"
"""2026-11-30, noon: no table that comes with corral is old, whatever day it is where the tests run."""


@pytest.fixture(scope="session", autouse=True)
def no_home_of_yours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a fixture of a whole module makes is not made of the prices and calibrations kept on this machine.

    Nor of the day that it is.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOURCE_DATE_EPOCH", A_DAY)
        patched.setenv("CORRAL_HOME", str(tmp_path_factory.mktemp("corral-home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process of a test's that is there when all fixtures are done, of one that timed out say, is ended and told."""
    yield
    if left := left_behind(str(tmp_path_factory.getbasetemp())):
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        raise AssertionError(f"left behind: {left}")


def left_behind(folder: str) -> dict[int, str]:
    """The living processes that know a folder by their command line or environment, but for this one.

    And for multiprocessing's helper, which ends with this one.
    """
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended since, or is not ours
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            words, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            ours = int(place.name) == os.getpid() or b"multiprocessing.resource_tracker" in words
            if state != "Z" and not ours and folder.encode() in words + environment:
                found[int(place.name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture(scope="session", autouse=True)
def none_is_forked_any_more(nothing_is_left: None) -> Iterator[None]:
    """The process whose forks are the fake servers ends with the last test."""
    yield
    fake_server.end()


@pytest.fixture(scope="session", autouse=True)
def ends_are_heard() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and what nohup starts, a closed terminal.

    Whatever a test starts would not hear those of the test.
    """
    before = [(signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # This process goes on without the terminal all the same: what is handled, not ignored, is handed down to none.
        before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, lambda *_: None)))
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the real home, the real cloud and the real hub."""
    foreign = ("AWS_", "HF_", "VLLM_", "ANTHROPIC_", "CORRAL_OFFLINE", "CORRAL_QUIET", "CORRAL_GPUS")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "corral-home"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """No machine loses its power here: to wait for the disk is most of the time of a sweep over faults."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has a key of SSH's, which what signs looks for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").touch()


COMMIT = "5c0c7a3e" * 5


@pytest.fixture(autouse=True)
def the_hub_is_not_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a repository is, is answered here: open to everybody, at one commit. The tests of the door have a Hub."""
    if request.path.name.startswith("test_hub"):
        return
    from serving.model import hub

    def described(repo: str, revision: str | None, token: object) -> hub.Repository:
        return hub.Repository(
            repo=repo, revision=revision or COMMIT, gated=False, licence="llama4", fetched_bytes=0
        )

    monkeypatch.setattr(hub, "describe", described)


@pytest.fixture(autouse=True)
def licences_are_accepted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model's licence asks is accepted here, but for the tests of that."""
    if request.path.name == "test_licence.py":
        return
    from deploy.targets import licence

    monkeypatch.setattr(licence, "require", lambda name: None)


@pytest.fixture(scope="session", autouse=True)
def json_fits_its_schema() -> Iterator[None]:
    """Whatever a test makes a verb print with --json must fit `corral schema VERB`."""
    import json_schemas

    from deploy.cli import run

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "run", json_schemas.checked(run.run))
        yield


# Tests of several files that share what is dear: vLLM's parser takes longer to import than all that is asked of it.
TOGETHER = ("::test_the_engines_own_parser",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no core is idle at the end while another has one left."""
    items.sort(key=lambda item: (not item.get_closest_marker("fleet"), not item.get_closest_marker("slow")))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """All that is collected stays: nobody looks through it for memory that could be freed, then or later.

    To look meanwhile takes a quarter of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def collected_stays_frozen() -> Iterator[None]:
    """The probe thaws what was frozen after each run, and a look through all tests takes a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gc, "unfreeze", lambda: None)
        yield


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests go to the workers a file at a time: one by one, each worker would make what a file's tests share."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = in_common
    return scheduler


def in_common(test: str) -> str:
    """What a test has in common with those that one worker runs after it: its file; of the fleet, a network."""
    file = test.partition("::")[0]
    if file.startswith("tests/fleet/"):
        return f"lane {lane_of(Path(file))}"
    return next((part for part in TOGETHER if part in test), file)


def skip_or_fail(need: str, why: str) -> NoReturn:
    """Skip a test that lacks what it needs, or fail it where CORRAL_TEST_REQUIRE names that need (as CI does)."""
    if need in os.environ.get("CORRAL_TEST_REQUIRE", "").split(","):
        pytest.fail(f"needs {need}: {why}")
    pytest.skip(f"needs {need}: {why}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """After all that is said of each test, one line of what was missing here; pytest's own closing line follows."""
    yield
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    missing = Counter(found[1] for why in skipped if (found := re.search(r"Skipped: needs (\S+): ", why)))
    if missing:
        tests = [f"{need} ({count} test{'s' * (count > 1)})" for need, count in sorted(missing.items())]
        terminalreporter.line(f"needs that were missing: {', '.join(tests)}")


@pytest.fixture(scope="session")
def need() -> Callable[[str, str], NoReturn]:
    """`skip_or_fail`, for the tests: this file cannot be imported."""
    return skip_or_fail


@pytest.fixture(scope="session")
def has_haproxy() -> None:
    """For what runs a gateway: HAProxy itself."""
    if shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        skip_or_fail("haproxy", "HAProxy is not installed; scripts/ci-packages does it")


OF_DEBIAN_13 = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests/kubectl/usr/bin/kubectl"
)


@pytest.fixture(scope="session")
def kubectl() -> str:
    """kubectl: Debian 13's, which scripts/ci-exporters keeps, else this machine's own."""
    found = str(OF_DEBIAN_13) if OF_DEBIAN_13.exists() else shutil.which("kubectl")
    return found or skip_or_fail("kubectl", "kubectl is not installed; run: scripts/ci-exporters")


@pytest.fixture
def without_network(need: Callable[[str, str], NoReturn]) -> list[str]:
    """The start of a command that runs in a network of its own, where only loopback answers."""
    command = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    try:
        tried = subprocess.run([*command, "ip link set lo up"], capture_output=True, check=False)
    except FileNotFoundError:
        need("fleet", "unshare is not installed")
    if tried.returncode:
        need("fleet", "no network namespace can be made")
    return [*command, 'ip link set lo up && exec "$@"', "in-it"]


@pytest.fixture
def tunnels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Session Manager's tunnels, which outlive a corral that is a process of its own, end with the test."""
    from infra.aws import session

    held: list[subprocess.Popen[bytes]] = []

    def holding(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        held.append(subprocess.Popen(*arguments, **options))
        return held[-1]

    monkeypatch.setattr(session, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": holding}))
    yield
    for tunnel in held:
        tunnel.kill()
        tunnel.wait()


@pytest.fixture
def fixes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a look at AWS finds wrong in a test is held against what is kept, with what to do about it."""
    import refusals

    from infra.aws import account_preflight

    said: list[str] = []
    survey = account_preflight.survey

    def noted(*asked: Any) -> account_preflight.Survey:
        found = survey(*asked)
        said.extend(f"{one.topic}: {one.found}\n  {one.fix}" for one in found.findings if one.outcome != "ok")
        return found

    monkeypatch.setattr(account_preflight, "survey", noted)
    yield
    refusals.hold("\n".join(dict.fromkeys(said)), request, tmp_path)


# Read before any test moves CORRAL_HOME: the engine is large, so all tests share the one that is installed.
ENGINE_HOME = Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral")
TEST_ENGINE = os.environ.get("CORRAL_TEST_ENGINE")


@pytest.fixture(scope="session")
def engine() -> Path:
    """The `vllm` executable of the real engine: $CORRAL_TEST_ENGINE, or the one `corral engine install` made."""
    from serving.vllm.engine import executable, is_installed

    if TEST_ENGINE:
        return Path(TEST_ENGINE)
    if not is_installed(ENGINE_HOME):
        skip_or_fail("engine", "no engine is installed; run: corral engine install")
    return executable(ENGINE_HOME)


KNOWN = "llama4:Llama4ForCausalLM", "mllama4:Llama4ForConditionalGeneration"
LOOK = """
import sys
from vllm.model_executor.models import registry
registry._run_in_subprocess = lambda look: look()
for name in sys.argv[1:]:
    module, _, kind = name.partition(":")
    registry._LazyRegisteredModel(f"vllm.model_executor.models.{module}", kind).inspect_model_cls()
"""


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory, engine: Path) -> Path:
    """What vLLM finds out of a model's code and keeps, for all homes and hosts: a start without it imports once more.

    It is found out here as vLLM does it, of all models of tests at once and in one process.
    """
    from serving.vllm.serve_options import folders

    ours = tmp_path_factory.getbasetemp()
    shared = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "engine-cache"
    shared.mkdir(mode=0o700, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "vllm").exists():
            given = folders(str(shared)) | {
                "TMPDIR": str(shared),
                "VLLM_PLUGINS": "",
                "VLLM_NO_USAGE_STATS": "1",
            }
            command = [str(engine.parent / "python"), "-c", LOOK, *KNOWN]
            try:
                subprocess.run(command, env=os.environ | given, cwd=shared, check=True)
            except BaseException:
                shutil.rmtree(shared / "vllm", ignore_errors=True)  # half of it is not what others may use
                raise
    return shared


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which vLLM forks its processes: a start is half of its work (data/forking.py).

    Nor does it compile parts of torch, as the first server of a file does.
    """
    site = tmp_path_factory.mktemp("forking")
    shutil.copyfile(Path(__file__).parent / "data" / "forking.py", site / "sitecustomize.py")
    before = os.environ.get("PYTHONPATH")
    # Threads that wait for one another take all of a core, where vLLM does not bind them.
    path = f"{site}:{before}" if before else str(site)
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "1"}


@pytest.fixture(scope="session")
def engine_parser(engine: Path) -> Iterator[Callable[[list[str]], Any]]:
    """Ask vLLM's own parser (tests/data/engine_parser.py)."""
    command = [str(engine.parent / "python"), str(Path(__file__).parent / "data" / "engine_parser.py")]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        words_to, lines_of = asked.stdin, asked.stdout
        assert words_to is not None
        assert lines_of is not None

        def ask(words: list[str]) -> Any:
            words_to.write(json.dumps(words) + "\n")
            words_to.flush()
            said = next(line for line in lines_of if line.startswith("answer "))
            return json.loads(said.removeprefix("answer "))

        yield ask
        asked.kill()


@pytest.fixture
def fake_llm() -> Iterator[Callable[..., str]]:
    """Start a fake model server (tests/fake_llm.py) with that behaviour; gives its URL. Ended with the test."""
    started: list[fake_server.FakeServer] = []

    def start(**config: object) -> str:
        started.append(fake_server.FakeServer(**config))
        scheme = "https" if config.get("certificate") else "http"
        return f"{scheme}://127.0.0.1:{started[-1].port}"

    yield start
    for server in started:
        server.kill()


BENCH_PROBE = Path(__file__).parent.parent / "scripts" / "bench_probe"


@pytest.fixture(scope="session")
def bench() -> Any:
    """scripts/bench_probe/bench.py: how the server is run, and its log held against what the probe said."""
    sys.path.insert(0, str(BENCH_PROBE))
    try:
        return import_module("bench")
    finally:
        sys.path.remove(str(BENCH_PROBE))


@pytest.fixture(scope="session")
def c_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scripts/bench_probe/fake_llm.c, built: a server that logs when each token left it."""
    if shutil.which("gcc") is None:
        skip_or_fail("gcc", "no C compiler is on the PATH; on Debian: apt-get install gcc libc6-dev")
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(["gcc", "-O2", "-o", folder / "fake_llm", BENCH_PROBE / "fake_llm.c"], check=True)
    return folder
