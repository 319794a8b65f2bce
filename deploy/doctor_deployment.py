"""What can be known of a deployment that is there: how it is, when it ends, and what it needs to be served again."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from deploy.by_name import is_named
from deploy.doctor import Diagnosis, of_corral, unneeded
from deploy.gateway import gateway
from deploy.gateway.certificates import ends_soon
from deploy.gateway.gateway_text import anew, why_not
from deploy.line import status
from deploy.next_step import known_of, next_step
from deploy.provision_request import Where, wishes_of
from deploy.targets.checkup import failure
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, load
from deploy.targets.place import Checkup, State, Status
from deploy.targets.table import PLACES
from deploy.targets.wishes import Wishes, asked_for
from deploy.up_request import SizedFirst
from infra.argument import pasted
from infra.asked import again
from infra.errors import CorralError, ServerError, UsageError
from infra.lifetime import LONGEST_DAYS
from infra.quantity import counted
from infra.say import no_questions, progress
from serving.model.models import models
from serving.sizing.size_options import WhichMachine
from serving.vllm import versions

WELL: tuple[State, ...] = ("serving", "starting", "provisioned", "stopped")
IS_THERE: tuple[State, ...] = ("serving", "starting", "degraded", "hung")
"""Its own server has the port, the memory and the GPUs: what another would lack of these is no fault."""
ITS_OWN = ("port", "memory", "gpu")


def is_meant(what: str, which: WhichMachine, where: Where, wishes: Wishes, sized: SizedFirst) -> bool:
    """Whether a deployment is: where a machine or a load is named, the model of that name is.

    Raises UsageError for words that only something new takes.
    """
    if not is_named(what):
        return False
    said = again(which, sized, without=sized.not_asked).removesuffix(again())
    if said and what in models():
        return False
    typed = [
        name for name, of in wishes.records().items() if asked_for(of, wishes.get(name, {})) - wishes.kept
    ]
    is_placed = where.target is not None and "target" not in wishes.kept
    if said or typed or is_placed or where.name or where.lora or where.port:
        raise UsageError(
            f"{what} is a deployment, which is looked at as it is.",
            f"Leave out all but its name: corral doctor {what}{again()}",
        )
    if what in models():
        progress(f"{what} is the deployment of that name; of the model name a machine: --on g5.12xlarge")
    return True


def diagnosis_of(name: str, where: Where) -> Diagnosis:
    """Look at all of it, changing nothing. Raises DocumentError for a document that cannot be read."""
    deployment = load(name)
    with no_questions():
        checks = tuple(checked(deployment, where.hf_token_file or deployment.hf_token_file))
    plan = deployment.plan
    return Diagnosis(
        target=deployment.target,
        subject=f"{name}: {plan.model} {plan.precision} on {plan.machine.name}",
        checks=checks,
        exit_code=next((check.exit_code for check in checks if check.exit_code), 0),
    )


def checked(deployment: Deployment, token_file: str) -> Iterator[Checkup]:
    """Each thing, the deployment itself first."""
    current: Status | None = None
    try:
        current = status(deployment)
        yield from of_status(deployment, current)
    except CorralError as error:
        yield failure("deployment", error)
    yield of_engine(deployment)
    yield from of_gateway(deployment.name)
    wishes = wishes_of(deployment)
    yield from of_corral(token_file, unneeded(deployment, wishes))
    rents = PLACES[deployment.target].rents
    is_there = current is not None and (current.state in IS_THERE or (rents and current.state != "absent"))
    place = place_of(deployment)
    for check in place.examined(None if is_there else deployment, wishes):
        if not (is_there and check.name.rpartition(": ")[2] in ITS_OWN):
            yield check


def of_status(deployment: Deployment, current: Status) -> Iterator[Checkup]:
    """What it is doing, with what to do where that is not well; and when it ends by itself."""
    found = f"{current.state}, {current.detail}" if current.detail else current.state
    step = next_step(known_of(deployment, current.state))
    if current.state in WELL:
        fix = f"{step.when}{step.command}" if current.state in ("provisioned", "stopped") else ""
        yield Checkup(name="deployment", outcome="ok", found=found, fix=fix)
    else:
        yield Checkup(
            name="deployment",
            outcome="failed",
            found=found,
            fix=step.command,
            exit_code=ServerError.exit_code,
        )
    if current.expires_at:
        fix = f"Later: corral extend {deployment.name} {hours_beyond(current.expires_at)}h"
        yield Checkup(name="end", outcome="ok", found=f"it ends itself at {current.expires_at}", fix=fix)


def of_gateway(name: str) -> Iterator[Checkup]:
    """What stands in front of it, if anything does; one that was stopped is somebody's wish."""
    if not gateway.exists(name):
        return
    try:
        now = gateway.status(name)
    except CorralError as error:
        yield failure("gateway", error)
        return
    is_well = now.state == "running"
    where = f" on {now.on_host}" if now.on_host else ""
    there = f" --on-host {pasted(now.on_host)}" if now.on_host else ""
    yield Checkup(
        name="gateway",
        outcome="ok" if is_well else "warning",
        found=f"{now.state}{where}, {now.base_url}",
        fix="" if is_well else f"Start it: corral gateway {name}{there}",
    )
    yield from of_servers(now)
    yield from of_certificate(name)


