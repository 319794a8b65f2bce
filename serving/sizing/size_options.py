"""What may be asked of sizing: each option with its flag, default, check and help; what cannot be meant together."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from infra.argument import Word, pasted
from infra.asked import Asked, Flag, again, either, flag_names
from infra.aws.region import Region
from infra.errors import UsageError
from infra.hardware import Machine
from serving.model.models import PRECISIONS, Precision
from serving.sizing.sized_model import SizedModel, precisions
from serving.vllm.lora_modules import LoraOptions

LONGEST = 10_485_760
"""Tokens: Scout's context, the longest of any Llama 4."""
MOST_REQUESTS = 100_000
MOST_GPUS = 1024
MOST_MODULES = 100
KvDtype = Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"]
Dtype = Literal["auto", "bfloat16", "float16", "half", "float32", "float"]


def in_any_case(typed: str | None) -> str | None:
    """As corral writes it. Raises UsageError, with what is meant, for another name of so many bits."""
    said = typed and typed.lower()
    bits = re.search(r"(?<!\d)(?:4|8|16)(?!\d)", said or "")
    if said not in PRECISIONS and bits:
        raise UsageError(f"--precision {typed!r} is unknown.", OF_BITS[bits[0]])
    return said


OF_BITS = {
    "4": "Of 4 bits there are two: --precision int4 (w4a16) and --precision nvfp4",
    "8": "Of 8 bits there is fp8: --precision fp8",
    "16": "Of 16 bits there is bf16: --precision bf16",
}


Tokens = Annotated[int, Field(ge=1, le=LONGEST)]
Requests = Annotated[int, Field(ge=1, le=MOST_REQUESTS)]
Gpus = Annotated[int, Field(ge=1, le=MOST_GPUS)]


class PriceOptions(Asked):
    """Where a machine is rented, which sets its price."""

    heading: ClassVar[str] = "The machines"

    region: Region | None = None
    """AWS region of the prices."""


class PrecisionOptions(Asked):
    """The weights' precision."""

    heading: ClassVar[str] = "The machines"

    precision: Annotated[
        Precision | None,
        BeforeValidator(in_any_case),
        Field(description=f"Only this one: {either(PRECISIONS)}. [the best that fits]"),
    ] = None


class WhichMachine(PrecisionOptions):
    """The one machine that is asked about."""

    heading: ClassVar[str] = "The machines"

    on: str | None = None
    """EC2 type, COUNTxGPU (2xA100-80GB), or local. [every machine that fits]"""


class PlanOption(Asked):
    """The plan that is gone by."""

    plan: Path | None = None
    """The server's plan.json, from corral size, where no deployment is named."""


class CalibrateOptions(PlanOption):
    """What was measured with a plan's server, beside a probe of it."""

    server_log: Annotated[Path | None, Field(examples=["server.log"])] = None
    """The log of the server's start: it says the memory and the version."""

    def check(self, what: str | None, is_deployment: bool) -> None:
        """Raise UsageError where nothing that was measured is given, or no plan, or two."""
        if what is not None and not what.strip():
            raise UsageError(
                "The name of the probe is empty.", "For example: corral calibrate probe.json --plan plan.json"
            )
        if is_deployment and self.plan:
            raise UsageError(f"{what} has a plan of its own.", "Leave out --plan.")
        if not is_deployment and self.plan is None:
            raise UsageError(
                "--plan is missing: it says what was measured.",
                "Name the plan, or a deployment: corral calibrate probe.json --plan plan.json",
            )
        if what is None and self.server_log is None:
            raise UsageError(
                "Nothing that was measured is given: a probe, or the log of a server.",
                f"corral calibrate probe.json --plan {pasted(self.plan)}, or --server-log server.log",
            )


class AnswerOptions(Asked):
    """What is made of the answer, beside its text."""

    heading: ClassVar[str] = "The answer"

    output: Annotated[Path | None, Flag("--output -o")] = None
    """Also write the plan to this file."""
    plot: Path | None = None
    """Draw memory and throughput: a .png or .svg file."""
    explain: bool = False
    """Show how every number follows."""


