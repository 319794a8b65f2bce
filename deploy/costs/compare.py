"""PURE: a plan, a probe and a price against the Claude API: $/M tokens, break-even or "never", and what it rests on."""

from datetime import date
from decimal import Decimal

from deploy.costs.assumptions import assumptions_of
from deploy.costs.beside_hours import beside_hours, uncounted
from deploy.costs.carried_plan import classes_of, machines_of, mtok_of, short, without_peak
from deploy.costs.carries import carries
from deploy.costs.classes import by_class
from deploy.costs.claude_mix import Asked
from deploy.costs.claude_platforms import offered, sold
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.claude_side import cheapest, claude_side
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Comparison, FourBits, Speed
from deploy.costs.currency import currency
from deploy.costs.doubts import doubts, licence_doubt
from deploy.costs.each_class import against, parts_of
from deploy.costs.hosted_side import hosted_doubts, hosted_note, hosted_sides
from deploy.costs.hybrids import DEFAULT_MODELS, hybrids
from deploy.costs.knobs import Knobs, knobs
from deploy.costs.likelihood import Draws, draws
from deploy.costs.machine_price import machine_price
from deploy.costs.machine_speed import speed_of
from deploy.costs.measured_load import Measured
from deploy.costs.month_itemised import month
from deploy.costs.monthly_bill import capacity_mtok
from deploy.costs.other_platforms import on_other_platforms
from deploy.costs.peak import Peak, peak_of
from deploy.costs.purchase import as_bought, refuse_one_price_of_unequal
from deploy.costs.request_mix import Kind, Mix, mean_tokens
from deploy.costs.same_traffic import same_traffic
from deploy.costs.self_hosted import our_side
from deploy.costs.sensitivity import swings
from deploy.costs.served_class import ServedClass, asked_again, staying
from deploy.costs.unlike import refuse_another_number_of_unlike
from deploy.costs.what_would_change import what_would_change
from infra.money import percent, rounded
from serving.model import evaluations, gpu_support
from serving.model.models import models
from serving.sizing.plan import Plan, check_probed


def compare(asked_plan: Plan, measured: Measured | None, question: Question, on: date) -> Comparison:
    """Compare, and carry every assumption along.

    Raises ProbeInvalid for a probe that must not be used, and UsageError for a probe of another model or traffic, an
    owned machine without a price, an unknown Claude model, or more tokens than the machines can serve.
    """
    probe = measured.probe if measured else None
    if probe:
        check_probed(asked_plan, probe.model)
    plan, mix, share = same_traffic(asked_plan, measured, question)
    refuse_another_number_of_unlike(asked_plan, question)
    spares = None if question.spares is None else int(question.spares)
    found = speed_of(plan, measured, question.allow_invalid, question.promised, spares)
    speed = once_more(found, question.retries).model_copy(update={"prefix_share": rounded(share)})
    refuse_one_price_of_unequal(asked_plan, question)
    price = machine_price(plan, question)
    bought = as_bought(knobs(machines_of(plan, question) | question.knobs), price, question)
    values = beside_hours(bought, plan, price, question)
    mtok = mtok_of(plan, question, speed.tokens_per_request)
    peak = peak_of(asked_plan, question.replicas is None)
    ours = our_side(speed, values, price, served_here(mtok, speed, values, question, peak), peak)
    asked, day = (
        requests_of(speed, mix, draws(ours, mtok is not None), asked_again(question.staying)),
        question.at or on,
    )

    classes = classes_of(plan, question)
    models = {model.id: model for model in models_of(question, classes, day)}

    def model_of(name: str) -> ClaudeModel:
        return models.get(name) or sold(name, question, day)

    def at_claude(name: str, requests: Asked) -> ClaudeSide:
        return claude_side(model_of(name), ours, requests, question, day)

    each_model = tuple(at_claude(name, asked) for name in models)
    named = {sold(name, question, day).id for name in question.claude_models}
    good_enough = cheapest(tuple(side for side in each_model if side.model in named) or each_model)
    own_claudes = parts_of(staying(classes), good_enough.model, asked, at_claude)
    chosen = against(own_claudes, each_model, ours, question, asked) or good_enough
    sides = each_model if chosen in each_model else (chosen, *each_model)
    split = by_class(classes, ours.figures, question, good_enough.model, model_of, asked, day)
    elsewhere = on_other_platforms(
        plan, models.values(), lambda model: claude_side(model, ours, asked, question, day)
    )
    others = hosted_sides(plan, speed, ours.figures, on)
    return Comparison(
        made_on=on,
        model=plan.model,
        precision=plan.precision,
        machine=machine_of(plan),
        speed=speed,
        knobs=values,
        self_hosted=ours.figures,
        month=month(
            ours,
            mean_tokens(asked.mix),
            (*sides, *elsewhere),
            others,
            currency(question.currency) if question.currency else None,
        ),
        us_only=question.us_only,
        claude=sides,
        hosted=others,
        break_even=chosen.break_even,
        probability=chosen.probability,
        answer=chosen.answer,
        verdict=chosen.verdict,
        what_would_change_it=tuple(
            text
            for text in (
                *what_would_change(ours, chosen, sides),
                hosted_note(ours.figures, others),
            )
            if text
        ),
        by_class=split,
        hybrid=hybrids(ours, each_model, asked, question, mtok, day),
        sensitivity=swings(ours, chosen),
        warnings=(
            *filter(None, (short(asked_plan, ours, peak), without_peak(asked_plan, ours, question))),
            *doubts(plan, probe, chosen.token_ratio, speed.point, question),
            *filter(None, (licence_doubt(plan, question),)),
            *filter(None, (uncounted(plan, price, question),)),
            *price.doubts(on),
            *hosted_doubts(others, question.batch),
            *dict.fromkeys(w for s in sides for w in s.warnings),
        ),
        carries=carries(
            asked_plan.carried,
            asked_plan.throughput.basis if asked_plan.throughput else "",
            question.replicas is None or question.replicas == asked_plan.carried.count,
        )
        if asked_plan.carried
        else None,
        four_bits=four_bits(plan),
        assumptions=assumptions_of(plan, probe, ours, question, chosen, mix),
    )


