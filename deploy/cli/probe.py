"""`corral probe`: put a load on an endpoint and say what it delivers, and how wrong the clock was."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.flags import Command, FirstVerb, Json, deployed, deployed_or_path
from serving.probe.endpoint_options import EndpointOptions
from serving.probe.probe_options import (
    FormOptions,
    JudgementOptions,
    LoadOptions,
    RunWorkloadOptions,
    SloOptions,
    WorkloadOptions,
)
from serving.probe.repeat_options import RepeatOptions
from serving.probe.sweep_options import SweepOptions

if TYPE_CHECKING:
    from deploy.targets.place import Status
    from infra.errors import CorralError
    from serving.probe.progress import Progress
    from serving.probe.repeats import Repeats
    from serving.probe.report import ProbeReport
    from serving.probe.spec import Target
    from serving.probe.sweep_report import Sweep
    from serving.vllm.endpoint import Endpoint


app = typer.Typer(
    cls=FirstVerb,
    rich_markup_mode=None,
    help="Measure an endpoint: `corral probe URL` puts a load on it; the other verbs work with its results.",
)

Url = Annotated[
    str,
    typer.Argument(
        help="Of an OpenAI-compatible server, or the NAME of a deployment.", autocompletion=deployed
    ),
]
Results = Annotated[
    str,
    typer.Argument(
        metavar="RESULTS|NAME",
        help="A results.jsonl, the folder that holds it, or the NAME of a deployment: of its newest probe.",
        autocompletion=deployed_or_path,
    ),
]


@app.command("run")
def run(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL",
            help="Of an OpenAI-compatible server, or the NAME of a deployment; several in turns.",
            autocompletion=deployed,
        ),
    ],
    load: LoadOptions,
    times: RepeatOptions,
    workload: RunWorkloadOptions,
    limits: SloOptions,
    endpoint: EndpointOptions,
    as_json: Json = False,
) -> int:
    """Put a load on an endpoint and report what it delivers. `corral probe URL` is short for `corral probe run URL`.

    Several endpoints, or --repeat, have several runs in turns, and the differences with what lies between runs.
    """
    from deploy.newest import dated_folder
    from deploy.probe_as_planned import lengths_of, load_as_planned
    from infra.say import emit, progress
    from serving.probe.probe_options import load_of, slo_of, trace_of, workload_of
    from serving.probe.report_text import progress_line, report_text
    from serving.probe.run import run as probe

    targets = [answering(url, endpoint) for url in urls]
    lengths = lengths_of(urls, workload, load.replay)
    asked = load_of(load_as_planned(urls, load, targets[0].servers), trace_of(load.replay))
    requests, *_ = [workload_of(workload, each.api, load.seed, load.replay, lengths) for each in targets]
    folder, slo = load.output or dated_folder("probes"), slo_of(limits.goodput)

    def watch(state: "Progress") -> None:
        progress(progress_line(state))

    if len(targets) > 1 or times.repeat > 1:
        from serving.probe.repeats import REPEATS, newest_folders, repeated, repeats_text

        made = repeated(targets, asked, requests, folder, slo, times.repeat, progress, watch)
        emit(made, repeats_text(made, folder), as_json)
        code = all_judged(made, folder / REPEATS, load.max_failed)
        for url, own in zip(urls, newest_folders(made, len(urls)), strict=True):
            if own is not None:
                note_newest(url, own)
        return code
    report = probe(targets[0], asked, requests, folder, slo, watch, progress)
    if report.succeeded and not report.results_lost:
        note_newest(urls[0], folder)
    emit(report, report_text(report, folder) + next_of(urls[0]), as_json)
    return judged(report, load.max_failed)


@app.command("report")
def report(
    results: Results,
    forms: FormOptions,
    judgement: JudgementOptions,
    as_json: Json = False,
) -> int:
    """Compute the report again from raw results; only the files asked for are written. It ends as the run did."""
    from deploy.by_name import newest_results
    from infra.say import emit
    from serving.probe.from_results import report_from_results
    from serving.probe.report_text import report_text

    made, path = report_from_results(newest_results(results), forms.html, forms.csv, forms.vllm_bench)
    emit(made, report_text(made, path.parent), as_json)
    return holding(made, path, judgement.max_failed)


class Groups(Command):
    """A verb whose arguments are two groups, which `--` divides; options may stand on either side of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the second group, which the parser would take for more of the first."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[SECOND] = [word for word in args[at + 1 :] if not word.startswith("--") or word == "--"]
            args = [*args[:at], *(word for word in args[at + 1 :] if word.startswith("--") and word != "--")]
        return super().parse_args(ctx, args)


SECOND = "corral.second-group"
"""Under which name a context keeps what stands behind `--`."""