class RecipeOptions(Asked):
    """What the plan hands to vLLM beside what is reckoned."""

    heading: ClassVar[str] = "The workload, and what vLLM is told"

    recipe: Annotated[tuple[Word, ...], Flag(metavar="<name>"), Field(max_length=20, examples=["tools"])] = ()
    """Options that go with the model, into the plan: tools, queue, and what else --explain tells; repeatable."""
    chat_template: Annotated[Path | None, Field(examples=["template.jinja"])] = None
    """A file with the chat template, in place of the model's own."""


class EngineOptions(Asked):
    """What of the engine moves both memory and speed, whatever the machine."""

    heading: ClassVar[str] = "The workload, and what vLLM is told"

    kv_cache_dtype: KvDtype = "auto"
    """auto, or fp8."""
    vllm_version: str | None = None
    """Whose rules to use; default: the newest examined."""


class FurtherOptions(Asked):
    """What requests bring beside their words, what is known of them before they come, and what the engine does more."""

    heading: ClassVar[str] = "The workload, and what vLLM is told"

    images_per_request: Annotated[
        str | None,
        Field(pattern=r"^[1-9][0-9]{0,2}(@[1-9][0-9]{0,4}x[1-9][0-9]{0,4})?$", examples=["2@1024x768"]),
    ] = None
    """Images beside the tokens of a prompt: N, each the largest there is, or N@WIDTHxHEIGHT."""
    prefix_cache_hit_rate: Annotated[float, Field(ge=0, le=0.99, examples=[0.5])] = 0.0
    """Share of a prompt's tokens that the prefix cache holds already."""
    enable_lora: bool = False
    """Adapters beside the weights."""
    max_loras: Annotated[int | None, Field(ge=1, le=1024, examples=[4])] = None
    """Adapters in one step. [1]"""
    max_lora_rank: Annotated[int | None, Field(ge=1, le=512, examples=[16])] = None
    """The largest rank of an adapter. [16]"""
    lora_target_modules: Annotated[tuple[Word, ...], Field(max_length=MOST_MODULES)] = ()
    """A module that has adapters, as experts; repeatable. [every one]"""
    gpu_link: Literal["nvlink", "pcie"] | None = None
    """How the GPUs of your own machine reach each other. [as they usually do]"""
    cpu_offload_gb: Annotated[float, Field(ge=0, le=4096, examples=[10])] = 0.0
    """GiB of each GPU's weights that stay in the machine's RAM, and are read over PCIe in each step."""

    speculative_config: Annotated[
        str | None,
        Flag(metavar="<json>"),
        Field(max_length=4096, examples=['\'{"method": "ngram", "num_speculative_tokens": 3}\'']),
    ] = None
    """How tokens are proposed, as vLLM takes it: method, model (a folder or OWNER/NAME), num_speculative_tokens."""
    acceptance_length: Annotated[float | None, Field(ge=1, le=129, examples=[2.4])] = None
    """Tokens that a request gets of a step with them. [as measured of a draft that is known, else 1]"""

    @property
    def tokens_of_each(self) -> int:
        """Of a request that decodes, in a step: those that are proposed, and the sampled one."""
        if self.speculative_config is None:
            return 1
        from serving.model.speculation import speculation

        return 1 + speculation(self.speculative_config).tokens

    @property
    def has_adapters(self) -> bool:
        """Whether any are to be served."""
        return self.enable_lora

    @property
    def lora_slots(self) -> tuple[int, int]:
        """Slots, and their rank; (0, 0) without adapters."""
        return (self.max_loras or 1, self.max_lora_rank or 16) if self.enable_lora else (0, 0)

    @model_validator(mode="after")
    def what_is_of_adapters_needs_them(self) -> Self:
        """As vLLM ignores it otherwise. Raises UsageError."""
        for field in ("max_loras", "max_lora_rank", "lora_target_modules"):
            if getattr(self, field) and not self.has_adapters:
                raise UsageError(f"{flag_names(type(self), field)[0]} is of adapters.", "Add --enable-lora.")
        return self

    @model_validator(mode="after")
    def what_is_of_drafts_is_as_vllm_takes_it(self) -> Self:
        """Raise UsageError."""
        if self.speculative_config is not None:
            from serving.model.speculation import speculation

            speculation(self.speculative_config)
        elif self.acceptance_length is not None:
            raise UsageError(
                "--acceptance-length is of proposed tokens.",
                """Add --speculative-config '{"method": "ngram", "num_speculative_tokens": 3}'""",
            )
        return self


