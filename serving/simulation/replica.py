"""PURE: one replica of a plan, to be simulated: its steps, its room, its API process."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from infra.data import shipped_table
from infra.errors import DoesNotFit, UsageError
from infra.hardware import linked
from serving.model.models import models
from serving.model.throughput import Speed, asked_s
from serving.sizing.asked_images import image_tokens
from serving.sizing.batching import Api, Room, Server
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan
from serving.sizing.plan_again import asked_for, size_again
from serving.sizing.server_sizes import ServerSize, ServerSizes
from serving.sizing.size import on, stored
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel, named
from serving.sizing.traffic import Promise, Traffic


@dataclass(frozen=True, slots=True)
class Replica:
    """One server of the plan."""

    size: ServerSize
    room: Room
    api: Api

    def servers(self, slower: float) -> Callable[[float], Server]:
        """What makes one that is empty at a time, when every step takes so many times as long."""
        steps = self.size.steps
        slow = steps if slower == 1 else lambda decoding, prefilled: slower * steps(decoding, prefilled)
        return lambda began_s: Server(slow, self.room, self.api, began_s)

    @property
    def longest(self) -> int:
        """Tokens of a request, where the plan does not say it."""
        return self.size.predictor.engine.architecture.max_position_embeddings

    def speed(self, running: float) -> Speed:
        """What is predicted with so many at once: its band and its basis."""
        return self.size.predictor.at(max(1, round(running)))


def replica(plan: Plan, traffic: Traffic) -> Replica:
    """One replica of a plan, for requests as long as those of a traffic.

    Raises UsageError for a plan whose steps are not known, DoesNotFit for one that does not work.
    """
    if not plan.fits:
        raise DoesNotFit(plan.reason, size_again(plan))
    if plan.throughput is None:
        raise UsageError(
            f"No speed is predicted on {plan.machine.name}, so nothing can be simulated there.",
            "Name a machine with GPUs: --on 8xH100",
        )
    if plan.parallel.data > 1:
        raise UsageError(
            "A replica with several copies of the attention is not simulated.",
            "Leave out --data-parallel-size, or plan without it.",
        )
    options = options_of(plan, traffic.mean_input, traffic.mean_output)
    machine = linked(on(plan.machine.name), options.gpu_link)
    size = ServerSize(ServerSizes(Promise(), traffic), Case(subject_of(plan), machine, options))
    if size.outcome.verdict == "does not fit":
        raise DoesNotFit(f"As that plan is served it does not fit on {plan.machine.name}.", size_again(plan))
    return Replica(size, size.room(plan.serve.max_num_seqs or size.outcome.knobs.max_num_seqs), api())


def image_tokens_of(plan: Plan) -> int:
    """Tokens that the images of each request are, which come on top of its words."""
    asked = plan.further and plan.further.images_per_request
    return image_tokens(subject_of(plan), asked_for(plan)) if asked else 0


def subject_of(plan: Plan) -> SizedModel:
    """The model that it serves."""
    if plan.model in models():
        return named(plan.model, plan.precision)
    return stored(plan.serve.model, plan.vllm_version)


def options_of(plan: Plan, input_tokens: int, output_tokens: int) -> Options:
    """What the plan says, all of it fixed, for requests of those lengths."""
    said, split = plan.serve, plan.parallel
    return asked_for(plan).model_copy(
        update={
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "tensor_parallel_size": split.tensor,
            "pipeline_parallel_size": split.pipeline,
            "data_parallel_size": split.data,
            "enable_expert_parallel": split.expert,
            "max_model_len": said.max_model_len,
            "max_num_seqs": said.max_num_seqs,
            "max_num_batched_tokens": said.max_num_batched_tokens,
            "gpu_memory_utilization": said.gpu_memory_utilization,
            "kv_cache_memory_bytes": said.kv_cache_memory_bytes,
            "language_model_only": said.language_model_only,
        }
    )


def api() -> Api:
    """The API process, as far as it is known."""
    figures = shipped_table("serving.simulation", "api_process.toml")["api"]
    request_s, step_s, token_s = (figures[name] / 1e3 for name in ("request_ms", "step_ms", "token_ms"))
    beside_s = max(0.0, asked_s() - request_s - step_s - token_s)
    return Api(request_s, step_s, token_s, beside_s)


def api_basis() -> str:
    """Where its figures are from."""
    return str(shipped_table("serving.simulation", "api_process.toml")["api"]["basis"])


def machines(plan: Plan, replicas: int) -> int:
    """How many machines that many replicas take."""
    gpus = plan.parallel.tensor * plan.parallel.pipeline * plan.parallel.data
    return ceil(replicas / max(1, plan.machine.gpu_count // gpus))