@app.command("diff", cls=Groups)
def diff(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS|NAME",
            help="A run's results.jsonl or its folder, or a NAME; of groups the first, --, the second.",
            autocompletion=deployed_or_path,
        ),
    ],
    line: typer.Context,
    as_json: Json = False,
) -> None:
    """Compare two runs, or two groups of runs of which `--` divides the one from the other.

    Between groups the spread of their runs is the yardstick; one run against one tells only the noise within them.
    """
    from deploy.by_name import newest_results
    from infra.errors import UsageError
    from infra.say import emit
    from serving.probe.diff import diff_text, difference

    second = line.meta.get(SECOND)
    if second is None and len(runs) != 2:
        raise UsageError(
            f"{len(runs)} runs are no two groups.",
            "Divide them: corral probe diff a-1 a-2 a-3 -- b-1 b-2 b-3",
        )
    if second is not None and "--" in second:
        raise UsageError(
            "Two groups of runs are compared, and these are more.", "Compare them two at a time."
        )
    a, b = (runs, second) if second is not None else (runs[:1], runs[1:])
    differing = difference(list(map(newest_results, a)), list(map(newest_results, b)))
    emit(differing, diff_text(differing), as_json)


@app.command("sweep")
def sweep(
    url: Url,
    steps: SweepOptions,
    workload: WorkloadOptions,
    limits: SloOptions,
    endpoint: EndpointOptions,
    as_json: Json = False,
) -> int:
    """Find where throughput saturates or, with --goodput, the highest load that meets the limits.

    The answer says which it is: saturated, not saturated up to --limit, refused beyond, limited by the client.
    """
    from deploy.newest import dated_folder
    from deploy.probe_as_planned import lengths_of
    from infra.say import emit, progress, say
    from serving.probe.probe_options import slo_of, workload_of
    from serving.probe.report_text import progress_line
    from serving.probe.sweep import sweep as measure
    from serving.probe.sweep_report import SWEEP, sweep_text

    target = answering(url, endpoint)
    folder = steps.output or dated_folder("probes")
    measured = measure(
        target,
        steps,
        workload_of(workload, target.api, steps.seed, lengths=lengths_of([url], workload)),
        folder,
        slo_of(limits.goodput),
        progress,
        lambda state: progress(progress_line(state)),
    )
    emit(measured, sweep_text(measured, folder), as_json)
    code = swept(measured, folder)
    if (folder / SWEEP).is_file():
        note_newest(url, folder)
    if not as_json and (step := next_of(url)):
        say(step.strip())
    return code


def note_newest(url: str, folder: Path) -> None:
    """Where the results of a deployment that was named are found by its name."""
    from deploy.newest import note
    from deploy.probe_as_planned import is_deployment

    if is_deployment(url):
        note("probes", url, folder)


def next_of(url: str) -> str:
    """The line after the results of a deployment that was named: its next step."""
    from deploy.next_step import next_line
    from deploy.probe_as_planned import is_deployment
    from deploy.targets.deployment import load

    return f"\n{next_line(load(url), 'serving')}" if is_deployment(url) else ""


def answering(url: str, endpoint: EndpointOptions) -> "Target":
    """At whom: a URL or, by its name, a deployment where it answers, and what it was planned for."""
    from deploy.line import status
    from deploy.probe_as_planned import is_deployment
    from deploy.targets.deployment import NAME_PATTERN, load, names
    from infra.errors import EndpointError, UsageError
    from serving.probe.endpoint_options import target_of

    if not is_deployment(url):
        if NAME_PATTERN.fullmatch(url):
            raise UsageError(
                f"{url!r} is neither a deployment here nor the URL of a server.",
                f"Deployments here: {', '.join(names()) or 'none'}; a server is, for example, http://127.0.0.1:8000",
            )
        return target_of(url, endpoint)
    deployment = load(url)
    current = status(deployment)
    before_all = before_all_replicas(current)
    asked, ca_file = before_all or (current.endpoint, None)
    if asked is None:
        raise EndpointError(f"{url} answers nowhere: {current.detail}", f"Start it: corral serve {url}")
    stated = {
        "model": endpoint.model or (asked.served_model_name,),
        "api_key_file": endpoint.api_key_file or asked.api_key_file,
        "ca_file": endpoint.ca_file or ca_file,
    }
    serving = [each for each in current.endpoints if each.state == "serving"]
    planned = {
        "machine": deployment.plan.machine.name,
        "precision": deployment.plan.precision,
        "servers": max(1, len(serving)) if before_all else 1,
    }
    target = target_of(asked.base_url, endpoint.model_copy(update=stated))
    return target.model_copy(update=planned)