class Options(PriceOptions, EngineOptions, FurtherOptions, LoraOptions):
    """What the user fixed, under vLLM's names, and the workload. None leaves it to the planner."""

    heading: ClassVar[str] = "The workload, and what vLLM is told"

    input_tokens: Tokens = 1000
    """Tokens of a prompt; 2k and 2K are both 2,000."""
    output_tokens: Tokens = 1000
    """Tokens of an answer."""
    concurrency: Requests = 16
    """Requests at once."""
    tensor_parallel_size: Annotated[Gpus | None, Field(examples=[8])] = None
    """GPUs that share each layer: 1, 2, 4 or 8."""
    pipeline_parallel_size: Annotated[Gpus | None, Field(examples=[2])] = None
    """Stages of layers; two hosts are two stages."""
    data_parallel_size: Annotated[Gpus | None, Field(examples=[8])] = None
    """Copies of the attention; they share the experts."""
    enable_expert_parallel: bool = False
    """Whole experts to each GPU."""
    max_model_len: Annotated[Tokens | None, Flag(unit="vllm"), Field(examples=[32768])] = None
    """Longest request, in tokens, as vLLM reads it: 128k is 128,000, 128K 131,072."""
    max_num_seqs: Annotated[Requests | None, Flag(unit="vllm"), Field(examples=[256])] = None
    """Requests running at once."""
    max_num_batched_tokens: Annotated[Tokens | None, Flag(unit="vllm"), Field(examples=[8192])] = None
    """Tokens in one step."""
    gpu_memory_utilization: Annotated[float | None, Field(gt=0, le=1, examples=[0.92])] = None
    """Share of a GPU that vLLM may take."""
    kv_cache_memory_bytes: Annotated[
        int | None, Flag(unit="vllm"), Field(ge=1, le=1 << 50, examples=["8G"])
    ] = None
    """KV cache of a GPU, as 8G or 8.5g; no profile is made then."""
    disable_hybrid_kv_cache_manager: bool = False
    """Whole context in every layer."""
    enforce_eager: bool = False
    """No CUDA graphs."""
    language_model_only: bool = False
    """Text only: the vision tower is not loaded."""
    dtype: Dtype = "auto"
    """Activations; FP32 only on a machine without a GPU."""

    @property
    def has_adapters(self) -> bool:
        """Whether any are to be served, by name or not."""
        return self.enable_lora or bool(self.lora)

    @property
    def request_tokens(self) -> int:
        """One whole request of the workload."""
        return self.input_tokens + self.output_tokens

    @model_validator(mode="after")
    def a_step_holds_what_is_proposed_to_each(self) -> Self:
        """As vLLM wants it beside adapters. Raises UsageError."""
        needed = (self.max_num_seqs or 0) * self.tokens_of_each
        if self.enable_lora and (self.max_num_batched_tokens or LONGEST) < needed:
            raise UsageError(
                f"--max-num-batched-tokens {self.max_num_batched_tokens} is less than --max-num-seqs "
                f"{self.max_num_seqs} x {self.tokens_of_each} tokens of a draft: beside adapters vLLM refuses that.",
                f"Raise the first to {needed}, or lower the second.",
            )
        return self

    @model_validator(mode="after")
    def a_step_holds_a_token_of_each(self) -> Self:
        """As vLLM wants it. Raises UsageError."""
        if (self.max_num_batched_tokens or LONGEST) < (self.max_num_seqs or 0):
            raise UsageError(
                f"--max-num-batched-tokens {self.max_num_batched_tokens} is less than --max-num-seqs "
                f"{self.max_num_seqs}: vLLM refuses that.",
                "Raise the first or lower the second.",
            )
        return self


