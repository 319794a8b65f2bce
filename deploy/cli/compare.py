"""`corral compare`: what a million tokens costs here, next to the Claude API."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    plan: Annotated[Path, typer.Option(help="plan.json, from corral size.")],
    probe: Annotated[
        Path | None,
        typer.Option(help="probe.json, from corral probe. Without it: the plan's own prediction."),
    ] = None,
    claude_model: Annotated[
        list[str] | None,
        typer.Option(help="Good enough for the work; repeatable. The cheapest decides."),
    ] = None,
    utilisation: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    mtok_per_month: Annotated[
        float | None, typer.Option(help="Instead: millions of tokens a month, in and out.")
    ] = None,
    price_per_hour: Annotated[float | None, typer.Option(help="USD, one machine.")] = None,
    capex_usd: Annotated[float | None, typer.Option(help="Price of an owned one.")] = None,
    hours_per_month: float | None = None,
    replicas: Annotated[int | None, typer.Option(help="Machines kept up.")] = None,
    ops_fte: Annotated[float | None, typer.Option(help="Full-time jobs.")] = None,
    usd_per_fte_year: float | None = None,
    storage_gb: float | None = None,
    usd_per_storage_gb_month: float | None = None,
    egress_gb: Annotated[float | None, typer.Option(help="A month.")] = None,
    usd_per_egress_gb: float | None = None,
    other_usd_per_month: float | None = None,
    life_years: Annotated[float | None, typer.Option(help="Owned machine.")] = None,
    residual_fraction: Annotated[float | None, typer.Option(help="Owned machine.")] = None,
    power_kw: float | None = None,
    pue: float | None = None,
    usd_per_kwh: float | None = None,
    hosting_usd_per_month: Annotated[float | None, typer.Option(help="Owned.")] = None,
    token_ratio: Annotated[float | None, typer.Option(help="Claude tokens per Llama 4 token.")] = None,
    content: Annotated[
        str | None,
        typer.Option(help="english, verse, python, c, json, chinese: sets the ratio."),
    ] = None,
    claude_output_ratio: Annotated[float, typer.Option(help="Length of Claude's answer over Llama's.")] = 1.0,
    cache_read_fraction: Annotated[float, typer.Option(help="Of the prompt.")] = 0.0,
    cache_write_fraction: Annotated[float, typer.Option(help="Of the prompt.")] = 0.0,
    batch: Annotated[bool, typer.Option("--batch", help="Batches API.")] = False,
    us_only: Annotated[bool, typer.Option("--us-only")] = False,
    claude_share: Annotated[float | None, typer.Option(help="Share of tokens sent to Claude.")] = None,
    escalation: Annotated[float, typer.Option(help="Share of ours asked again there.")] = 0.0,
    allow_invalid: Annotated[bool, typer.Option("--allow-invalid", help="Use an invalid probe.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.json and report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """What a million tokens costs on this machine, kept up all month, next to Claude: break-even, or never."""
    given = dict(locals())
    from deploy.costs.ask_compare import question_of, read
    from deploy.costs.compare import compare
    from deploy.report import folder
    from deploy.report.comparison_text import comparison_text
    from infra.day import today
    from infra.say import emit, progress

    documents = read(plan, probe)
    found = compare(*documents, question_of(given), today())
    if output:
        progress(f"report written to {folder.write(output, *documents, found)}")
    emit(found, comparison_text(found), as_json)
