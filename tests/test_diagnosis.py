"""Why a server died: real logs of vLLM 0.32.0, each explained."""

import re
import tomllib
from pathlib import Path

import pytest

from serving.vllm.diagnosis import Cause, Diagnosis, causes, explain

LOGS = Path(__file__).parent / "data" / "vllm_logs"
EXPECTED = tomllib.loads((LOGS / "expected.toml").read_text())


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_real_log_is_explained(path: Path) -> None:
    found = explain(path.read_text(), 0)
    assert (found.name, found.cause) == tuple(EXPECTED[path.stem])


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


@pytest.mark.parametrize(
    ("log", "exit_code", "cause"),
    [
        ("", None, "its log says: nothing at all"),
        ("", -9, "it was killed (SIGKILL)"),
        ("Killed by a cosmic ray\n\n", 1, "its log says: Killed by a cosmic ray"),
    ],
)
def test_without_a_known_line_the_signal_or_the_last_line_is_said(
    log: str, exit_code: int | None, cause: str
) -> None:
    assert explain(log, exit_code).cause == cause


def test_what_is_quoted_is_one_line_of_300_letters_without_what_vllm_puts_before_it() -> None:
    before = "(APIServer pid=7) INFO 11-24 02:40:39 [api_server.py:1] "
    assert explain(f"{before}RuntimeError: {'x' * 400}").cause == f"its log says: RuntimeError: {'x' * 286}"
    assert explain(f"one\n{before}{'y' * 400}\n  \n").cause == f"its log says: {'y' * 300}"


def test_a_killed_process_is_named_only_where_no_exception_says_more() -> None:
    killed = "MPClient: engine core exited unexpectedly"
    assert explain(killed).name == "process-killed"
    assert explain(f"{killed}\nKeyError: 'model.norm'") == Diagnosis(
        name="unknown",
        cause="its log says: KeyError: 'model.norm'",
        next="Read the whole log: corral logs NAME",
    )


def test_what_a_log_does_not_say_of_a_known_cause_is_left_open() -> None:
    log = (
        "(16384), (0.01 GiB KV cache is needed, which is larger than the available KV cache memory (0.0 GiB)"
    )
    assert explain(f"max seq len {log}") == Diagnosis(
        name="kv-cache-too-small",
        cause="one request of 16384 tokens needs 0.01 GiB of KV cache, and there are 0.0 GiB",
        next="Lower --max-model-len (vLLM estimates that ? tokens fit), or raise --kv-cache-memory-bytes or "
        "--gpu-memory-utilization.",
    )


def test_a_kill_leaves_no_word_and_says_where_to_look() -> None:
    assert explain("", -9) == Diagnosis(
        name="killed",
        cause="it was killed (SIGKILL)",
        next="Was it the kernel, for memory? dmesg | grep -i 'killed process'",
    )


@pytest.mark.parametrize("cause", causes(), ids=lambda cause: cause.name)
def test_every_cause_has_the_groups_its_sentences_use(cause: Cause) -> None:
    pattern, sentences = re.compile(cause.pattern), cause.cause + cause.next
    used = {int(number) for number in re.findall(r"\{(\d+)\}", sentences)}
    assert used <= set(range(pattern.groups))


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