def four_bits(plan: Plan) -> FourBits | None:
    """What others measured of the answers of the plan's weights, where these are of 4 bits."""
    said = evaluations.note(plan.serve.model, plan.precision)
    if not said:
        return None
    known = models().get(plan.model)
    cautions = gpu_support.of_weights(known.family.name, plan.precision) if known else ()
    return FourBits(note=" ".join((*cautions, said)), sources=evaluations.sources(plan.serve.model))


def once_more(speed: Speed, retries: Decimal) -> Speed:
    """The speed in answers that are of use, where a share of them is asked for again."""
    if not retries:
        return speed
    names = ("output_tokens_per_s", "output_tokens_per_s_low", "output_tokens_per_s_high")
    useful = {name: rounded(getattr(speed, name) / (1 + retries)) for name in names}
    return speed.model_copy(
        update=useful | {"how": f"{speed.how}; {percent(retries)} of it is asked for again"}
    )


def requests_of(speed: Speed, mix: Mix | None, drawn: Draws, again: Mix) -> Asked:
    """The requests that Claude is asked: each, where they are known, else the average one."""
    average = (Kind(Decimal(1), speed.input_tokens_per_request, speed.output_tokens_per_request),)
    return Asked(mix or average, speed.prefix_share, mix is None, drawn, again)


def served_here(
    mtok: Decimal | None, speed: Speed, values: Knobs, question: Question, peak: Peak
) -> Decimal | None:
    """Of a volume what the machines serve: all of it or, where that is too much, what Claude does not take."""
    if mtok is None or not question.claude_share or question.claude_share == 1:
        return mtok
    most = peak.most_utilisation * capacity_mtok(speed.total_tokens_per_s, values)
    is_too_much = mtok > most
    return mtok * (1 - question.claude_share) if is_too_much else mtok


def machine_of(plan: Plan) -> str:
    """What is compared: the plan's machine, or all of unequal ones."""
    carried = plan.carried
    return plan.machine.name if carried is None or carried.are_alike else str(carried)


def models_of(question: Question, classes: tuple[ServedClass, ...], day: date) -> tuple[ClaudeModel, ...]:
    """The Claude models to compare with, each once: those named, for a class that stays too, or those of ours sold."""
    of_classes = (each.claude for each in staying(classes) if each.claude)
    names = (*question.claude_models, *of_classes)
    if not names:
        return offered(DEFAULT_MODELS, question, day)
    models = (sold(name, question, day) for name in names)
    return tuple({model.id: model for model in models}.values())
