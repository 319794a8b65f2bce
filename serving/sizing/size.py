"""`corral size`: a subject on a machine as a Plan, and the machines that hold it, ranked."""

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from infra import offline
from infra.argument import pasted
from infra.asked import again
from infra.catalog import ec2_types, listed_gpus, machine
from infra.errors import EndpointError, HostError, UsageError
from infra.hardware import Machine, linked, owned
from infra.prices import DEFAULT_REGION, ON_DEMAND, HourlyPrice, price_of
from infra.record import Record
from serving.model import evaluations, lora
from serving.model.families import Family, check_version
from serving.model.models import Model, model, models
from serving.sizing.asked_adapters import check_machine, with_adapters
from serving.sizing.asked_draft import draft_of
from serving.sizing.asked_images import with_images
from serving.sizing.assemble import assemble, refused, workload
from serving.sizing.fit import Outcome, best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan, Price, Workload
from serving.sizing.predict import Predictor, predicted
from serving.sizing.size_options import Options, check_context, check_further, check_named, check_precision
from serving.sizing.sized_model import SizedModel, from_contents, from_table, named, precisions
from serving.sizing.this_machine import local_machine, unasked
from serving.vllm.versions import rules

OWNED_COUNTS = (1, 2, 4, 8)
MUCH_FASTER = 1.25
"""From so many times the tokens a second on another precision of the same machine is told."""


class Ranking(Record):
    """Every machine that holds the model, best first."""

    model: str
    """As it was asked for."""
    precision: str
    """That was asked for, or `any`."""
    workload: Workload
    """That speeds are predicted for."""
    machines: tuple[Plan, ...]
    """A plan for each machine and precision that fits, the cheapest first."""


def plan_stored(subject: SizedModel, machine_name: str, options: Options) -> Plan:
    """The plan of one checkpoint."""
    return plan(subject, on(machine_name), checked_for(subject.family, options), with_curve=True)


def answer_for(model_name: str, precision: str | None, machine_name: str, options: Options) -> Plan:
    """`corral size MODEL --on MACHINE`: MODEL is a known name, a checkpoint folder or a repository of the Hub."""
    check_named(model_name)
    if is_checkpoint(model_name):
        subject = stored(model_name, options.vllm_version)
        check_stored(precision, subject)
        return plan_stored(subject, machine_name, options)
    check_precision(precision, called(model_name).name)
    machine = on(machine_name)
    if machine.kind == "local" and machine.gpu is None and (there := unasked()):
        # A folder, such as the demo's toy, may be meant for the CPU all the same.
        by_name = f"Plan for them by name: corral size {model_name} --on {there.name}{again(options)}"
        raise HostError(there.sentence, by_name if there.name else there.hint)
    return answer(model_name, precision, machine, checked_for(model(model_name).family, options))


def ranking_for(model_name: str, precision: str | None, options: Options) -> Ranking:
    """`corral size MODEL`: every machine that holds it."""
    check_named(model_name)
    if is_checkpoint(model_name):
        raise UsageError(
            "A checkpoint is sized on one machine.",
            f"corral size {pasted(model_name)} --on local{again(options)}, or --on 8xH100",
        )
    check_precision(precision, called(model_name).name)
    if options.gpu_link:
        raise UsageError("--gpu-link is of one machine.", f"Name it: --on 2xRTX-A6000{again(options)}")
    return ranking(model_name, precision, checked_for(model(model_name).family, options))


def called(model_name: str) -> Model:
    """The model of that name. Raises UsageError for another, and for what its server calls it to its clients."""
    for known in models().values():
        if model_name == known.family.served_name.format(name=known.name) != known.name:
            raise UsageError(
                f"{model_name!r} is what a server of {known.name} is asked for, and no name of a model here.",
                f"Did you mean {known.name}?",
            )
    return model(model_name)


def checked_for(family: Family, options: Options) -> Options:
    """The options, or UsageError for a vLLM without that family."""
    check_version(family, options.vllm_version)
    return options


def is_checkpoint(model_name: str) -> bool:
    """Whether MODEL is a folder or a repository rather than a name we know."""
    return model_name not in models() and (is_folder(model_name) or is_repository(model_name))


def is_folder(model_name: str) -> bool:
    """Whether MODEL is meant as the path of a folder."""
    if model_name.startswith((".", "/", "~")) or model_name.count("/") > 1:
        return True
    try:
        return Path(model_name).is_dir()
    except OSError:  # longer than any name
        return False


