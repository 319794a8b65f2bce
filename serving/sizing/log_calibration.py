"""A server's log against the plan that it was started from: what it says of memory is kept, and used by later plans."""

import codecs
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from infra.errors import DocumentError, UsageError
from infra.record import Record, read_bytes
from serving.model.calibration import Calibration, ServerMemory, loaded_factor, rest_gib
from serving.model.kv import Layout
from serving.model.memory import Budget, device_defaults
from serving.model.models import models
from serving.model.weights import Split
from serving.sizing import kept_calibrations
from serving.sizing.fit import pool_of
from serving.sizing.gpu_pool import GpuPool
from serving.sizing.memory_pool import Case, Knobs, kv_layout
from serving.sizing.plan import Plan
from serving.sizing.size import on, stored
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel, named
from serving.vllm import server_log, versions
from serving.vllm.server_log import ServerLog

MOST_BYTES = 64 * 1024 * 1024
HINT = 'Give the log of its start, up to "Application startup complete": head -n 2000 LOG > start.log'
OF_THE_SERVER = "Give the plan of the server that wrote it."
MOST_OFF, LEAST_OFF_GIB = 1.35, 1.0
"""Weights that were measured and planned are of one checkpoint within this factor, or this many GiB."""
UNTAGGED = "0.1.dev"
"""What a vLLM calls itself that was built from a repository without its tags."""
MOST_REST, REST_OFF_GIB = 4.0, 2.0
"""All else is on such a GPU up to this factor and so many GiB more than planned."""


class Measured(Record):
    """What a log says, beside what was planned for the settings that the server ran with; GiB of one GPU."""

    log: ServerLog
    memory: ServerMemory
    planned: tuple[float, float, float]
    """Loaded; activations, CUDA and graphs; KV cache."""

    @property
    def measured(self) -> tuple[float, float, float]:
        """The same as measured."""
        rest = sum(self.planned) - self.memory.loading_gib - self.memory.kv_cache_gib
        return self.memory.loading_gib, rest, self.memory.kv_cache_gib


def read(plan: Plan, path: Path) -> Measured:
    """What a server's log says of memory.

    Raises DocumentError for what is no log of one whole start, UsageError for that of another model or machine.
    """
    text = text_of(read_bytes(path, HINT, MOST_BYTES, is_named=True))
    return measured(plan, server_log.read(text, str(path)), str(path))


def text_of(data: bytes) -> str:
    """A log as text: PowerShell writes what is sent to a file in UTF-16, with its mark."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8", errors="replace")


def keep(plan: Plan, read: Measured) -> Calibration:
    """Keep it for later plans, with the server's own version."""
    update = {"memory": read.memory, "vllm_version": read.memory.vllm_version}
    return kept_calibrations.keep(kept_calibrations.known(plan).model_copy(update=update))


def measured(plan: Plan, log: ServerLog, where: str) -> Measured:
    """The log's figures, held to the plan."""
    check_server(plan, log, where)
    check_version(log, where)
    pool = pool_for(plan, log)
    split, knobs = Split(log.tensor, log.pipeline, log.data, plan.parallel.expert), knobs_of(log, pool)
    kv = kv_layout(pool, split, knobs)
    memory = memory_of(log, knobs, kv_gib(log, kv, where), pool.case.subject, where)
    at = pool.at(split, memory, kv)
    check_possible(plan, at, memory, where)
    loaded = at.gib("weights") + at.gib("rope_table")
    planned = (loaded, at.usable_gib - at.kv_gib - loaded, at.kv_gib)
    return Measured(log=log, memory=memory, planned=planned)


def memory_of(
    log: ServerLog, knobs: Knobs, kv_cache_gib: float, subject: SizedModel, where: str
) -> ServerMemory:
    """What is kept of a log. Raises DocumentError for figures that no server has."""
    limit = subject.architecture.max_position_embeddings
    try:
        return ServerMemory(
            vllm_version=log.vllm_version,
            loading_gib=log.loading_gib or 0.0,
            kv_cache_gib=kv_cache_gib,
            graphs_gib=log.graphs_gib,
            max_model_len=log.max_model_len,
            max_num_seqs=knobs.max_num_seqs,
            max_num_batched_tokens=knobs.max_num_batched_tokens,
            gpu_memory_utilization=knobs.gpu_memory_utilization,
            enforce_eager=log.enforce_eager,
            text_only=knobs.text_only,
            max_position_embeddings=min(limit, log.max_position_embeddings or limit),
            read_at=datetime.now(UTC),
        )
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise DocumentError(f"{where} says a {field} that no server has.", HINT) from None


