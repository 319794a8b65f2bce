"""What `up` is to make: a plan's file; or a model, which is sized first, on a machine that was named or is chosen."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from deploy.provision_request import Asking, Where, asking_for, asking_of
from deploy.targets import adapters, licence
from deploy.targets.abilities import Outlines, RentsMachines
from deploy.targets.choose import place_called
from deploy.targets.deployment import checked_name, name_of, name_of_model, names
from deploy.targets.hub_weights import is_fetched, told
from deploy.targets.table import PLACES, default, renting
from deploy.targets.wishes import PlaceOptions, Wishes
from infra.argument import pasted
from infra.asked import again
from infra.columns import table, wrapped
from infra.errors import DoesNotFit, UsageError
from infra.near import is_called_json
from infra.prices import DEFAULT_REGION
from infra.printable import sentence
from infra.quantity import counted
from infra.say import is_somebody_there, notice, progress
from serving.model.models import model as named_model
from serving.model.models import models
from serving.sizing.offer import Offered, offer
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.sizing.ranking_text import (
    AHEAD,
    HEAD,
    best_of_each,
    fitting,
    is_ahead,
    is_elsewhere,
    listed,
    ranking_row,
)
from serving.sizing.size import answer_for, is_checkpoint, known_price, on, order, ranking_for
from serving.sizing.size_options import Options, WhichMachine
from serving.sizing.this_machine import local_machine

TIMES_A_QUESTION_IS_ASKED = 3


class SizedFirst(Options):
    """How a model is sized; the region and the adapters are those of the deployment."""

    not_asked: ClassVar[tuple[str, ...]] = ("region", "lora")


def asking_up(
    what: str, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes, is_dry: bool = False
) -> Asking:
    """What the plan of that file comes to, or one that is made for that model; unless it is dry, adapters are fetched.

    Raises UsageError for what does not go together or where a machine would have to be chosen and nobody is there,
    DoesNotFit, and what `size` and the reading of a plan raise.
    """
    if is_plan(what) or is_deployed(what):
        corrals_own = again()
        if said := again(which, sized, without=sized.not_asked).removesuffix(corrals_own):
            raise UsageError(
                "A plan says already which machine it is for, and for which workload.",
                f"Leave out{said}, or name a model: corral up scout{said}{corrals_own}",
            )
        return asking_for(what, where, wishes, is_dry)
    return asking_model(what, which, sized, where, wishes, is_dry)


def asking_model(
    model: str, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes, is_dry: bool = False
) -> Asking:
    """The same of a model, whatever deployments are called."""
    said = said_of_place(model, which, sized, where, wishes)
    where = where.model_copy(update={"target": where.target or place_of(model, which)})
    place = place_called(where.place)
    if (
        not (which.on or is_checkpoint(model))
        and isinstance(place, RentsMachines)
        and not place.says_where(said)
    ):
        options = sized.model_copy(update={"lora": where.lora, "region": DEFAULT_REGION})
        raise nowhere(model, which, options, where.place)
    of_place = place.foreseen(said)
    if where.name is not None:
        checked_name(where.name)
    if is_dry:
        adapters.refuse_offline(where.lora)
    else:  # all that was typed is read before anything comes
        where = where.model_copy(update={"lora": adapters.here(where.lora, where.hf_token_file or "")})
    options = sized.model_copy(update={"lora": where.lora, "region": first_region(of_place)})
    named = which if which.on else chosen(model, which, options, where.place, of_place, is_dry)
    plan = answer_for(model, named.precision, named.on or "", options)
    if not plan.fits:
        raise DoesNotFit(f"This plan does not fit: {plan.reason}", f"See what holds it: {size_again(plan)}")
    return asking_of(plan, Path.cwd(), called(where, plan), wishes, is_dry)


def said_of_place(
    model: str, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes
) -> PlaceOptions | None:
    """What is asked of the place that it goes to. Raises UsageError for what only another takes.

    Where nobody named a place, and that other rents machines out, but not the one that was named: what it rents.
    """
    try:
        return wishes.of(where.target or place_of(model, which))
    except UsageError:
        if where.target is None and which.on and on(which.on).kind == "owned":
            refuse_unsold(model, which, sized, where, wishes)
        raise


def refuse_unsold(model: str, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes) -> None:
    """Raise UsageError where all that was asked is of renting, and the machine is none that is rented out."""
    seller, of_place = place_called(renting()), None
    with suppress(UsageError):
        of_place = wishes.of(renting())
    if of_place is None or not isinstance(seller, RentsMachines):
        return
    options = sized.model_copy(update={"lora": where.lora, "region": first_region(of_place)})
    seller.check_sold(answer_for(model, which.precision, which.on or "", options), of_place)


def called(where: Where, plan: Plan) -> Where:
    """With the name it will have: the model's own, so that the lines after this one are typed as this one was."""
    if where.name is not None:
        return where
    name = name_of_model(plan, where.place)
    if name != (first := name_of(plan.model)) and first in names():
        progress(f"{first} is another deployment; this one is called {name}")
    return where.model_copy(update={"name": name})