def check_named(model_name: str) -> None:
    """Raise UsageError for a model without a name."""
    if not model_name.strip():
        raise UsageError("The model's name is empty.", "For example: corral size scout")


def check_context(subject: SizedModel, options: Options) -> None:
    """Raise UsageError when a request or --max-model-len is beyond the model, or one beyond the other."""
    limit = subject.architecture.max_position_embeddings
    length = options.max_model_len or limit
    if length > limit:
        raise UsageError(
            f"--max-model-len {length:,} is beyond {subject.title}, which ends at {limit:,} tokens.",
            f"Use at most {limit}.",
        )
    if options.request_tokens > length:
        raise UsageError(
            f"A request of {options.input_tokens:,} + {options.output_tokens:,} tokens is longer than "
            f"{'--max-model-len' if options.max_model_len else 'the model'}, {length:,}.",
            "Raise --max-model-len, or plan for shorter requests with --input-tokens and --output-tokens.",
        )


def check_further(machine: Machine, options: Options) -> None:
    """Raise UsageError for what no machine without a GPU is planned with, and for more weights than the RAM holds."""
    load = further_of(options)
    of_gpus = load and load.model_copy(update=dict.fromkeys(OF_DRAFTS) | (NO_SLOTS if options.lora else {}))
    if load and of_gpus and of_gpus != FurtherOptions() and machine.gpu is None:
        raise UsageError(
            f"{flag_names(FurtherOptions, changed(of_gpus))[0]} is planned for on GPUs; this machine has none.",
            f"Name GPUs: --on 8xH100{again(load)}",
        )
    if machine.ram_gib is not None and (said := too_much_in_ram(machine, options.cpu_offload_gb)):
        raise UsageError(f"{said}.", f"Make it less than {machine.ram_gib / machine.gpus_per_host:g}.")


def too_much_in_ram(machine: Machine, offloaded_gib: float) -> str | None:
    """Why so much of each GPU's weights cannot stay in the RAM; None where it can, or the RAM is not known."""
    gib, held = machine.gpus_per_host * offloaded_gib, machine.ram_gib
    if held is None or gib < held:
        return None
    return (
        f"--cpu-offload-gb {offloaded_gib:g} is {gib:,.4g} GiB for {machine.gpus_per_host} GPUs; "
        f"{machine.name} has {held:,.4g} GiB of RAM"
    )


NO_SLOTS: dict[str, object] = {
    field: FurtherOptions.model_fields[field].default
    for field in ("enable_lora", "max_loras", "max_lora_rank", "lora_target_modules")
}
"""What such a machine is planned with where it is asked for adapters by name."""
OF_DRAFTS = ("speculative_config", "acceptance_length")
"""What a machine without a GPU is planned with, too."""


def changed(further: FurtherOptions) -> str:
    """The first field that is not as its default."""
    return next(field for field, value in further if value != type(further).model_fields[field].default)


def further_of(options: Options) -> FurtherOptions | None:
    """What was asked of the requests beside their lengths; None where nothing was."""
    load = FurtherOptions(**{field: getattr(options, field) for field in FurtherOptions.model_fields})
    return None if load == FurtherOptions() else load


def check_precision(precision: str | None, model_name: str) -> None:
    """Raise UsageError for a precision that a known model is not published in."""
    published = precisions(model_name)
    if precision is not None and precision not in published:
        raise UsageError(
            f"corral knows no {precision} of {model_name}.", f"Use --precision {'|'.join(published)}."
        )


def check_ranking(*asked: Asked) -> None:
    """Raise UsageError for an option that needs one machine when every machine is ranked."""
    for options in asked:
        for field, value in options:
            if value:
                raise UsageError(
                    f"{flag_names(type(options), field)[0]} needs one machine.", "Name it: --on g5.12xlarge"
                )
