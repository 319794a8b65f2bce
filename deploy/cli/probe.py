"""`corral probe`: put a load on an endpoint and say what it delivers, and how wrong the clock was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from serving.probe.report import ProbeReport
    from serving.probe.sweep_report import Sweep


class UrlFirst(TyperGroup):
    """A group whose first word may be the URL itself: `corral probe URL` is `corral probe run URL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where it was left out."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=UrlFirst,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure an endpoint: `corral probe URL` puts a load on it; the other verbs work with its results.",
)

Url = Annotated[str, typer.Argument(help="Of an OpenAI-compatible server, or the NAME of a deployment.")]
InputTokens = Annotated[str, typer.Option(help="N, or A-B (uniform), or MEAN~SD (normal).")]
OutputTokens = Annotated[str, typer.Option(help="As --input-tokens.")]
PrefixTokens = Annotated[int, typer.Option(help="Tokens that all prompts share at their start.")]
Prompts = Annotated[
    Path | None,
    typer.Option(help="Your own: JSON lines with prompt, messages (chat) or input_tokens; output_tokens."),
]
Turns = Annotated[int, typer.Option(help="Of each conversation; chat only.")]
Images = Annotated[int, typer.Option(help="In each request; chat only.")]
ImageSize = Annotated[str, typer.Option(help="WIDTHxHEIGHT")]
IgnoreEos = Annotated[bool | None, typer.Option(help="Answer to the full length. Default: where it is vLLM.")]
ExtraBody = Annotated[str, typer.Option(help="JSON laid over every request's body; null removes a field.")]
Goodput = Annotated[
    list[str] | None,
    typer.Option(help="A limit in ms: ttft:500, tpot:50, itl: (the worst gap), e2el:; repeatable."),
]
Api = Annotated[str, typer.Option(help="completions, chat, or messages (Anthropic).")]
Model = Annotated[str | None, typer.Option(help="Default: the first the server lists.")]
ApiKeyFile = Annotated[Path | None, typer.Option(help="The file that holds the server's key.")]
ApiKeyVariable = Annotated[str, typer.Option(help="The environment variable that holds it.")]
CaFile = Annotated[Path | None, typer.Option(help="Certificates to trust, PEM.")]
Seed = Annotated[int, typer.Option(help="Makes prompts and schedule repeatable.")]
TimeoutS = Annotated[float, typer.Option(help="For one request.")]
StallTimeoutS = Annotated[
    float, typer.Option(help="For one request, without a byte; for all together 66 s, or 0.55 of it.")
]
Processes = Annotated[int, typer.Option(help="Processes that share the load.")]
Output = Annotated[Path | None, typer.Option(help="Folder for the results.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@app.command("run")
def run(
    url: Url,
    concurrency: Annotated[
        int | None, typer.Option(help="Closed loop: this many requests at any time.")
    ] = None,
    request_rate: Annotated[
        float | None, typer.Option(help="Open loop: this many a second; inf: all at once.")
    ] = None,
    burstiness: Annotated[
        float, typer.Option(help="1: Poisson; below: bursts; above: more even; inf: constant.")
    ] = 1.0,
    end_request_rate: Annotated[
        float | None, typer.Option(help="Move the rate to this one in --duration-s, evenly spaced.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="Open loop: a trace, JSON lines as --prompts, each with time_s or timestamp (in ms)."
        ),
    ] = None,
    requests: Annotated[int | None, typer.Option(help="How many requests.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Send for this long.")] = None,
    warmup_requests: Annotated[int, typer.Option(help="Sent before the clock starts.")] = 0,
    input_tokens: InputTokens = "512",
    output_tokens: OutputTokens = "128",
    prefix_tokens: PrefixTokens = 0,
    prompts: Prompts = None,
    turns: Turns = 1,
    images: Images = 0,
    image_size: ImageSize = "512x512",
    ignore_eos: IgnoreEos = None,
    per_chunk_usage: Annotated[bool, typer.Option(help="Let vLLM say the tokens of every chunk.")] = False,
    extra_body: ExtraBody = "",
    goodput: Goodput = None,
    api: Api = "completions",
    model: Model = None,
    api_key_file: ApiKeyFile = None,
    api_key_variable: ApiKeyVariable = "CORRAL_API_KEY",
    ca_file: CaFile = None,
    seed: Seed = 0,
    timeout_s: TimeoutS = 600.0,
    stall_timeout_s: StallTimeoutS = 120.0,
    processes: Processes = 1,
    kernel_stamps: Annotated[
        bool, typer.Option(help="Take receive times from the kernel, where it has them.")
    ] = True,
    compiled_reader: Annotated[
        bool, typer.Option(help="Read by a small C program, compiled at its first use, where cc is.")
    ] = True,
    output: Output = None,
    as_json: AsJson = False,
) -> int:
    """Put a load on an endpoint and report what it delivers. `corral probe URL` is short for `corral probe run URL`."""
    from infra.say import emit, progress
    from serving.probe import ask
    from serving.probe.report_text import progress_line, report_text
    from serving.probe.run import run as probe

    url, model, api_key_file = endpoint_of(url, model, api_key_file)
    target = ask.target_of(url, api, model, api_key_file, api_key_variable, ca_file)
    load = ask.load_of(
        concurrency,
        request_rate,
        requests,
        duration_s,
        burstiness,
        end_request_rate,
        ask.trace_of(replay),
        seed=seed,
        warmup_requests=warmup_requests,
        timeout_s=timeout_s,
        stall_timeout_s=stall_timeout_s,
        processes=processes,
        kernel_stamps=kernel_stamps,
        compiled_reader=compiled_reader,
    )
    workload = ask.workload_of(
        input_tokens,
        output_tokens,
        target.api,
        extra_body,
        image_size,
        prefix_tokens=prefix_tokens,
        prompts_file=prompts or replay,
        turns=turns,
        images=images,
        seed=seed,
        ignore_eos=ignore_eos,
        per_chunk_usage=per_chunk_usage,
    )
    folder = output or dated_folder()
    slo = ask.slo_of(goodput or [])
    report = probe(
        target, load, workload, folder, slo, lambda state: progress(progress_line(state)), progress
    )
    emit(report, report_text(report, folder), as_json)
    return judged(report)


@app.command("report")
def report(
    results: Annotated[Path, typer.Argument(help="A results.jsonl, or the folder that holds it.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write one line a request.")] = None,
    vllm_bench: Annotated[
        Path | None, typer.Option(help="Also write vllm bench serve's result fields.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Compute the report again from raw results; only the files asked for are written."""
    from infra.say import emit
    from serving.probe.from_results import report_from_results
    from serving.probe.report_text import report_text

    made, path = report_from_results(results, html, csv, vllm_bench)
    emit(made, report_text(made, path.parent), as_json)
    return holding(made, path)


@app.command("diff")
def diff(
    a: Annotated[Path, typer.Argument(help="A results.jsonl, or its folder.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Compare two runs, and say which differences are real."""
    from infra.say import emit
    from serving.probe.diff import diff_text, difference

    found = difference(a, b)
    emit(found, diff_text(found), as_json)


@app.command("sweep")
def sweep(
    url: Url,
    goodput: Goodput = None,
    attainment: Annotated[
        float, typer.Option(help="The share of requests that must meet the limits.")
    ] = 0.95,
    over: Annotated[str, typer.Option(help="What to raise: concurrency or rate.")] = "concurrency",
    start: Annotated[float, typer.Option(help="The first load.")] = 1.0,
    limit: Annotated[float, typer.Option(help="The highest load to try.")] = 4096.0,
    duration_s: Annotated[
        float, typer.Option(help="Of each step; a slow rate lasts for 10 requests.")
    ] = 30.0,
    input_tokens: InputTokens = "512",
    output_tokens: OutputTokens = "128",
    prefix_tokens: PrefixTokens = 0,
    prompts: Prompts = None,
    turns: Turns = 1,
    images: Images = 0,
    image_size: ImageSize = "512x512",
    ignore_eos: IgnoreEos = None,
    extra_body: ExtraBody = "",
    api: Api = "completions",
    model: Model = None,
    api_key_file: ApiKeyFile = None,
    api_key_variable: ApiKeyVariable = "CORRAL_API_KEY",
    ca_file: CaFile = None,
    seed: Seed = 0,
    timeout_s: TimeoutS = 600.0,
    processes: Processes = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> int:
    """Find where throughput saturates or, with --goodput, the highest load that meets the limits."""
    from infra.say import emit, progress
    from serving.probe import ask
    from serving.probe.report_text import progress_line
    from serving.probe.sweep import sweep as measure
    from serving.probe.sweep_report import sweep_text

    url, model, api_key_file = endpoint_of(url, model, api_key_file)
    target = ask.target_of(url, api, model, api_key_file, api_key_variable, ca_file)
    steps = ask.steps_of(over, start, limit, attainment, duration_s, timeout_s, processes, seed)
    workload = ask.workload_of(
        input_tokens,
        output_tokens,
        target.api,
        extra_body,
        image_size,
        prefix_tokens=prefix_tokens,
        prompts_file=prompts,
        turns=turns,
        images=images,
        seed=seed,
        ignore_eos=ignore_eos,
    )
    folder = output or dated_folder()
    found = measure(
        target,
        steps,
        workload,
        folder,
        ask.slo_of(goodput or []),
        progress,
        lambda state: progress(progress_line(state)),
    )
    emit(found, sweep_text(found, folder), as_json)
    return swept(found, folder)


def endpoint_of(
    url: str, model: str | None, api_key_file: Path | None
) -> tuple[str, str | None, Path | None]:
    """The same three or, where the URL is a deployment's name, what that deployment answers."""
    from deploy.targets.choose import place_of
    from deploy.targets.deployment import load, names
    from infra.errors import EndpointError

    if "/" in url or url not in names():
        return url, model, api_key_file
    deployment = load(url)
    found = place_of(deployment).status(deployment)
    if found.endpoint is None:
        raise EndpointError(f"{url} answers nowhere: {found.detail}", f"Start it: corral serve {url}")
    return (
        found.endpoint.base_url,
        model or found.endpoint.served_model_name,
        api_key_file or found.endpoint.api_key_file,
    )


def dated_folder() -> Path:
    """Where results go when the user named no folder: one that is not there yet."""
    from datetime import datetime

    from deploy.targets.deployment import home

    stem = home() / "probes" / datetime.now().strftime("%Y-%m-%dT%H%M%S.%f")
    return next(path for path in (stem, *(Path(f"{stem}-{n}") for n in range(2, 100))) if not path.exists())


def swept(found: "Sweep", folder: Path) -> int:
    """Keep a sweep that is already printed, so that a full disk cannot lose it; its exit code."""
    from infra.errors import EndpointError, HostError, Interrupted, ProbeInvalid
    from infra.say import Told, fail
    from serving.probe.sweep import keep

    try:
        keep(found, folder)
    except HostError as error:
        return Told(fail(error, as_json=False))
    if found.interrupted:
        return Told(fail(Interrupted("Interrupted; the steps until then are kept."), as_json=False))
    if found.refused:
        why = f"The sweep ended early; the steps until then are kept: {found.refused}"
        return Told(fail(EndpointError(why, "Look at the server's log."), as_json=False))
    invalid = [point for point in found.points if point.load == found.best and not point.valid]
    if invalid:
        why = f"The answer rests on a step that must not be used: see {invalid[0].folder}."
        return Told(fail(ProbeInvalid(why, "Run it on a free machine, or with --processes."), as_json=False))
    return 0


def holding(report: "ProbeReport", path: Path) -> int:
    """The exit code of a report made again: whether the file holds anything to report."""
    from infra.errors import ProbeInvalid
    from infra.say import Told, fail

    if report.succeeded:
        return 0
    why = f"{path} holds no request that succeeded, so there is nothing to measure."
    return Told(fail(ProbeInvalid(why, "Probe again: corral probe URL"), as_json=False))


def judged(report: "ProbeReport") -> int:
    """The exit code of a run whose report is already printed; what is wrong with it goes to stderr."""
    from infra.errors import CorralError, EndpointError, HostError, Interrupted, ProbeInvalid
    from infra.say import Told, fail

    error: CorralError | None = None
    if report.interrupted and not report.results_lost:
        error = Interrupted("Interrupted; the report is of what was measured until then.")
    elif report.results_lost:
        error = HostError(
            report.warnings[-1][:1].upper() + report.warnings[-1][1:] + ".", "Free some space: df -h"
        )
    elif report.succeeded == 0:
        error = EndpointError("No request succeeded.", "The report says how they failed.")
    elif not report.valid:
        why = report.invalid_because[0]
        error = ProbeInvalid(f"This result must not be used: {why}.", "Run it on a free machine.")
    return Told(fail(error, as_json=False)) if error else 0
