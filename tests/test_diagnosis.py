"""Why a server died: real logs of vLLM 0.32.0 and public ones, each explained; and what explains no death."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from infra.xids import ACTIONS
from serving.vllm import diagnosis, endings
from serving.vllm.diagnosis import Cause, Diagnosis, causes, explain
from serving.vllm.tracebacks import CAUSED, HANDLING

DATA = Path(__file__).parent / "data"
LOGS = DATA / "vllm_logs"
EXPECTED = tomllib.loads((LOGS / "expected.toml").read_text())
DEATHS = tomllib.loads((DATA / "deaths.toml").read_text())["death"]
INNOCENT = tomllib.loads((DATA / "innocent_logs.toml").read_text())["log"]


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_real_log_is_explained(path: Path) -> None:
    found = explain(path.read_text(), 0)
    assert (found.name, found.cause) == tuple(EXPECTED[path.stem])


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death["name"])
def test_a_public_log_is_explained(death: dict[str, Any]) -> None:
    """And so it is after all that is innocent: no prompt or request hides it."""
    how = (death.get("exit_code"), death.get("kernel"))
    before = "".join(each["log"] for each in INNOCENT)
    assert [explain(log, *how).name for log in (death["log"], before + death["log"])] == [death["name"]] * 2


def test_the_public_logs_are_cited() -> None:
    cited = [death["address"] for death in DEATHS if death["address"] != "own"]
    assert len(cited) >= 50
    assert all(address.startswith("https://github.com/") for address in cited)
    assert {death["name"] for death in DEATHS} <= {cause.name for cause in causes()}


@pytest.mark.parametrize("innocent", INNOCENT, ids=lambda each: each["name"])
@pytest.mark.parametrize(("exit_code", "name"), [(None, "unknown"), (-9, "killed"), (143, "asked-to-end")])
def test_an_innocent_log_explains_no_death(
    innocent: dict[str, str], exit_code: int | None, name: str
) -> None:
    assert explain(innocent["log"], exit_code).name == name


def test_an_exception_nobody_knows_is_quoted_without_the_useless_last_one() -> None:
    log = (
        "(Worker pid=7) ERROR 11-24 02:40:39 [multiproc_executor.py:953] ValueError: seventeen is not a number\n"
        "(EngineCore pid=6) ERROR 11-24 02:40:39 [core.py:1] RuntimeError: Executor failed.\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    )
    assert explain(log) == Diagnosis(
        name="unknown",
        cause="its log says: ValueError: seventeen is not a number",
        next="Read the whole log: corral logs NAME",
    )


ROOT = """Traceback (most recent call last):
  File "/x/a.py", line 1, in a
LookupError: the root

{link}

Traceback (most recent call last):
  File "/x/b.py", line 1, in b
TypeError: the last
"""


@pytest.mark.parametrize(
    ("link", "said"), [(CAUSED, "LookupError: the root"), (HANDLING, "TypeError: the last")]
)
def test_of_a_chain_the_root_is_quoted_where_it_is_the_cause(link: str, said: str) -> None:
    assert explain(ROOT.format(link=link)).cause == f"its log says: {said}"


def test_however_many_exceptions_and_however_long_the_first_is_found() -> None:
    """A chain of thousands, and a message of words that each look like an exception's name."""
    one = 'Traceback (most recent call last):\n  File "/x/a.py", line 1, in a\nValueError: {}\n'
    chain = f"\n{HANDLING}\n\n".join(one.format(number) for number in range(3000))
    assert explain(chain).cause == "its log says: ValueError: 2999"
    long = "".join(one.format(f"{number} " + "word: " * 600) for number in range(300))
    assert explain(long).cause.startswith("its log says: ValueError: 0 word: word: ")


def test_a_message_of_several_lines_is_one_exception() -> None:
    log = 'Traceback (most recent call last):\n  File "/x/a.py", line 1, in a\nValueError: prompt: two\n'
    log += "OSError: [Errno 28] No space left on device\n"
    assert explain(log).cause == "its log says: ValueError: prompt: two"


@pytest.mark.parametrize(
    ("log", "exit_code", "cause"),
    [
        ("", None, "its log says: nothing at all"),
        ("Killed by a cosmic ray\n\n", 1, "its log says: Killed by a cosmic ray"),
        ("", 134, "a process of the server gave up (SIGABRT)"),
        ("", 143, "somebody asked it to end (SIGTERM or SIGINT)"),
        ("", 1000, "its log says: nothing at all"),
    ],
)
def test_without_a_known_line_the_signal_or_the_last_line_is_said(
    log: str, exit_code: int | None, cause: str
) -> None:
    assert explain(log, exit_code).cause == cause


