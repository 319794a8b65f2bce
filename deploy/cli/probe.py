"""`corral probe`: put a load on an endpoint and say what it delivers, and how wrong the clock was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from serving.probe.report import ProbeReport


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

AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@app.command("run")
def run(
    url: Annotated[str, typer.Argument(help="Of an OpenAI-compatible server, e.g. http://127.0.0.1:8000")],
    concurrency: Annotated[
        int | None, typer.Option(help="Closed loop: this many requests at any time.")
    ] = None,
    request_rate: Annotated[float | None, typer.Option(help="Open loop: Poisson arrivals a second.")] = None,
    requests: Annotated[int | None, typer.Option(help="How many requests.")] = None,
    input_tokens: Annotated[str, typer.Option(help="N, or A-B (uniform), or MEAN~SD (normal).")] = "512",
    output_tokens: Annotated[str, typer.Option(help="As --input-tokens.")] = "128",
    goodput: Annotated[
        list[str] | None, typer.Option(help="Limits in ms, as ttft:500, tpot:50; repeatable.")
    ] = None,
    api: Annotated[str, typer.Option(help="completions, chat, or messages (Anthropic).")] = "completions",
    model: Annotated[str | None, typer.Option(help="Default: the first the server lists.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="The file that holds the server's key.")] = None,
    api_key_variable: Annotated[
        str, typer.Option(help="The environment variable that holds it.")
    ] = "CORRAL_API_KEY",
    ca_file: Annotated[Path | None, typer.Option(help="Certificates to trust, PEM.")] = None,
    seed: Annotated[int, typer.Option(help="Makes prompts and schedule repeatable.")] = 0,
    timeout_s: Annotated[float, typer.Option(help="For one request.")] = 600.0,
    output: Annotated[Path | None, typer.Option(help="Folder for results.jsonl and probe.json.")] = None,
    as_json: AsJson = False,
) -> int:
    """Put a load on an endpoint and report what it delivers. `corral probe URL` is short for `corral probe run URL`."""
    from deploy.cli.output import emit, progress
    from serving.probe import ask
    from serving.probe.run import run as probe
    from serving.probe.text import progress_line, report_text

    target = ask.target_of(url, api, model, api_key_file, api_key_variable, ca_file)
    load = ask.load_of(concurrency, request_rate, requests, seed=seed, timeout_s=timeout_s)
    workload = ask.workload_of(input_tokens, output_tokens, seed=seed)
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
    as_json: AsJson = False,
) -> None:
    """Compute the report again from raw results."""
    from deploy.cli.output import emit
    from serving.probe.metrics import report as report_of
    from serving.probe.results import read
    from serving.probe.text import report_text

    path = results / "results.jsonl" if results.is_dir() else results
    made = report_of(*read(path))
    emit(made, report_text(made, path.parent), as_json)


def dated_folder() -> Path:
    """Where results go when the user named no folder."""
    from datetime import datetime

    from deploy.deployment import home

    return home() / "probes" / datetime.now().strftime("%Y-%m-%dT%H%M%S")


def judged(report: "ProbeReport") -> int:
    """The exit code of a run whose report is already printed; what is wrong with it goes to stderr."""
    from deploy.cli.output import fail
    from infra.errors import EndpointError, Interrupted, ProbeInvalid

    if report.interrupted:
        return fail(Interrupted("Interrupted; the report is of what was measured until then."), as_json=False)
    if report.succeeded == 0:
        return fail(EndpointError("No request succeeded.", "The report says how they failed."), as_json=False)
    if not report.valid:
        why = report.invalid_because[0]
        return fail(
            ProbeInvalid(f"This result must not be used: {why}.", "Run it on a free machine."), as_json=False
        )
    return 0