def before_all_replicas(current: "Status") -> "tuple[Endpoint, Path | None] | None":
    """The gateway before several replicas, and what to trust there; None where one server is asked, which is said."""
    from deploy.gateway import gateway, probe_key
    from infra.say import notice, progress

    count, name = len(current.endpoints), current.name
    served = [each.endpoint for each in current.endpoints if each.endpoint]
    base_url = gateway.address(name) if served else None
    if base_url is None:
        if current.endpoint and count:
            only = next(each.name for each in current.endpoints if each.endpoint == current.endpoint)
            notice(f"probe: {only} alone, of {count} replicas; before all of them: corral gateway {name}")
        return None
    progress(f"probe: {name}'s gateway, before {count} replicas, with a key of its own")
    there = served[0].model_copy(update={"base_url": base_url, "api_key_file": probe_key.file(name)})
    return there, gateway.status(name).ca_file


def swept(measured: "Sweep", folder: Path) -> int:
    """Keep a sweep that is already printed, so that a full disk cannot lose it; its exit code."""
    from infra.errors import CorralError, EndpointError, HostError, Interrupted, ProbeInvalid
    from infra.say import Told, fail
    from serving.probe.spoiled import where_to_look
    from serving.probe.sweep import keep
    from serving.probe.sweep_report import SPOILED

    error: CorralError | None = None
    try:
        keep(measured, folder)
    except HostError as full:
        return Told(fail(full, as_json=False))
    if measured.answer == "interrupted":
        error = Interrupted("Interrupted; the steps until then are kept.")
    elif measured.answer == "ended_early":
        why = f"The sweep ended early; the steps until then are kept: {measured.reason}"
        error = EndpointError(why, "Look at the server's log.")
    elif measured.answer in SPOILED.values():
        found = {
            "buffered_on_the_way": "what stands between, not the server",
            "tokens_do_not_add_up": "tokens that do not add up, not the server's limit",
        }.get(measured.answer, "the probe's own limit, not the server's")
        causes = [each.spoiled_by for each in measured.points if each.verdict == measured.answer]
        why = f"The sweep found {found}: {measured.reason}."
        error = ProbeInvalid(why, where_to_look(causes[0] if causes else ()))
    elif measured.answer == "refused_beyond" and measured.best is None:
        why = f"No load tried is served: {measured.reason}."
        error = EndpointError(why, "Look at the server's log.")
    return Told(fail(error, as_json=False)) if error else 0


def holding(report: "ProbeReport", path: Path, max_failed: float) -> int:
    """The exit code of a report made again: that of the run, but for what the file has no part of."""
    from infra.argument import pasted
    from infra.errors import ProbeInvalid
    from infra.say import Told, fail

    error = against(report, max_failed)
    if not report.succeeded:
        why = f"{path} holds no request that succeeded, so there is nothing to measure."
        error = ProbeInvalid(why, f"Probe again: corral probe {pasted(report.url)}")
    return Told(fail(error, as_json=False)) if error else 0


def judged(report: "ProbeReport", max_failed: float) -> int:
    """The exit code of a run whose report is already printed; what is wrong with it goes to stderr."""
    from infra.errors import CorralError, EndpointError, HostError, Interrupted
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
    else:
        error = against(report, max_failed)
    return Told(fail(error, as_json=False)) if error else 0


def against(report: "ProbeReport", max_failed: float) -> "CorralError | None":
    """What speaks against a report in which requests have succeeded."""
    from infra.errors import EndpointError, ProbeInvalid
    from serving.probe.spoiled import where_to_look

    if (failed := sum(report.errors.values())) > max_failed * (ended := report.sent - report.unfinished):
        why = f"{failed} of {ended} requests failed, more than {max_failed:.3g} of them (--max-failed)."
        return EndpointError(why, "The report says how they failed.")
    if not report.valid:
        why = report.invalid_because[0]
        return ProbeInvalid(f"This result must not be used: {why}.", where_to_look(report.spoiled_by))
    return None


def all_judged(made: "Repeats", path: Path, max_failed: float) -> int:
    """Keep runs that are already printed, so that a full disk cannot lose them; their exit code."""
    from infra.errors import CorralError, EndpointError, HostError, Interrupted, ProbeInvalid
    from infra.say import Told, fail
    from serving.probe.spoiled import where_to_look

    failing = next((each for each in made.runs if each.failed > max_failed * each.sent), None)
    spoiled = next((each for each in made.runs if not each.valid), None)
    error: CorralError | None = None
    try:
        made.write(path)
    except HostError as full:
        return Told(fail(full, as_json=False))
    if made.interrupted:
        error = Interrupted("Interrupted; the runs until then are kept.")
    elif made.ended_early is not None:
        why = f"It ended early; the runs until then are kept: {made.ended_early}"
        error = EndpointError(why, "Look at the server's log.")
    elif failing is not None:
        why = f"{failing.failed} of {failing.sent} requests of {failing.folder} failed, more than {max_failed:.3g} of"
        error = EndpointError(f"{why} them (--max-failed).", "Its report says how they failed.")
    elif spoiled is not None:
        why = f"A run must not be used, {spoiled.folder}: {spoiled.invalid_because[0]}."
        error = ProbeInvalid(why, where_to_look(spoiled.spoiled_by))
    return Told(fail(error, as_json=False)) if error else 0