def is_repository(model_name: str) -> bool:
    """Whether MODEL is meant as a repository of the Hub: OWNER/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", model_name) is not None


def stored(model_name: str, version: str | None) -> SizedModel:
    """A checkpoint folder, or a repository as the Hub tells of it; without the Hub, as corral's own table does."""
    from serving.model.checkpoint import read
    from serving.model.hub import read as read_repository

    name = Path(model_name).resolve().name
    if is_folder(model_name):
        return from_contents(read(Path(model_name), version), name)
    if offline.is_offline() and (listed := from_table(model_name, "--offline")):
        return listed
    try:
        return from_contents(read_repository(model_name, version), name)
    except EndpointError as error:
        if listed := from_table(model_name, error.message.rstrip(".")):
            return listed
        raise


def check_stored(precision: str | None, subject: SizedModel) -> None:
    """Raise UsageError when another precision was asked for than the checkpoint is stored in."""
    if precision not in (None, subject.precision):
        raise UsageError(
            f"{subject.repo} is stored in {subject.precision}, not {precision}.", "Leave out --precision."
        )


def plan(subject: SizedModel, machine: Machine, options: Options, with_curve: bool = False) -> Plan:
    """The plan of one subject on one machine, whether it fits or not."""
    case = case_of(subject, machine, options)
    return assemble(case, best_outcome(case), with_curve)


def case_of(subject: SizedModel, machine: Machine, options: Options) -> Case:
    """A subject on a machine. Raises UsageError for options that cannot be meant of them."""
    options = with_adapters(subject, options)
    seen = as_seen(subject, options)
    check_context(subject, seen)
    check_further(machine, options)
    check_machine(subject, machine, options)
    machine = linked(machine, options.gpu_link)
    if machine.gpu and options.dtype in ("float32", "float"):
        raise UsageError("On GPUs corral plans for 16-bit activations, not FP32.", "Leave out --dtype.")
    return Case(subject, machine, as_stored(subject, seen))


def as_seen(subject: SizedModel, options: Options) -> Options:
    """The options with what the model makes of them. Raises UsageError for images, adapters, drafts it cannot have."""
    options = with_adapters(subject, options)
    if options.enable_lora:
        rank = options.lora_slots[1]
        lora.check(subject.family, rules(options.vllm_version), rank, options.lora_target_modules)
    draft_of(subject, options)
    return with_images(subject, options)


def as_stored(subject: SizedModel, options: Options) -> Options:
    """The options with the KV cache that vLLM takes `auto` for, where the checkpoint says which."""
    if options.kv_cache_dtype != "auto" or subject.kv_cache_dtype == "auto":
        return options
    return options.model_copy(update={"kv_cache_dtype": subject.kv_cache_dtype})


def answer(model_name: str, precision: str | None, machine: Machine, options: Options) -> Plan:
    """The plan of a model on a machine; one that does not fit also says what would."""
    if precision is None:
        best = best_plan(model_name, machine, options)
    else:
        best = plan(named(model_name, precision), machine, options, with_curve=True)
    if best.fits:
        return best.model_copy(update={"notes": (*best.notes, *faster(best, machine, options))})
    return best.model_copy(update={"notes": (*best.notes, *alternatives(best, machine, options))})


def faster(best: Plan, machine: Machine, options: Options) -> tuple[str, ...]:
    """The precision that is fastest on that machine at that load, where it is much faster than the plan's."""
    if best.throughput is None or machine.gpu is None:
        return ()
    here = {precision: named(best.model, precision) for precision in precisions(best.model)}
    ways = {precision: way_that_works(subject, machine, options) for precision, subject in here.items()}
    speeds = {
        precision: (predicted(Predictor(*way), way[0].options), way[1].verdict)
        for precision, way in ways.items()
        if way and precision != best.precision
    }
    fastest = max(speeds, key=lambda each: speeds[each][0].output_tokens_per_s, default=None)
    if fastest is None:
        return ()
    speed, verdict = speeds[fastest]
    gain = speed.output_tokens_per_s / best.throughput.output_tokens_per_s
    if gain < MUCH_FASTER:
        return ()
    tightly = ", tightly" if verdict == "tight" else ""
    return (
        f"{fastest} fits here too{tightly}, and is {gain:.1f} times as fast (modelled): "
        f"{speed.output_tokens_per_s:,.0f} tokens/s, TTFT {speed.ttft_s:.2f} s"
        f"{evaluations.beside(here[fastest].repo, here[best.precision].repo, best.precision)}: "
        f"corral size {best.model} --precision {fastest} --on {machine.name}{again(options)}",
    )


