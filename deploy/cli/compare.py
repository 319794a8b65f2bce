"""`corral compare`: what a million tokens costs here, next to the Claude API."""

from pathlib import Path
from typing import Annotated

import typer

Own = "What the machine and its people cost"
There = "Claude's side"
Mix = "Hybrid"


def compare(
    plan: Annotated[Path, typer.Option(help="plan.json, from corral size.")],
    probe: Annotated[
        Path | None,
        typer.Option(help="probe.json, from corral probe. Without it: the plan's own prediction."),
    ] = None,
    claude_model: Annotated[
        list[str] | None,
        typer.Option(
            help="Good enough for the work; repeatable. The cheapest decides.", rich_help_panel=There
        ),
    ] = None,
    utilisation: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    mtok_per_month: Annotated[
        float | None, typer.Option(help="Instead: millions of tokens a month, in and out.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(help="USD, one machine.", rich_help_panel=Own)
    ] = None,
    capex_usd: Annotated[
        float | None, typer.Option(help="Price of an owned one.", rich_help_panel=Own)
    ] = None,
    hours_per_month: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    replicas: Annotated[int | None, typer.Option(help="Machines kept up.", rich_help_panel=Own)] = None,
    ops_fte: Annotated[float | None, typer.Option(help="Full-time jobs.", rich_help_panel=Own)] = None,
    usd_per_fte_year: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    storage_gb: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    usd_per_storage_gb_month: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    egress_gb: Annotated[float | None, typer.Option(help="A month.", rich_help_panel=Own)] = None,
    usd_per_egress_gb: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    other_usd_per_month: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    life_years: Annotated[float | None, typer.Option(help="Owned machine.", rich_help_panel=Own)] = None,
    residual_fraction: Annotated[
        float | None, typer.Option(help="Owned machine.", rich_help_panel=Own)
    ] = None,
    power_kw: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    pue: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    usd_per_kwh: Annotated[float | None, typer.Option(rich_help_panel=Own)] = None,
    hosting_usd_per_month: Annotated[float | None, typer.Option(help="Owned.", rich_help_panel=Own)] = None,
    token_ratio: Annotated[
        float | None, typer.Option(help="Claude tokens per Llama 4 token.", rich_help_panel=There)
    ] = None,
    content: Annotated[
        str | None,
        typer.Option(help="english, verse, python, c, json, chinese: sets the ratio.", rich_help_panel=There),
    ] = None,
    claude_output_ratio: Annotated[
        float, typer.Option(help="Length of Claude's answer over Llama's.", rich_help_panel=There)
    ] = 1.0,
    cache_read_fraction: Annotated[float, typer.Option(help="Of the prompt.", rich_help_panel=There)] = 0.0,
    cache_write_fraction: Annotated[float, typer.Option(help="Of the prompt.", rich_help_panel=There)] = 0.0,
    batch: Annotated[bool, typer.Option("--batch", help="Batches API.", rich_help_panel=There)] = False,
    us_only: Annotated[bool, typer.Option("--us-only", rich_help_panel=There)] = False,
    claude_share: Annotated[
        float | None, typer.Option(help="Share of tokens sent to Claude.", rich_help_panel=Mix)
    ] = None,
    escalation: Annotated[
        float, typer.Option(help="Share of ours asked again there.", rich_help_panel=Mix)
    ] = 0.0,
    allow_invalid: Annotated[bool, typer.Option("--allow-invalid", help="Use an invalid probe.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.json and report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """What a million tokens costs on this machine, kept up all month, next to Claude: break-even, or never."""
    given = dict(locals())
    from deploy.cli.output import emit, progress
    from deploy.costs.ask_compare import question_of, read
    from deploy.costs.compare import compare
    from deploy.report import folder
    from deploy.report.text import comparison_text
    from infra.clock import today

    documents = read(plan, probe)
    found = compare(*documents, question_of(given), today())
    if output:
        progress(f"report written to {folder.write(output, *documents, found)}")
    emit(found, comparison_text(found), as_json)