def check_server(plan: Plan, log: ServerLog, where: str) -> None:
    """Raise UsageError for the log of another model or split, or of one whose memory nobody profiles."""
    wanted = (plan.serve.model, plan.serve.served_model_name)
    if not {last(name) for name in log.models} & {last(name) for name in wanted}:
        raise UsageError(
            f"{where} is the log of {log.models[0] if log.models else 'another model'}, the plan serves "
            f"{plan.serve.served_model_name}.",
            OF_THE_SERVER,
        )
    if not plan.machine.gpu_count or log.device != "GPU":
        raise UsageError(
            f"{where}: without a GPU vLLM profiles no memory, so there is nothing to calibrate.",
            "Give the log of a server on GPUs, and its plan.",
        )
    if log.besides:
        raise UsageError(
            f"{where} is of a server with --{log.besides.replace('_', '-')}, from which the model's own memory cannot "
            "be told apart.",
            "Give the log of a start without that option.",
        )
    split = plan.parallel
    if (log.tensor, log.pipeline, log.data) != (split.tensor, split.pipeline, split.data):
        raise UsageError(
            f"{where} is of tensor {log.tensor} x pipeline {log.pipeline} x data {log.data}, the plan of tensor "
            f"{split.tensor} x pipeline {split.pipeline} x data {split.data}.",
            OF_THE_SERVER,
        )


def check_version(log: ServerLog, where: str) -> None:
    """Raise UsageError for the log of a vLLM whose rules of memory are not known."""
    oldest = str(versions.data()["version"][0]["from"])
    numbers = () if log.vllm_version.startswith(UNTAGGED) else versions.release(log.vllm_version)
    if numbers >= versions.number(oldest):
        return
    said = f"{where} is of vLLM {log.vllm_version}"
    raise UsageError(
        f"{said}, older than the oldest corral has examined, {oldest}."
        if numbers
        else f"{said}, which does not say of what release it is.",
        f"Give the log of a released vLLM, {oldest} or newer.",
    )


def last(name: str) -> str:
    """A model's own name: without the folder, or whose it is on the Hub."""
    return name.rstrip("/").rpartition("/")[2].lower()


def pool_for(plan: Plan, log: ServerLog) -> GpuPool:
    """The memory that the server had, by the rules of its version; without what earlier logs said."""
    options = Options(
        vllm_version=log.vllm_version,
        kv_cache_dtype="fp8" if log.kv_cache_dtype.startswith("fp8") else "auto",
        disable_hybrid_kv_cache_manager=not log.is_hybrid,
    )
    pool = pool_of(Case(subject_of(plan, log), on(plan.machine.name), options))
    assert isinstance(pool, GpuPool)  # a plan with GPUs
    return pool


def subject_of(plan: Plan, log: ServerLog) -> SizedModel:
    """The plan's model, whose layers a plan does not hold."""
    if plan.model in models():
        return named(plan.model, plan.precision)
    return stored(plan.serve.model, log.vllm_version)


def knobs_of(log: ServerLog, pool: GpuPool) -> Knobs:
    """What the server was told, else vLLM's own defaults on that GPU."""
    tokens, seqs = device_defaults(pool.gpu)
    batched = log.max_num_batched_tokens or tokens
    return Knobs(
        max_num_seqs=log.max_num_seqs or min(seqs, batched),
        max_num_batched_tokens=batched,
        gpu_memory_utilization=log.gpu_memory_utilization or pool.rules.gpu_memory_utilization,
        text_only=log.text_only or pool.case.subject.architecture.vision is None,
    )


def kv_gib(log: ServerLog, kv: Layout, where: str) -> float:
    """The KV cache; of a version that says its tokens alone, the memory of so many. Raises DocumentError."""
    if log.kv_cache_gib is not None:
        return log.kv_cache_gib
    if kv.log == "concurrency":
        raise DocumentError(
            f"{where} does not say what memory was left for the KV cache.",
            'Give all of it: it lacks the line "Available KV cache memory".',
        )
    return kv.gib_of(log.kv_cache_tokens)


def check_possible(plan: Plan, at: Budget, memory: ServerMemory, where: str) -> None:
    """Raise UsageError for weights of another checkpoint, and for figures that do not add up to such a GPU."""
    loaded = at.gib("weights") + at.gib("rope_table")
    off = memory.loading_gib - loaded
    if not 1 / MOST_OFF < loaded_factor(at, memory) < MOST_OFF and abs(off) > LEAST_OFF_GIB:
        raise UsageError(
            f"{where}: the model took {memory.loading_gib:.2f} GiB of a GPU, and {plan.model} {plan.precision} takes "
            f"{loaded:.2f}: it is another checkpoint.",
            OF_THE_SERVER,
        )
    rest, planned = rest_gib(at, memory), at.usable_gib - at.kv_gib - loaded
    if not 0 < rest < MOST_REST * planned + REST_OFF_GIB:
        raise UsageError(
            f"{where}: {memory.loading_gib:.2f} GiB loaded and {memory.kv_cache_gib:.2f} GiB of KV cache do not fill "
            f"{at.usable_gib:.2f} GiB, what vLLM may take of a {plan.machine.gpu}: it is another GPU.",
            OF_THE_SERVER,
        )
