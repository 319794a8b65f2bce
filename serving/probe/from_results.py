"""A report made again from raw results, and the other forms of it."""

from pathlib import Path

import orjson

from infra.errors import UsageError
from infra.output import write_form
from serving.probe.exports import csv_text, vllm_bench
from serving.probe.metrics import Figures
from serving.probe.report import ProbeReport
from serving.probe.results import read, results_path
from serving.probe.samples import collect


def report_from_results(
    results: Path, html: Path | None = None, csv: Path | None = None, bench: Path | None = None
) -> tuple[ProbeReport, Path]:
    """The report of a results file or its folder, and the file it was made from. Writes the forms asked for.

    Raises DocumentError for a file that holds no results, UsageError where a form would be written over them, over
    another, or over a file of another kind, HostError when one cannot be written.
    """
    path = results_path(results)
    taken = {path.resolve()}
    for form in (html, csv, bench):
        if form is not None and form.resolve() in taken:
            raise UsageError(f"{form} would be written over.", "Give each form a file of its own.")
        taken |= {form.resolve()} if form is not None else set()
    run, records = read(path)
    figures = Figures(run, collect(records))
    if csv is not None:
        write_form(csv, csv_text(read(path)[1]), "table of a probe's", mode=0o644)
    if bench is not None:
        text = orjson.dumps(vllm_bench(figures), option=orjson.OPT_INDENT_2).decode()
        write_form(bench, text + "\n", "result of vllm bench", mode=0o644)
    if html is not None:
        from serving.probe.page import page

        write_form(html, page(figures), "page", mode=0o644)
    return figures.report(), path
