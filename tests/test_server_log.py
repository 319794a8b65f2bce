"""A server's log: what each generation of vLLM says of its memory, what is made of it, and logs that say nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_calibration import probe_file

from deploy.cli.main import run
from infra.errors import DocumentError
from infra.hardware import GIB
from serving.model.calibration import ServerMemory
from serving.sizing import kept_calibrations
from serving.sizing.plan import Plan
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.vllm import server_log, versions

REPO = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic"
SET = {
    "model": REPO, "max_model_len": 131_072, "served_model_name": ["llama-4-scout"], "tensor_parallel_size": 8,
    "hf_overrides": {"text_config": {"max_position_embeddings": 131_072}}, "max_num_seqs": 1024,
}  # fmt: skip
LOGO = " ▄▄ ▄█ █     █     █ ▀▄▀ █  version {}"


def log(version: str = "0.33.0", loading: str = "13.96", kv: str | None = "51.12", **given: object) -> str:
    """A start as a generation of vLLM writes it down; without `kv` one that says the tokens alone."""
    said, numbers = SET | given, versions.release(version)
    eight = numbers < (0, 9)
    spaced = ", ".join(f"{name}={value!r}" for name, value in said.items())
    server = LOGO if numbers >= (0, 16) else "vLLM API server version {}"
    unset = "api_key=None, enable_lora=False, cpu_offload_gb=0, speculative_config=None"
    arguments = f"args: Namespace({spaced}, {unset})" if eight else f"non-default args: {said}"
    config = (
        f"model='{said['model']}', speculative_config=None, max_seq_len={said['max_model_len']}, "
        f"tensor_parallel_size={said['tensor_parallel_size']}, pipeline_parallel_size=1, "
        f"enforce_eager={bool(said.get('enforce_eager'))}, kv_cache_dtype=auto, served_model_name=llama-4-scout, "
    )
    ranks = [f"(VllmWorker rank={rank} pid=3)" if eight else f"(Worker_TP{rank} pid=3)" for rank in range(2)]
    kind = " memory" if numbers >= (0, 12) else ""
    lines = [
        f"INFO 11-20 10:00:00 [api_server.py:1034] {server.format(version)}",
        f"INFO 11-20 10:00:00 [utils.py:1] {arguments}",
        f"INFO 11-20 10:00:09 [core.py:58] Initializing a V1 LLM engine (v{version}) with config: {config}",
        "INFO 11-20 10:00:09 [x.py:1] Chunked prefill is enabled with max_num_batched_tokens=8192.",
        *(
            f"{rank} INFO [gpu_model_runner.py:1] Model loading took {loading} GiB{kind} and 31.657 seconds"
            for rank in ranks
        ),
        *(f"{rank} INFO [gpu_worker.py:1] Available KV cache memory: {kv} GiB" for rank in ranks if kv),
        "INFO 11-20 10:02:40 [kv_cache_utils.py:1] GPU KV cache size: 2,000,000 tokens",
        "INFO 11-20 10:02:59 [gpu_model_runner.py:1] Graph capturing finished in 12 secs, took 0.81 GiB",
        "INFO:     Application startup complete.",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    sized().write(tmp_path / "plan.json")
    return tmp_path


def sized(**options: object) -> Plan:
    return plan(named("scout", "fp8"), on("8xH100"), Options(**options))  # type: ignore[arg-type]


def calibrate(text: str | bytes, *more: str) -> int:
    Path("server.log").write_bytes(text.encode() if isinstance(text, str) else text)
    return run(["calibrate", "--server-log", "server.log", "--plan", "plan.json", *more])


def kept() -> ServerMemory | None:
    (found,) = kept_calibrations.read() or (None,)
    return found.memory if found else None


def test_memory_is_as_the_server_says_and_size_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sized()
    assert calibrate(log()) == 0
    assert capsys.readouterr().out == (
        "Calibrated: scout fp8 on H100, tensor parallel 8\n"
        "  GiB of a GPU               planned  measured\n"
        "  weights and rotary table   13.39    13.96\n"
        "  activations, CUDA, graphs  6.00     7.69\n"
        "  KV cache                   53.38    51.12\n\n"
        "Next: corral size scout --precision fp8 --on 8xH100\n"
    )
    after = sized()
    memory = after.memory
    assert (memory.weights_gib + memory.rope_table_gib, memory.kv_cache_gib) == pytest.approx(
        (13.96, 51.12), abs=0.002
    )
    assert memory.usable_gib - memory.weights_gib - memory.rope_table_gib - memory.activation_gib - (
        memory.non_torch_gib + memory.cuda_graphs_gib
    ) == pytest.approx(memory.kv_cache_gib, abs=0.005)
    assert (memory.kv_cache_less_gib, memory.kv_cache_more_gib) == (0.1, 0.1)
    assert before.memory.kv_cache_less_gib == pytest.approx(1.74, abs=0.01)
    today = kept_calibrations.read()[0].updated_at.date()
    note = f"Memory is calibrated by the log of a server with vLLM 0.33.0, read on {today}."
    assert (note in after.notes, note in before.notes) == (True, False)
    assert {term.source for term in after.terms if term.name == "activation"} == {
        f"the log of a server with vLLM 0.33.0, read on {today}"
    }
    assert sized().throughput == before.throughput


def test_what_the_server_did_not_run_with_keeps_its_doubt(here: Path) -> None:
    assert calibrate(log(max_num_seqs=256)) == 0
    same, more = (sized(max_num_seqs=seqs).memory for seqs in (256, 1024))
    assert same.kv_cache_less_gib == 0.1
    assert same.kv_cache_gib == pytest.approx(51.12, abs=0.002)
    assert more.kv_cache_less_gib > 0.2
    elsewhere = plan(named("scout", "fp8"), on("4xH100"), Options()).memory
    assert elsewhere.kv_cache_less_gib > 1


def test_another_version_is_that_of_the_calibration_and_leaves_the_doubt(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doubt = sized().memory.kv_cache_less_gib
    assert calibrate(log("0.28.0")) == 0
    out = capsys.readouterr().out
    assert "\nThe server ran vLLM 0.28.0, the plan is for 0.33.0.\n" in out
    assert out.endswith("\nNext: corral size scout --precision fp8 --on 8xH100 --vllm-version 0.28.0\n")
    assert [each.vllm_version for each in kept_calibrations.read()] == ["0.28.0"]
    ours, newer, memory = sized(vllm_version="0.28.0"), sized(), kept()
    assert memory is not None
    assert ours.memory.kv_cache_less_gib == 0.1
    assert 0.8 * doubt < newer.memory.kv_cache_less_gib < 1.2 * doubt
    assert [each for each in newer.notes if "calibrated" in each] == [
        f"Memory is calibrated by {memory.source}; this plan is for 0.33.0, so that all but the weights keeps its "
        "doubt. To plan for that server: --vllm-version 0.28.0."
    ]


@pytest.mark.parametrize(
    ("version", "share"),
    [
        ("0.8.3", 0.9), ("0.10.2", 0.9), ("0.11.0", 0.9), ("0.12.0", 0.9), ("0.16.0", 0.9), ("0.20.0", 0.92),
        ("0.28.0", 0.92), ("0.33.0", 0.92),
    ],
)  # fmt: skip
def test_each_generation_is_read(version: str, share: float, here: Path) -> None:
    kv = None if version == "0.8.3" else "41.5"
    assert calibrate(log(version, "14.01", kv)) == 0
    read = kept()
    assert read is not None
    # 2,000,000 tokens are 125,000 blocks of 16, of 48 layers with 2 x 128 values of two bytes each.
    assert (read.vllm_version, read.loading_gib, read.graphs_gib) == (version, 14.01, 0.81)
    assert read.kv_cache_gib == (pytest.approx(2_000_000 * 48 * 2 * 128 * 2 / 2**30) if kv is None else 41.5)
    assert (read.max_model_len, read.max_num_seqs, read.max_num_batched_tokens) == (131_072, 1024, 8192)
    assert (read.gpu_memory_utilization, read.max_position_embeddings) == (share, 131_072)


@pytest.mark.parametrize(
    "line",
    ["{}\n", "\x1b[36m{}\x1b[0;0m\r\n", "Nov 20 10:00:01 gpu-1 vllm[7]: {}\n", '{{"log":"{}\\n","stream":"stdout"}}\n',
     "Loading shards: 50% |\r{}\n"],
    ids=["plain", "coloured", "journal", "docker", "progress"],
)  # fmt: skip
def test_the_fullest_rank_counts_whoever_kept_the_lines(line: str, here: Path) -> None:
    text = log().replace("took 13.96", "took 13.90", 1).replace("memory: 51.12", "memory: 51.60", 1)
    assert calibrate("".join(map(line.format, text.splitlines()))) == 0
    read = kept()
    assert read is not None
    assert (read.loading_gib, read.kv_cache_gib, read.max_num_seqs) == (13.96, 51.12, 1024)


def test_a_model_that_left_nothing_for_the_cache_is_said_to(here: Path) -> None:
    assert sized(gpu_memory_utilization=0.3, max_num_seqs=1024).verdict == "fits"
    assert calibrate(log(kv="-1.50", loading="14.2", gpu_memory_utilization=0.3)) == 0
    assert sized(gpu_memory_utilization=0.3, max_num_seqs=1024).verdict == "does not fit"
    assert sized().verdict == "fits"


def test_a_probe_and_a_log_are_kept_side_by_side(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = str(probe_file(here, 16, 0.02, 0.2))
    assert calibrate(log()) == 0
    assert run(["calibrate", probe, "--plan", "plan.json"]) == 0
    assert calibrate(log(kv="51.5")) == 0
    (both,) = kept_calibrations.read()
    assert (len(both.points), both.memory and both.memory.kv_cache_gib) == (1, 51.5)
    capsys.readouterr()
    assert calibrate(log("0.28.0"), probe, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["vllm_version"], len(said["points"]), said["memory"]["loading_gib"]) == ("0.28.0", 1, 13.96)


OTHER = "Give the plan of the server that wrote it."
START = 'Give all of it, from the start to "Application startup complete": it lacks'
ELSE = "do not fill 72.77 GiB, what vLLM may take of a H100: it is another GPU."
BESIDES = ", from which the model's own memory cannot be told apart."
HEAD = 'Give the log of its start, up to "Application startup complete": head -n 2000 LOG > start.log'
WITHOUT = "Give the log of a start without that option."
NEWER = "Give the log of a released vLLM, 0.8.3 or newer."
NO_LOG = "Give what `vllm serve` printed, or `corral logs` of one of ours, kept in a file."


def without(*words: str) -> str:
    return "\n".join(line for line in log().split("\n") if not any(word in line for word in words))


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("", 4, "server.log is no log of a vLLM server.", NO_LOG),
        ("Model\nloading\ntook a day\n", 4, "server.log is no log of a vLLM server.", NO_LOG),
        (bytes(range(256)) * 50, 4, "server.log is no log of a vLLM server.", NO_LOG),
        (log().encode() + b"\0", 4, "server.log is no log of a vLLM server.", NO_LOG),
        (log(model="meta/other", served_model_name=["x"]).replace("_name=llama-4-scout", "_name=x"), 2,
         "server.log is the log of meta/other, the plan serves llama-4-scout.", OTHER),
        (log(tensor_parallel_size=4), 2,
         "server.log is of tensor 4 x pipeline 1 x data 1, the plan of tensor 8 x pipeline 1 x data 1.", OTHER),
        (log(data_parallel_size=2).replace("Chunked", "Initializing a V1 LLM engine (v0.33.0) with config: Chunked"), 2,
         "server.log is of tensor 8 x pipeline 1 x data 2, the plan of tensor 8 x pipeline 1 x data 1.", OTHER),
        (log(loading="27.12", kv="38"), 2,
         "server.log: the model took 27.12 GiB of a GPU, and scout fp8 takes 13.39: it is another checkpoint.", OTHER),
        (log(kv="104.5"), 2,
         f"server.log: 13.96 GiB loaded and 104.50 GiB of KV cache {ELSE}", OTHER),
        (log(kv="15.5"), 2,
         f"server.log: 13.96 GiB loaded and 15.50 GiB of KV cache {ELSE}", OTHER),
        (log(loading="0"), 4, "server.log says a loading_gib that no server has.", HEAD),
        (log(max_model_len=0), 4, "server.log says a max_model_len that no server has.", HEAD),
        (log(kv_cache_memory_bytes=5 << 30), 2,
         f"server.log is of a server with --kv-cache-memory-bytes{BESIDES}", WITHOUT),
        (log(enable_lora=True, max_loras=4), 2, f"server.log is of a server with --enable-lora{BESIDES}", WITHOUT),
        (log("0.8.3", kv=None, enable_lora=True), 2, f"server.log is of a server with --enable-lora{BESIDES}", WITHOUT),
        (log(speculative_config={"method": "eagle"}), 2,
         f"server.log is of a server with --speculative-config{BESIDES}", WITHOUT),
        (log(cpu_offload_gb=4.0), 2, f"server.log is of a server with --cpu-offload-gb{BESIDES}", WITHOUT),
        (log().replace("GPU KV cache", "CPU KV cache"), 2,
         "server.log: without a GPU vLLM profiles no memory, so there is nothing to calibrate.",
         "Give the log of a server on GPUs, and its plan."),
        (log() + log(), 4, "server.log holds more than one start of a server.",
         "Give one of them, such as the last: tail -n +12 server.log > one.log"),
        (log()[: log().index("Model loading")], 4, "server.log ends before the server has sized its KV cache.",
         f"{START} the line on its KV cache."),
        (log()[: log().index("51.12") + 3], 4, "server.log ends before the server has sized its KV cache.",
         f"{START} the line on its KV cache."),
        (without("Model loading"), 4, "server.log does not say what the model takes.",
         f'{START} the line "Model loading took".'),
        (without("Available KV"), 4, "server.log does not say what memory was left for the KV cache.",
         'Give all of it: it lacks the line "Available KV cache memory".'),
        (log()[log().index("(Worker_TP0") :], 4, "server.log does not hold the server's first lines.",
         f"{START} its arguments and its engine's configuration."),
        (without("args: "), 4, "server.log does not hold the server's first lines.",
         f"{START} its arguments and its engine's configuration."),
        (log("0.8.3", kv=None).replace("a V1 LLM", "a V0 LLM"), 4,
         "server.log is of vLLM's V0 engine, which counts memory otherwise.", "Start it with VLLM_USE_V1=1."),
        (log("0.7.3"), 2, "server.log is of vLLM 0.7.3, older than the oldest corral has examined, 0.8.3.", NEWER),
        (log().replace("v0.33.0", "vnightly"), 2,
         "server.log is of vLLM nightly, which does not say of what release it is.", NEWER),
        (log().replace("v0.33.0", "v0.1.dev1+g5f6de53a8"), 2,
         "server.log is of vLLM 0.1.dev1+g5f6de53a8, which does not say of what release it is.", NEWER),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_used_changes_nothing(
    text: str | bytes, code: int, message: str, hint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(text) == code
    assert capsys.readouterr().err == f"error: {message}\nhint: {hint}\n"
    assert not (here / "home" / "calibrations.json").exists()


def test_nothing_given_no_file_and_a_probe_that_is_not_valid(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", "--plan", "plan.json"]) == 2
    assert capsys.readouterr().err == (
        "error: Nothing that was measured is given: a probe, or the log of a server.\n"
        "hint: corral calibrate probe.json --plan plan.json, or --server-log server.log\n"
    )
    assert run(["calibrate", "--plan", "plan.json", "--server-log", "nowhere"]) == 4
    assert "nowhere cannot be read" in capsys.readouterr().err
    assert calibrate(log(), str(probe_file(here, 16, 0.02, 0.2, valid=False))) == 9
    assert not (here / "home" / "calibrations.json").exists()


def test_what_is_left_of_several_starts_is_one(here: Path) -> None:
    text = log(loading="13.1") + log()
    rest = "\n".join(text.split("\n")[11:])
    assert server_log.read(rest, "x").loading_gib == 13.96


def test_what_powershell_kept_is_read(here: Path) -> None:
    assert calibrate(log().encode("utf-16")) == 0
    assert kept() is not None


PUBLIC = Path(__file__).with_name("data") / "gpu_logs"
"""What people showed of their servers' starts on GPUs, each with its address."""


