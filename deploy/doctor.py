"""What can be known before a line is run: of this machine, the model hub and the place; each thing with its remedy."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from deploy.by_name import plan_of
from deploy.gateway import haproxy
from deploy.provision_request import Asking, Where, placed
from deploy.targets import hub_weights, licence
from deploy.targets.checkup import failure
from deploy.targets.choose import place_called
from deploy.targets.deployment import Deployment
from deploy.targets.place import Checkup
from deploy.targets.table import PLACES
from deploy.targets.wishes import PlaceOptions, Wishes
from deploy.up_request import (
    SizedFirst,
    asking_model,
    asking_up,
    is_plan,
    place_of,
    said_of_place,
    stored_weights,
)
from infra import home, offline
from infra.asked import again
from infra.errors import CorralError, HostError, UsageError
from infra.record import Record
from infra.say import no_questions
from serving.model import hub, hub_token, models
from serving.sizing.size_options import WhichMachine

SAMPLE, SAMPLE_PRECISION, SAMPLE_TYPE = "scout", "int4", "g5.12xlarge"
"""What is looked at where machines are rented and nobody says which: the smallest, and no gate is before it."""
GIB = 2**30
LEAST_HOME_GIB = 0.2
"""What a home takes beside an engine, weights and bundles, which are looked at with the plan: documents, logs, probes
and caches, 68 MiB here after demos and plots (2026-11-30), and as much again."""


class Diagnosis(Record):
    """What `corral doctor` answers."""

    target: str
    """Where it would run: local, ssh or ec2."""
    subject: str
    """The plan that was looked at: its model, precision and machine; empty for none."""
    checks: tuple[Checkup, ...]
    """In the order in which they were looked at."""
    exit_code: int
    """0: the line would go through as far as it can be known. Else what it would end with."""


def diagnosis(
    what: str | None, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes
) -> Diagnosis:
    """Look at everything, for a plan's file, a model that is sized first, or no plan yet; changes nothing.

    Raises UsageError for words that do not go together; what fails else is a check.
    """
    if what is None and (said := again(which, sized, without=sized.not_asked).removesuffix(again())):
        raise UsageError("No model is named to be sized.", f"Name it: corral doctor {SAMPLE}{said}")
    if what is not None and not is_plan(what):
        said_of_place(what, which, sized, where, wishes)
    if where.target is None and what is not None:
        where = where_meant(what, which, where)
    of_place = wishes.of(where.place)
    asking: Asking | None = None
    with no_questions():
        failed = []
        try:
            asking = subject(what, which, sized, where, wishes)
        except CorralError as error:
            failed.append(failure("plan", error))
        deployment, of_place = asking or (None, of_place)
        checks = [*of_corral(where.hf_token_file or "", unneeded(deployment, of_place)), *failed]
        if deployment is None:
            checks += of_any_model(where.hf_token_file or "")
        checks += of_regions(deployment, of_place)
        checks += place_called(where.place).examined(deployment, of_place)
        checks += [of_a_gateway()] if PLACES[where.place].rents else []
    plan = deployment.plan if deployment else None
    return Diagnosis(
        target=where.place,
        subject=f"{plan.model} {plan.precision} on {plan.machine.name}" if plan else "",
        checks=tuple(checks),
        exit_code=next((check.exit_code for check in checks if check.exit_code), 0),
    )


def where_meant(what: str, which: WhichMachine, where: Where) -> Where:
    """Where a model or a plan's file would go; a file that cannot be read is a check of its own."""
    if not is_plan(what):
        return where.model_copy(update={"target": place_of(what, which)})
    try:
        return placed(where, plan_of(what)[0])
    except CorralError:
        return where


def subject(
    what: str | None, which: WhichMachine, sized: SizedFirst, where: Where, wishes: Wishes
) -> Asking | None:
    """What would be made; where machines are rented and nobody says which, of a sample; else None."""
    if what is not None:
        return asking_up(what, which, sized, where, wishes, is_dry=True)
    if not PLACES[where.place].rents:
        return None
    types = getattr(wishes.of(where.place), "instance_types", ())
    sample = which.model_copy(update={"on": next(iter(types), SAMPLE_TYPE), "precision": SAMPLE_PRECISION})
    named = where.model_copy(update={"name": where.name or "doctor"})
    return asking_model(SAMPLE, sample, sized, named, wishes, is_dry=True)


def unneeded(deployment: Deployment | None, wishes: PlaceOptions | None) -> str:
    """Why no token for the Hub is missed; empty where one may be. What the Hub says of a gate stands by the weights."""
    if deployment is None or deployment.plan.serve.draft or deployment.plan.serve.lora_modules:
        return ""
    plan = deployment.plan
    if not hub_weights.is_fetched(plan):
        return f"the weights lie in {plan.serve.model}"
    if stored := stored_weights(wishes):
        return f"the weights lie in {stored}"
    return "" if hub_weights.told(plan).gated else f"{plan.serve.model} is not known to be gated"