def of_servers(now: gateway.GatewayStatus) -> Iterator[Checkup]:
    """Those that get no requests of their gateway."""
    for each in now.servers:
        if why := why_not(now.name, each, anew(now, each)):
            yield Checkup(
                name=f"gateway to {each.name}",
                outcome="warning",
                found=f"{each.state}: {why.found}",
                fix=f"{why.fix[0].upper()}{why.fix[1:]}",
            )


def of_certificate(name: str) -> Iterator[Checkup]:
    """When its certificate ends: who renews it, and that somebody must where nobody does by himself."""
    if not gateway.exists(name):
        return
    now = gateway.status(name)
    own = f"corral gateway status {name}{again()}"
    if end := now.certificate_ends_at:
        fix = (
            own
            if now.ca_file
            else f"Renew it, then, with the options that are to hold: corral gateway {name}{again()}"
        )
        yield ending("certificate", end, fix)
    if now.listeners and (end := now.client_certificate_ends_at):
        yield ending("certificate to listeners", end, own)
    for each in now.listeners:
        yield ending(f"certificate of the listener of {each.server}", each.certificate_ends_at, own)


def ending(name: str, end: datetime, fix: str) -> Checkup:
    """When a certificate ends, and what to do where that is soon, or has been."""
    days = (end - datetime.now(UTC)).days
    found = (
        f"it ends on {end:%Y-%m-%d}, in {counted(days, 'day')}"
        if days >= 0
        else f"it ended on {end:%Y-%m-%d}"
    )
    if not ends_soon(end):
        return Checkup(name=name, outcome="ok", found=found)
    if days >= 0:
        return Checkup(name=name, outcome="warning", found=found, fix=fix)
    return Checkup(name=name, outcome="failed", found=found, fix=fix, exit_code=ServerError.exit_code)


def hours_beyond(end: str) -> int:
    """Whole hours from now that are four more than are left, as far as a life may be so long."""
    left_s = (datetime.fromisoformat(end) - datetime.now(UTC)).total_seconds()
    return min(LONGEST_DAYS * 24, max(0, math.ceil(left_s / 3600)) + 4)


def of_engine(deployment: Deployment) -> Checkup:
    """What is known against its version of vLLM."""
    plan = deployment.plan
    said: list[str] = []
    try:
        versions.check_planned(plan.vllm_version, said.append, plan.serve)
    except CorralError as error:
        return failure("vllm", error)
    if said:
        newest = str(versions.data()["newest"])
        is_older = versions.release(plan.vllm_version) < versions.number(newest)
        fix = f"The next one: corral upgrade {deployment.name} --vllm-version {newest}" if is_older else ""
        return Checkup(
            name="vllm",
            outcome="warning",
            found=" ".join(each.removeprefix("warning: ") for each in said),
            fix=fix,
        )
    return Checkup(
        name="vllm", outcome="ok", found=f"planned for {plan.vllm_version}; nothing is known against it"
    )