def is_deployed(what: str) -> bool:
    """Whether a deployment is called so, and no model, which is told of."""
    if what not in names():
        return False
    is_model = what in models() or is_checkpoint(what)
    if is_model:
        progress(f"{what} is the model here; the deployment of that name: corral serve {what}{again()}")
    return not is_model


def place_of(model: str, which: WhichMachine) -> str:
    """Where a model goes when nobody says: what EC2 rents out there; the rest here, where this machine has GPUs."""
    if which.on:
        return renting() if on(which.on).instance_type else default()
    has_gpus = sys.platform == "linux" and local_machine().gpu  # vLLM serves on no other
    return default() if is_checkpoint(model) or has_gpus else renting()


def is_plan(what: str) -> bool:
    """Whether a plan's file is meant, there or not."""
    return is_called_json(what) or os.path.isfile(what)


def first_region(of_place: PlaceOptions | None) -> str | None:
    """Whose prices count, where the place has regions."""
    return next(iter(getattr(of_place, "regions", ())), None)


def chosen(
    model: str,
    which: WhichMachine,
    options: Options,
    place: str,
    of_place: PlaceOptions | None,
    is_dry: bool = False,
) -> WhichMachine:
    """This machine where it is to be here; else one of those that are offered, as somebody says.

    Nobody is asked where it could not be rented: what this machine lacks is said before, unless nothing is to be made,
    and whose licence nobody accepted. AWS is asked after that.
    """
    if place == default():
        return which.model_copy(update={"on": local_machine().name})
    if is_checkpoint(model):
        raise UsageError("A checkpoint is sized on one machine.", "Name it: --on g5.12xlarge")
    plans, seller = holding(model, which, options, place), place_called(place)
    if isinstance(seller, RentsMachines):
        plans = sold(plans, seller, of_place)
        if is_somebody_there() and not is_dry:
            seller.require_here()
            if not stored_weights(of_place):
                licence.require(named_model(model).licence)
            if not any(plan.price for plan in plans):
                seller.ask_prices(map(machine_of, plans), of_place)
                plans = sold(holding(model, which, options, place), seller, of_place)
    best = best_of(plans, model)
    if not is_somebody_there():
        raise UsageError(
            f"Nobody is there to choose a machine. {named_with_why(best)}.",
            f"Name one: --on {best[0].plan.machine.name}",
        )
    plan = best[picked(best)].plan
    return which.model_copy(update={"on": plan.machine.name, "precision": plan.precision})


def nowhere(model: str, which: WhichMachine, options: Options, place: str) -> UsageError:
    """What to say where nobody named a region: what is offered is told all the same, by the prices of another."""
    best = best_of(holding(model, which, options, place), model)
    told = ""
    if is_somebody_there():
        show(best)
    else:
        told = f" {named_with_why(best)}."
    return UsageError(
        f"No AWS region is named: where a machine stands is not for corral to choose.{told}",
        f"Name one, and a region: --on {best[0].plan.machine.name} --region {DEFAULT_REGION}; or set AWS_REGION",
    )


def best_of(plans: list[Plan], model: str) -> list[Offered]:
    """Those that are offered. Raises DoesNotFit where there is none."""
    if not plans:
        raise DoesNotFit(
            f"No machine corral knows there holds {model}.", f"See all: corral size {pasted(model)}"
        )
    return offer(plans)


def named_with_why(best: Sequence[Offered]) -> str:
    """Their names, each with what it is the best by, and by which region's prices."""
    names = ", ".join(f"{each.plan.machine.name}{each.why and f' ({each.why})'}" for each in best)
    regions = sorted({price.region for each in best if (price := known_price(each.plan))})
    return f"Of those that hold it{f', by the prices of {listed(regions)}' if regions else ''}: {names}"