def alternatives(failed: Plan, machine: Machine, options: Options) -> tuple[str, ...]:
    """What would fit instead: another precision here, more of the same GPU, or the cheapest EC2 types."""
    subjects = {precision: named(failed.model, precision) for precision in precisions(failed.model)}
    here = [p for p, subject in subjects.items() if fits(subject, machine, options)]
    lines = [
        f"On {machine.name} fits: {', '.join(here)}." if here else f"On {machine.name} no precision fits."
    ]
    subject = subjects[failed.precision]
    shapes = [owned(machine.gpu, count) for count in OWNED_COUNTS] if machine.gpu else []
    more = next((shape.name for shape in shapes if fits(subject, shape, options)), None)
    rented = in_order(on_ec2(subject, options))
    offers = [f"{plan.machine.name} ({cost})" for plan in rented if (cost := cost_of(plan))]
    enough = [*filter(None, [more]), *offers[:3]]
    return (*lines, f"{failed.precision} fits on: {', '.join(enough) or 'no machine corral knows'}.")


def fits(subject: SizedModel, machine: Machine, options: Options) -> bool:
    """Whether a subject works on a machine."""
    return way_that_works(subject, machine, options) is not None


def best_plan(name: str, machine: Machine, options: Options) -> Plan:
    """The most faithful precision of a known model that fits the machine, else the smallest one's refusal."""
    tried: list[Plan] = []
    for precision in precisions(name):
        made = plan(named(name, precision), machine, options, with_curve=True)
        if made.verdict == "fits":
            return made
        tried.append(made)
    fitting = (plan for plan in tried if plan.fits)
    return next(fitting, None) or min(tried, key=lambda plan: plan.weights_bytes)


def ranking(name: str, precision: str | None, options: Options) -> Ranking:
    """Every machine of the catalogue, and the smallest owned shape of each GPU, that holds the model."""
    chosen = (precision,) if precision else precisions(name)
    as_seen(named(name, chosen[0]), options)
    plans = [plan for wanted in chosen for plan in fitting(named(name, wanted), options)]
    plans = in_order(plans)
    return Ranking(
        model=name,
        precision=precision or "any",
        workload=plans[0].workload if plans else workload(options),
        machines=tuple(plans),
    )


def fitting(subject: SizedModel, options: Options) -> Iterable[Plan]:
    """The plans of a subject that fit, on EC2 and on the smallest owned shapes."""
    yield from on_ec2(subject, options)
    for gpu in listed_gpus():
        shapes = (plan_that_fits(subject, owned(gpu, count), options) for count in OWNED_COUNTS)
        smallest = next(filter(None, shapes), None)
        if smallest:
            yield smallest


def on_ec2(subject: SizedModel, options: Options) -> Iterable[Plan]:
    """The plans of a subject that fit an EC2 type."""
    plans = (plan_that_fits(subject, candidate, options) for candidate in ec2_types().values())
    return filter(None, plans)


def plan_that_fits(subject: SizedModel, machine: Machine, options: Options) -> Plan | None:
    """The plan of a subject on a machine that it works on, else None."""
    way = way_that_works(subject, machine, options)
    return assemble(*way, with_curve=False) if way else None


def way_that_works(subject: SizedModel, machine: Machine, options: Options) -> tuple[Case, Outcome] | None:
    """How a subject is run on a machine; None where it does not fit, or what was fixed does not suit the machine."""
    try:
        case = case_of(subject, machine, options)
        outcome = best_outcome(case)
    except UsageError:
        return None
    return (case, outcome) if refused(case) is None and outcome.verdict != "does not fit" else None


def in_order(plans: Iterable[Plan]) -> list[Plan]:
    """The plans, the best first.

    Where the region's price of some is not known, all are ranked by those of another: else the dearest may come first.
    """
    made = list(plans)
    if all(plan.price or not elsewhere(plan) for plan in made):
        return sorted(made, key=order)
    return sorted(made, key=lambda plan: order(plan, elsewhere(plan)))


def order(plan: Plan, price: HourlyPrice | None = None) -> tuple[bool, bool, Decimal, str, str]:
    """What can be rented by the hour first, then what is paid ahead, then what has no price; the cheapest first.

    By that price, or else by that of its region.
    """
    by = price or plan.price
    cost, ahead = (by.usd_per_hour, by.purchase != ON_DEMAND) if by else (Decimal(0), False)
    return by is None, ahead, cost, plan.machine.name, plan.precision


def elsewhere(plan: Plan) -> HourlyPrice | None:
    """The price of its machine in the region that most prices are of; None where that is not known, or not EC2's."""
    return price_of(machine(plan.machine.name)) if plan.machine.instance_type else None


def known_price(plan: Plan) -> Price | HourlyPrice | None:
    """The price of its machine in its region, or else elsewhere."""
    return plan.price or elsewhere(plan)


def cost_of(plan: Plan) -> str:
    """What its machine costs an hour, and where, if not in its region; empty where nobody knows."""
    price = known_price(plan)
    if price is None:
        return ""
    return f"${price.usd_per_hour.normalize():f}/h{'' if plan.price else f' in {DEFAULT_REGION}'}"


def on(name: str) -> Machine:
    """The machine a user named. `local` is this one."""
    if name != "local":
        return machine(name)
    return local_machine()