def test_what_is_quoted_is_one_line_of_300_letters_without_what_vllm_puts_before_it() -> None:
    before = "(APIServer pid=7) ERROR 11-24 02:40:39 [api_server.py:1] "
    assert explain(f"{before}RuntimeError: {'x' * 400}").cause == f"its log says: RuntimeError: {'x' * 286}"
    assert explain(f"one\n{before}{'y' * 400}\n  \n").cause == f"its log says: {'y' * 300}"


def test_a_killed_process_is_named_only_where_no_exception_says_more() -> None:
    killed = "(APIServer pid=1) WARNING 11-24 02:37:08 [core_client.py:817] MPClient: engine core exited unexpectedly"
    assert explain(killed).name == "process-killed"
    assert explain(f"{killed}\nValueError: No available memory for the cache blocks.").name == "no-kv-memory"


def test_what_a_log_does_not_say_of_a_known_cause_is_left_open() -> None:
    log = "ValueError: To serve at least one request with the model's max seq len (16384), (0.01 GiB KV cache is "
    log += "needed, which is larger than the available KV cache memory (0.0 GiB)."
    assert explain(log) == Diagnosis(
        name="kv-cache-too-small",
        cause="one request of 16384 tokens needs 0.01 GiB of KV cache, and there are 0.0 GiB",
        next="Lower --max-model-len (vLLM estimates that ? tokens fit), or raise --kv-cache-memory-bytes or "
        "--gpu-memory-utilization.",
    )


OTHERS_KILLED = "Out of memory: Killed process 99 (postgres) total-vm:1kB"


@pytest.mark.parametrize(
    ("kernel", "cause"),
    [
        (None, "it was killed (SIGKILL), most likely by the kernel because the machine's memory was full"),
        (
            "",
            "it was killed (SIGKILL), and not by the kernel: by a person, or by a program that watches processes",
        ),
        (
            OTHERS_KILLED,
            "it was killed (SIGKILL), and not by the kernel: by a person, or by a program that watches processes",
        ),
        (
            "Out of memory: Killed process 7 (VLLM::EngineCor) total-vm:1kB",
            "the kernel killed one of its processes, because the machine's memory was full",
        ),
    ],
)
@pytest.mark.parametrize("exit_code", [-9, 137])
def test_who_killed_it_is_known_where_the_kernel_can_be_asked(
    kernel: str | None, cause: str, exit_code: int
) -> None:
    assert explain("", exit_code, kernel).cause == cause


def test_the_step_is_true_for_the_place() -> None:
    log = "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"
    assert explain(log).next == (
        "Install the driver; a container needs --gpus all. Without a GPU, use the CPU engine: corral engine install, "
        "and unset CORRAL_VLLM. See: nvidia-smi; ldconfig -p | grep libcuda"
    )
    assert explain(log, shell="corral ssh NAME").next == (
        "Install the driver there, or prepare a machine that has one; a container needs --gpus all. "
        "See there (corral ssh NAME): nvidia-smi; ldconfig -p | grep libcuda"
    )


@pytest.mark.parametrize("cause", causes(), ids=lambda cause: cause.name)
def test_no_step_on_another_machine_is_one_of_this(cause: Cause) -> None:
    """corral's own engine and CORRAL_VLLM are of this machine alone."""
    told = diagnosis.told(cause, ("?",) * 9, "corral ssh NAME")
    assert not re.search("corral engine|CORRAL_VLLM", told.next)
    assert told.next.count("See there (corral ssh NAME): ") == (cause.look != "")


@pytest.mark.parametrize("cause", causes(), ids=lambda cause: cause.name)
def test_every_cause_has_the_groups_its_sentences_use(cause: Cause) -> None:
    used = {int(number) for number in re.findall(r"\{(\d+)\}", cause.cause + cause.next + cause.elsewhere)}
    patterns = [re.compile(pattern) for pattern in (cause.raised, cause.line) if pattern]
    fixed = {
        "memory-limit": 2,
        "gpu-reboot": 3,
        "gpu-reset": 3,
        "gpu-link": 3,
        "gpu-support": 3,
        "gpu-restart": 3,
    }
    groups = [fixed[cause.name]] if cause.name in fixed else [pattern.groups for pattern in patterns]
    assert all(used <= set(range(count)) for count in groups)
    assert patterns or cause.name in {
        *fixed,
        *endings.TELLING.values(),
        *endings.OTHERS.values(),
        "killed-by-somebody",
    }