def machine_of(plan: Plan) -> str:
    """What its machine is called."""
    return plan.machine.name


def holding(model: str, which: WhichMachine, options: Options, place: str) -> list[Plan]:
    """The best plan of each machine that holds it there, the cheapest first.

    What has no price in a region of which some are known is hardly sold there.
    """
    best = best_of_each(ranking_for(model, which.precision, options).machines)
    plans = [plan for plan in best if bool(plan.machine.instance_type) == PLACES[place].rents]
    return sorted(plans, key=order) if any(plan.price for plan in plans) else plans


def sold(plans: list[Plan], seller: RentsMachines, of_place: PlaceOptions | None) -> list[Plan]:
    """Those whose machine can be had there as it is wished for. Raises why none can."""
    found, why = [], []
    for plan in plans:
        try:
            seller.check_sold(plan, of_place)
            found.append(plan)
        except UsageError as error:
            why.append(error)
    if why and not found:
        raise why[0]
    return found


def picked(best: Sequence[Offered]) -> int:
    """Which of them somebody wants. Raises UsageError where the answer is none."""
    show(best)
    for _ in range(TIMES_A_QUESTION_IS_ASKED):
        print(f"Which? [1-{len(best)}] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline().strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(best):
            return int(answer) - 1
        if not answer:
            break
    raise UsageError("None was chosen; nothing was made.", "")


def show(best: Sequence[Offered]) -> None:
    """Tell what is offered, at which prices, and what each is the best by."""
    plans = [each.plan for each in best]
    rows = [[str(at), *ranking_row(each.plan), each.why] for at, each in enumerate(best, 1)]
    columns = slice(None) if any(each.why for each in best) else slice(-1)
    notice(table(fitting([row[columns] for row in (["", *HEAD, ""], *rows)])[0]))
    if any(map(is_ahead, plans)):
        notice(AHEAD)
    if any(map(is_elsewhere, plans)):
        notice(f"  (in brackets: {DEFAULT_REGION}'s price)")
    if sources := sorted(
        {f"{p.price.region}, {p.price.source}, {p.price.checked_on}" for p in plans if p.price}
    ):
        notice(wrapped("Prices: " + "; ".join(sources), ""))


def summary(asking: Asking) -> str:
    """What will run where, and where its weights come from."""
    plan, target = asking.deployment.plan, asking.deployment.target
    stored = stored_weights(asking.wishes)
    speed = (
        f", {plan.throughput.output_tokens_per_s:,.0f} tokens/s (modelled){at_worst(plan)}"
        if plan.throughput
        else ""
    )
    longest = plan.serve.max_model_len or plan.kv.max_context_tokens  # what it will take, not what it could
    lines = [
        f"{asking.deployment.name}: {plan.model} in {plan.precision} on {plan.machine.name} ({target}): "
        f"{plan.verdict}, requests of up to {longest:,} tokens{speed}",
        f"weights: {stored}" if stored else weights_line(plan),
    ]
    return "\n".join(map(sentence, lines))


def at_worst(plan: Plan) -> str:
    """How many of its requests run at once where the KV cache is as small as it may be, where those are fewer."""
    if plan.at_worst is None:
        return ""
    if not plan.at_worst.running:
        return ", at worst it does not start"
    return f", at worst {plan.at_worst.running} of {plan.workload.concurrency} requests at once"


def stored_weights(of_place: PlaceOptions | None) -> str | None:
    """Where the user has the weights; None where they come from the model hub."""
    return getattr(of_place, "weights", None)


def weights_line(plan: Plan) -> str:
    """Where the weights come from, where nobody named another place."""
    if not is_fetched(plan):
        return f"weights: the folder {plan.serve.model}"
    weights = told(plan)
    return f"weights: {weights.gib:,.1f} GiB of {weights.repo}, from the model hub"


def dry_text(asking: Asking, steps: int) -> str:
    """The same, with what it would cost, where nothing is done."""
    lines, place = [summary(asking)], place_called(asking.deployment.target)
    if isinstance(place, RentsMachines):
        lines.append(sentence(f"price: {place.stored_cost(asking.deployment, asking.wishes)}"))
    if isinstance(place, Outlines):
        lines += map(sentence, place.outlined(asking.deployment, asking.wishes))
    lines.append(f"engine: vLLM {asking.deployment.plan.vllm_version}")
    asked = f"{counted(steps, 'step')}, shown by --json; nobody was asked, and nothing done."
    return "\n".join([*lines, asked])
