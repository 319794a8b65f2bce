"""`corral size`: which machine holds the model, how fast, at what price."""

from pathlib import Path
from typing import Annotated

import typer


def size(
    model: Annotated[
        str, typer.Argument(help="scout, maverick, a checkpoint folder, or OWNER/NAME on the Hub.")
    ],
    on: Annotated[
        str | None,
        typer.Option(
            help="EC2 type, COUNTxGPU (2xA100-80GB), or local. Without it: every machine that fits."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp8, int4 or nvfp4. Without it: the best that fits.")
    ] = None,
    input_tokens: Annotated[int, typer.Option(help="Tokens of a prompt.")] = 1000,
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 1000,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 16,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="GPUs that share each layer: 1, 2, 4 or 8.")
    ] = None,
    pipeline_parallel_size: Annotated[
        int | None, typer.Option(help="Stages of layers; two hosts are two stages.")
    ] = None,
    data_parallel_size: Annotated[
        int | None, typer.Option(help="Copies of the attention; they share the experts.")
    ] = None,
    enable_expert_parallel: Annotated[
        bool, typer.Option("--enable-expert-parallel", help="Whole experts to each GPU.")
    ] = False,
    max_model_len: Annotated[int | None, typer.Option(help="Longest request, in tokens.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Requests running at once.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Tokens in one step.")] = None,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(help="Share of a GPU that vLLM may take.")
    ] = None,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, or fp8.")] = "auto",
    kv_cache_memory_bytes: Annotated[
        str | None, typer.Option(help="KV cache of a GPU, as 8G or 8.5g; no profile is made then.")
    ] = None,
    disable_hybrid_kv_cache_manager: Annotated[
        bool, typer.Option("--disable-hybrid-kv-cache-manager", help="Whole context in every layer.")
    ] = False,
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="No CUDA graphs.")] = False,
    language_model_only: Annotated[
        bool,
        typer.Option("--language-model-only", help="Text only: the vision tower is not loaded."),
    ] = False,
    dtype: Annotated[str, typer.Option(help="Activations; FP32 only on a machine without a GPU.")] = "auto",
    vllm_version: Annotated[
        str | None, typer.Option(help="Whose rules to use; default: the newest examined.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="AWS region of the price.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how every number follows.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw memory and throughput: a .png or .svg file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the plan to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> int:
    """Which machines hold the model, with which settings, how fast, at what price. Exit 0: it fits. 3: it does not.

    The options with vLLM's names are handed on to `vllm serve`; what you leave out is chosen for you.
    """
    given = dict(locals())
    from infra.prices import trouble
    from infra.say import emit, progress, warn
    from serving.sizing.ask import bytes_typed, check_ranking, options_of
    from serving.sizing.show import plan_text, ranking_text
    from serving.sizing.size import answer_for, ranking_for

    options = options_of(given | {"kv_cache_memory_bytes": bytes_typed(kv_cache_memory_bytes)})
    precision = precision and precision.lower()
    warn(trouble())
    if on is None:
        check_ranking({"--output": output, "--plot": plot, "--explain": explain})
        ranking = ranking_for(model, precision, options)
        emit(ranking, ranking_text(ranking), json)
        return 0 if ranking.machines else 3
    plan = answer_for(model, precision, on, options)
    if output:
        plan.write(output)
        progress(f"plan written to {output}")
    if plot:
        from serving.sizing.plot import draw

        draw(plan, plot)
    text = plan_text(plan, output)
    if explain:
        from serving.sizing.explain import explained

        text += "\n\n" + explained(plan)
    emit(plan, text, json)
    return 0 if plan.fits else 3