def test_every_cause_that_is_found_otherwise_is_in_the_table() -> None:
    names = {cause.name for cause in causes()}
    assert len(names) == len(causes())
    assert {*endings.TELLING.values(), *endings.OTHERS.values()} <= names
    assert {f"gpu-{action}" for action in ACTIONS if action != "ignore"} <= names


XID = "NVRM: Xid (PCI:0000:cb:00): {}, pid=7, name=python3, Ch 00000008"


@pytest.mark.parametrize(
    ("xids", "name"),
    [
        ((31,), "gpu-restart"),
        ((79,), "gpu-reboot"),
        ((48,), "gpu-reset"),
        ((64,), "gpu-reset"),
        ((95,), "gpu-reset"),
        ((74,), "gpu-link"),
        ((149,), "gpu-link"),
        ((31, 13, 79, 45), "gpu-reboot"),
        ((63, 154, 43, 92), "unknown"),
        ((1,), "gpu-support"),
        ((999,), "gpu-support"),
        ((63, 31), "gpu-restart"),
    ],
)
def test_an_xid_is_told_by_what_it_asks_for(xids: tuple[int, ...], name: str) -> None:
    kernel = "\n".join(XID.format(number) for number in xids)
    assert explain("", 0, kernel).name == name
    assert explain("\n".join(f"kernel: {line}" for line in kernel.split("\n")), 0).name == name


@pytest.mark.parametrize(
    "line", ["NVRM: Xid (PCI:0000:cb:00): soon", "NVRM: Xid", "he said NVRM: Xid (PCI:0000:cb:00): 79, x"]
)
def test_a_line_that_is_no_xid_is_none(line: str) -> None:
    assert explain("", 0, line).name == "unknown"


def test_a_gpu_that_is_broken_explains_more_than_what_the_program_saw() -> None:
    saw = "RuntimeError: No available memory for the cache blocks"
    assert explain(saw, 0, XID.format(79)).cause == (
        "a GPU fell off the bus (Xid 79: GPU has fallen off the bus; 0000:cb:00)"
    )
    assert explain(saw, 0, XID.format(31)).name == "no-kv-memory"
    assert explain(
        "torch.AcceleratorError: CUDA error: unspecified launch failure", 0, XID.format(31)
    ).cause == ("a GPU stopped the server's work (Xid 31: GPU memory page fault; 0000:cb:00)")


def test_what_only_gpus_print_is_explained_too() -> None:
    lines = {
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.": "gpu-out-of-memory",
        "ValueError: Free memory on device cuda:0 (10.2/79.1 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 72.8 GiB).": "gpu-memory-taken",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12080).": "driver-too-old",
        "RuntimeError: Failed to infer device type": "no-device",
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690": "nccl",
        "OSError: [Errno 28] No space left on device": "no-disk",
        "TimeoutError: Timed out waiting for engine core processes to start.": "start-timed-out",
        "ValueError: No available memory for the cache blocks.": "no-kv-memory",
    }
    assert {line: explain(line).name for line in lines} == lines


def test_a_server_that_lost_its_lock_is_told_apart_from_one_that_got_none() -> None:
    lost = explain("corral: failed: lock: the egress lock is gone, so the server was stopped\n")
    assert (lost.name, lost.cause) == ("lock-lost", "the egress lock is gone, so it was stopped")
    none = explain("corral: the server has no user of its own, so the server is not started\n")
    assert none.name == "no-user"


@pytest.mark.parametrize(
    ("words", "name", "cause"),
    [
        (
            "7 of 8 GPUs are there",
            "gpus-not-there",
            "only 7 of 8 GPUs are there, by what NVIDIA's driver says",
        ),
        (
            "the weights have changed on the disk: a b.safetensors is not what was brought",
            "weights-changed",
            "the weights have changed on its disk since they were brought: a b.safetensors",
        ),
    ],
)
def test_a_start_that_a_host_refuses_is_told_by_its_reason(words: str, name: str, cause: str) -> None:
    found = explain(f"corral: {words}, so the server is not started\n")
    assert (found.name, found.cause) == (name, cause)
