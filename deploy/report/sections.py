"""PURE: what a report holds below its answer, in its order: the page and the Markdown are made of the same."""

from typing import NamedTuple

from deploy.costs.claude_names import named
from deploy.costs.comparison import Comparison, FourBits
from deploy.report import decision, tables
from deploy.report.class_tables import class_tables
from deploy.report.tables import Table
from infra.money import count
from serving.probe.report import ProbeReport
from serving.sizing.carried import Carried
from serving.sizing.plan import Plan

VOLUME = (
    "Both axes are logarithmic. The bands are the range of the token ratio; a dot is a break-even the machine can "
    "reach; its line ends where it can serve no more."
)
SENSITIVITY = (
    "Against {against}. A bar goes from end to end of one figure's range, all others as they were taken; beyond "
    "“fully busy” it is impossible."
)
SAME_TEXTS = (
    "Per million Llama 4 tokens' worth of text, input and output at the mix of the {mix}. Claude cuts the same text "
    "into more tokens; the range is of that ratio. “likely”: that it is cheaper here."
)

FOUR_BITS = "What four bits cost of the answers"


class Plotted(NamedTuple):
    """A plot, by the name it has among all (plots.every), and what is said below it."""

    name: str
    caption: str = ""


class Section(NamedTuple):
    """What stands under one heading."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    plots: tuple[Plotted, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def first_page(comparison: Comparison) -> tuple[Section, ...]:
    """What is to be signed: it stands below the verdict, on one sheet with it."""
    promise = comparison.carries
    return (
        *(
            (Section(decision.PROMISE, tables=(decision.promise_table(promise, comparison),)),)
            if promise
            else ()
        ),
        Section(decision.DECISION, tables=(decision.decision_table(comparison), decision.signatures())),
    )


def sections(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> tuple[Section, ...]:
    """All there are behind the first page."""
    every = (
        Section(
            "The month", tables=(tables.month_table(comparison.month), tables.elsewhere_table(comparison))
        ),
        Section(change_title(comparison), points=comparison.what_would_change_it),
        *((four_bits(comparison.four_bits),) if comparison.four_bits else ()),
        Section("What it costs against volume", plots=(Plotted("volume", VOLUME),)),
        Section(
            "Here, by utilisation",
            plots=(Plotted("utilisation", "The machine costs the same whether it is asked or not."),),
            tables=(tables.own_table(comparison),),
        ),
        Section(
            "Claude on the same texts",
            tables=(tables.claude_table(comparison),),
            notes=(SAME_TEXTS.format(mix="probe" if probe else "plan"),),
        ),
        *some("The same model served by others", tables.hosted_table(comparison)),
        Section("By class and team", tables=class_tables(comparison)),
        *some("A part at Claude, the rest here", tables.hybrid_table(comparison)),
        Section(
            "How much each doubtful figure moves it",
            plots=(Plotted("sensitivity", SENSITIVITY.format(against=comparison.break_even.against)),),
            tables=(tables.swing_table(comparison),),
        ),
        Section("What was measured and what was not", tables=(tables.grounds_table(comparison),)),
        machine(plan),
        *((measured(probe, comparison),) if probe else ()),
        Section("Everything it rests on", tables=(tables.assumption_table(comparison),)),
    )
    return tuple(each for each in every if any(each[1:]))


def some(heading: str, table: Table | None) -> tuple[Section, ...]:
    """A section of one table, where there is one."""
    return (Section(heading, tables=(table,)),) if table else ()


def title(comparison: Comparison) -> str:
    """What is compared with what, as everything that shows it begins."""
    models = (model for side in comparison.claude for model in side.models or (side.model,))
    whose = "the Claude API" if any(named(model).platform is None for model in models) else "Claude"
    return f"{comparison.model} {comparison.precision} on {comparison.machine} against {whose}"


def change_title(comparison: Comparison) -> str:
    """What stands above what would turn the answer: where that is a yes, it is only more of the same."""
    return "Beside that" if comparison.answer == "cheaper" else "What would change it"


def four_bits(found: FourBits) -> Section:
    """What is known of the answers, with where it is from."""
    return Section(FOUR_BITS, paragraphs=(found.note,), notes=found.sources)


def machine(plan: Plan) -> Section:
    """What serves, and what is predicted of it."""
    what = f"{plan.machine.gpu_count}x {plan.machine.gpu}" if plan.machine.gpu_count else "No GPU"
    split = f"tensor {plan.parallel.tensor}, pipeline {plan.parallel.pipeline}, data {plan.parallel.data}"
    basis = f"{plan.throughput.basis}; the truth is thought to lie in the band." if plan.throughput else ""
    return Section(
        "The machine",
        paragraphs=(
            f"{what}, vLLM {plan.vllm_version}, {split}. {plan.reason}",
            *((carried(plan.carried),) if plan.carried else ()),
        ),
        plots=(Plotted("throughput", basis), Plotted("memory")),
    )


def carried(plan: Carried) -> str:
    """The traffic that a capacity plan was made for, and its machines."""
    traffic = plan.traffic
    spare = f", {plan.spare_machines} spare" if plan.spare_machines else ""
    servers = f"{plan.servers} server{'' if plan.servers == 1 else 's'}"
    rates = f"{traffic.requests_per_s:.3g} requests/s, {traffic.peak_requests_per_s:.3g} at peak"
    return f"Planned for {rates}, {traffic.lengths}: {plan}{spare}, {servers}."


def measured(probe: ProbeReport, comparison: Comparison) -> Section:
    """What the probe measured, and how far its clock can be trusted."""
    client = probe.client
    said = (
        f"{probe.succeeded} of {probe.sent} requests succeeded in {probe.duration_s:.1f} s: "
        f"{probe.output_tokens_per_s:.1f} output tokens/s over the whole run, ramp and drain included. The dollars are "
        f"from {count(comparison.speed.output_tokens_per_s)}/s: {comparison.speed.how}. The clock: stamps by the "
        f"{client.stamps}, at most {1000 * client.max_lag_s:.1f} ms late."
    )
    return Section(
        "What the probe measured",
        paragraphs=(said,),
        plots=(Plotted("latency"),),
        notes=tuple(probe.warnings),
    )