def of_corral(token_file: str, unneeded: str = "") -> Iterator[Checkup]:
    """Python, the home and the token, whatever is to be run where; none is missed where one is not needed."""
    yield Checkup(name="python", outcome="ok", found=f"Python {platform.python_version()}")
    try:
        yield home_found()
    except CorralError as error:
        yield failure("home", error)
    try:
        token = hub_token.find(os.environ, token_file)
    except UsageError as error:
        yield failure("hub token", error)
        return
    if token:
        yield Checkup(name="hub token", outcome="ok", found=f"from {token.place}")
    elif unneeded:
        yield Checkup(name="hub token", outcome="ok", found=f"none, and none is needed: {unneeded}")
    else:
        fix = "Weights that are gated need one: hf auth login, or HF_TOKEN, or --hf-token-file token.txt"
        yield Checkup(name="hub token", outcome="warning", found="none", fix=fix)


def home_found() -> Checkup:
    """Where documents are kept, and what room is there. Raises HostError for a home that cannot be written.

    It is made, and a folder in it, to know: what is asked of a folder's rights alone says yes to root of any. What was
    made is taken away.
    """
    place, elsewhere = home.home(), "Set CORRAL_HOME to a folder of yours."
    missing = []
    try:
        missing = [each for each in (place, *place.parents) if not each.exists()]
        if missing:
            home.make_folder(place)
        home.check_owner(place)
        os.rmdir(tempfile.mkdtemp(prefix=".doctor-", dir=place))
        free_gib = shutil.disk_usage(place).free / GIB
    except OSError as error:
        raise HostError(f"{place} cannot be written: {error.strerror}.", elsewhere) from None
    finally:
        for each in missing:
            with suppress(OSError):  # it was not made, or somebody has put something there meanwhile
                each.rmdir()
    found = f"{place}, {free_gib:.1f} GiB free"
    if free_gib < LEAST_HOME_GIB:
        return Checkup(
            name="home", outcome="warning", found=found, fix=f"Make room there: df -h; or: {elsewhere}"
        )
    return Checkup(name="home", outcome="ok", found=found)


def of_a_gateway() -> Checkup:
    """Whether one address for several people could stand here, before what is rented; nothing else needs HAProxy."""
    try:
        return Checkup(name="gateway", outcome="ok", found=f"{haproxy.found()} is here")
    except HostError as error:
        found = f"{error.message.rstrip('.')}: a gateway needs it, and nothing else"
        return Checkup(name="gateway", outcome="warning", found=found, fix=error.hint)


def of_any_model(token_file: str) -> Iterator[Checkup]:
    """The gate and the licence of the models that corral knows; a warning each, as there may be others."""
    repo = models.model(SAMPLE).checkpoints["bf16"].repo
    if offline.is_offline():
        yield Checkup(name="hub", outcome="warning", found="not asked: --offline")
    else:
        try:
            hub.check_access(repo, hub_token.find(os.environ, token_file))
            yield Checkup(name="hub", outcome="ok", found=f"lets this token have {repo}")
        except CorralError as error:
            yield Checkup(name="hub", outcome="warning", found=error.message.rstrip("."), fix=error.hint)
    for terms in licence.known().values():
        stands_against = licence.refusal(terms, licence.kept(terms))
        if stands_against:
            found, fix = stands_against.message.rstrip("."), stands_against.hint
            yield Checkup(name="licence", outcome="warning", found=found, fix=fix)
        else:
            yield Checkup(name="licence", outcome="ok", found=f"the {terms.title} is accepted")


def of_regions(deployment: Deployment | None, wishes: PlaceOptions | None) -> Iterator[Checkup]:
    """That the model's licence may give no rights where it is to run; nothing once somebody said where they are."""
    if deployment is None:
        return
    plan = deployment.plan
    known = models.models().get(plan.model)
    family = known.family.name if known else ""
    terms = licence.terms_for(licence.name_for("", (plan.model, plan.serve.model), family))
    if terms is None or licence.refusal(terms, licence.kept(terms)) is None:
        return
    regions = getattr(wishes, "regions", ()) or ((plan.region,) if plan.region else ())
    notes = (
        licence.left_out((plan.model, plan.serve.model), family, {"--region": region}) for region in regions
    )
    if note := next(filter(None, notes), ""):
        yield Checkup(name="licence", outcome="warning", found=note)


def told(found: Diagnosis) -> str:
    """The same for a person: what is wrong with its remedy below it, and what it comes to."""
    lines = []
    for check in found.checks:
        lines.append(f"{check.outcome:7}  {check.name}: {check.found}")
        lines += [f"         {check.fix}"] if check.fix else []
    where = f"{found.subject}, {found.target}" if found.subject else f"{found.target}, no plan yet"
    in_the_way = sum(check.exit_code > 0 for check in found.checks)
    verdict = f"{in_the_way} in the way" if in_the_way else "nothing known is in the way"
    return "\n".join([*lines, "", f"{where}: {verdict}."])