def public(name: str) -> str:
    return (PUBLIC / f"{name}.log").read_text(encoding="utf-8")


def test_logs_of_real_gpus_are_read_as_they_say() -> None:
    nothing = {
        "device": "GPU", "tensor": 1, "pipeline": 1, "data": 1, "max_num_seqs": None, "kv_cache_dtype": "auto",
        "besides": "", "text_only": False, "is_hybrid": True, "max_position_embeddings": None,
    }  # fmt: skip
    snapshot = "/hub/models--Qwen--Qwen2.5-1.5B-Instruct/snapshots/989aa798"
    assert server_log.read(public("0.11.0-gb10"), "x").model_dump() == nothing | {
        "vllm_version": "0.11.0+582e4e37.nv25.11", "models": ("/models/mistral-7b",) * 3, "loading_gib": 3.8844,
        "kv_cache_gib": 102.56, "kv_cache_tokens": 840_160, "graphs_gib": 0.0, "max_model_len": 32_768,
        "max_num_batched_tokens": 2048, "gpu_memory_utilization": None, "enforce_eager": False,
    }  # fmt: skip
    assert server_log.read(public("0.28.1rc1-tu102"), "x").model_dump() == nothing | {
        "vllm_version": "0.28.1rc1.dev50+gcac8a75a7.d20260828", "models": (snapshot,) * 3, "loading_gib": 2.98,
        "kv_cache_gib": 17.36, "kv_cache_tokens": 650_208, "graphs_gib": None, "max_model_len": 4096,
        "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.9, "enforce_eager": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("0.24.0-highlights", "x does not say what the model takes."),
        ("0.8.3-scout", "x does not hold the server's first lines."),
        ("0.8.3-maverick", "x does not hold the server's first lines."),
    ],
)
def test_what_is_left_of_a_real_log_is_refused_by_what_it_lacks(name: str, said: str) -> None:
    with pytest.raises(DocumentError) as refused:
        server_log.read(public(name), "x")
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("name", "model", "precision", "gpus", "options"),
    [
        ("0.8.3-scout", "scout", "bf16", "2xH200", {"tensor_parallel_size": 2, "max_model_len": 10_000}),
        ("0.8.3-maverick", "maverick", "fp8", "8xH100", {"tensor_parallel_size": 8, "max_model_len": 32_768}),
    ],
)
def test_weights_are_as_real_servers_say(
    name: str, model: str, precision: str, gpus: str, options: dict[str, Any]
) -> None:
    """Their rotary tables were of all positions, which no plan of ours keeps."""
    subject = named(model, precision)
    planned = plan(subject, on(gpus), Options(vllm_version="0.8.3", **options))
    a = subject.architecture
    rope_gib = a.max_position_embeddings * a.head_dim * 2 / GIB
    loaded = server_log.figures(server_log.LOADED, public(name).split("\n"))
    assert planned.memory.weights_gib + rope_gib == pytest.approx(max(loaded), rel=0.002)
