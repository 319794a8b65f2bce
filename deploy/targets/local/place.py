"""The place `local`: vLLM as a process group of this machine, with its documents in $CORRAL_HOME/NAME."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.targets import hub_weights, hurry
from deploy.targets import preflight as rules
from deploy.targets.checkup import checkups, tried
from deploy.targets.deployment import Deployment, folder, home
from deploy.targets.hub_weights import with_token_file as with_token_file
from deploy.targets.local import cached_weights, engines, starting, user_unit
from deploy.targets.local.cached_weights import settled as settled
from deploy.targets.local.cached_weights import verified as verified
from deploy.targets.local.egress import observed
from deploy.targets.local.looking import is_running, judged
from deploy.targets.local.looking import status as status
from deploy.targets.local.replicas import answering as answering
from deploy.targets.local.replicas import count as count
from deploy.targets.local.replicas import replicas as replicas
from deploy.targets.local.replicas import share_key as share_key
from deploy.targets.local.starting import outlined as outlined
from deploy.targets.local.supervised import born as born
from deploy.targets.local.supervised import broken_gpu as broken_gpu
from deploy.targets.local.supervised import end_stuck as end_stuck
from deploy.targets.local.supervised import ends as ends
from deploy.targets.local.supervised import full as full
from deploy.targets.local.supervised import given_up as given_up
from deploy.targets.local.supervised import gpus_missing as gpus_missing
from deploy.targets.local.supervised import in_the_way as in_the_way
from deploy.targets.local.supervised import keep_first_death as keep_first_death
from deploy.targets.local.supervised import last_trouble as last_trouble
from deploy.targets.local.supervised import life as life
from deploy.targets.local.supervised import note as note
from deploy.targets.local.supervised import served_s as served_s
from deploy.targets.local.supervised import stop_wish as stop_wish
from deploy.targets.local.user_unit import is_unattended as is_unattended
from deploy.targets.local.user_unit import require_units as require_units
from deploy.targets.local.user_unit import serve_as_unit as serve_as_unit
from deploy.targets.place import Check, Checkup, Offer, Teardown
from deploy.targets.prove_egress import not_serving
from infra import gpus, locks, offline
from infra import local_facts as machine
from infra.egress_proof import Egress
from infra.errors import DocumentError, ServerError, UsageError
from infra.say import progress
from serving.model import fetching
from serving.vllm import engine, events, health, server, startup_log, stopping
from serving.vllm import versions as vllm_versions
from serving.vllm.endpoint import Endpoint
from serving.vllm.log_reader import Tail
from serving.vllm.serve_options import ServeOptions, argv, environment

# What the server that runs has of this machine, and gives back before another is started.
TAKEN_BY_THE_SERVER = ("memory", "port")
# A unit's own limit is shorter (deploy/targets/local/user_unit.py), but for a drain of an hour.
UNIT_STOPS_WITHIN_S = 7400.0
# What a server writes: its log and its compile cache.
DISK_GIB = 1.0


def foreseen(wishes: None) -> None:
    """Nothing may be asked of this machine."""


def wished(deployment: Deployment, wishes: None) -> tuple[Deployment, None]:
    """As it is: nothing may be asked of this machine. The engine that is found here is told of when it starts."""
    plan = deployment.plan
    vllm_versions.check_planned(plan.vllm_version, lambda text: None, plan.serve)
    return deployment, wishes


@contextmanager
def look(deployment: Deployment, wishes: None, to_serve: bool) -> Iterator[Offer]:
    """At this machine and the weights; nothing is rented, and it is held only while it is started."""
    deployment, about = cached_weights.settled(deployment)
    yield Offer(deployment, (*about, *preflight(deployment)))


def make(offer: Offer) -> Deployment:
    """Fetch what is missing, then keep the document."""
    provision(offer.deployment)
    offer.deployment.write(folder(offer.deployment.name) / "deployment.json")
    return offer.deployment


def prepared(deployment: Deployment) -> Deployment:
    """Fetch what is missing, unless it runs. Raises UsageError when it runs with other options."""
    deployment = hub_weights.kept(deployment)
    refuse_other_options(deployment)
    if not is_running(deployment):
        deployment, about = cached_weights.settled(deployment)
        for check in about:
            progress(f"{check.name}: {check.found}")
        provision(deployment)
    return deployment


def preflight(deployment: Deployment, beside: bool = False) -> tuple[Check, ...]:
    """Look at this machine's GPUs, driver, memory, disk and port; changes nothing.

    With `beside` for what takes the place of the server that runs, which gives back their memory before.
    """
    found = gpus.report()
    return rules.checks(
        machine.facts(),
        rules.unused(found) if beside else found,
        deployment.plan,
        disk_path=str(home().resolve()),
        disk_gib=DISK_GIB,
        weights=cached_weights.to_fetch(deployment),
    )


def examined(deployment: Deployment | None, wishes: None) -> Iterator[Checkup]:
    """The weights, this machine and its engine, for `corral doctor`."""
    if deployment is None:
        yield from checkups("machine", any_plan)
    else:
        yield from checkups("weights", lambda: cached_weights.settled(deployment)[1])
        yield from checkups("machine", lambda: preflight(hub_weights.kept(deployment)))
    yield tried("engine", lambda: engines.described(deployment))


def any_plan() -> tuple[Check, ...]:
    """This machine, for no plan yet."""
    place = str(home().resolve())
    return rules.machine_checks(machine.facts(), gpus.report(), disk_path=place, disk_gib=DISK_GIB)


def refuse_offline(deployment: Deployment, is_made: bool) -> None:
    """Raise for weights, a draft or an adapter that are not here; nothing is fetched for a server that runs."""
    if offline.is_offline() and not (is_made and is_running(deployment)):
        cached_weights.settled(deployment)


def requests(deployment: Deployment, wishes: None = None) -> list[dict[str, object]]:
    """The command that would be run and its environment, but for the key."""
    place = folder(deployment.name)
    budget_s = startup_log.load_budget_s(deployment.plan.weights_bytes or 0)
    cached_weights.check_model(deployment.plan)
    options = cached_weights.here(hub_weights.kept(deployment).plan.serve)
    given = environment(str(place), budget_s, str(server.shared_cache(place)))
    return [
        {
            "argv": ["vllm", *argv(options)],
            "environment": given | {"VLLM_API_KEY": f"(from {server.key_file(place)})"},
        }
    ]


def provision(deployment: Deployment) -> None:
    """Check the machine and the engine, and fetch what is missing of the weights; there is nothing to rent.

    Raises HostError or ServerError; AuthError or EndpointError for weights that cannot be fetched.
    """
    rules.require(preflight(deployment), "This machine")
    engines.engine_of(deployment)
    cached_weights.bring(deployment)


def serve(deployment: Deployment) -> Endpoint:
    """Start vLLM and return once it has answered a real completion; at once when it does already.

    Raises ServerError with the cause found in the log when it dies or is not ready in time; nothing is left then.
    """
    place = folder(deployment.name)
    with one_at_a_time(place):
        refuse_other_options(deployment)
        running = server.load(place)
        if running is None or not is_running(deployment):
            running = starting.start(deployment, place)
        if judged(running).state != "serving":
            starting.wait(deployment.name, place, running)
        if not events.was_ready(place, running.started_at):
            starting.prove_adapters(deployment, place, running)
            events.note(place, "ready")
    return running.endpoint


def refuse_other_options(deployment: Deployment) -> None:
    """Raise UsageError when its server runs already, with options that are not these."""
    running = server.load(folder(deployment.name))
    if (
        running
        and is_running(deployment)
        and running.arguments != argv(cached_weights.here(deployment.plan.serve))
    ):
        raise UsageError(
            f"{deployment.name} is being served with other options.",
            f"End it first: corral stop {deployment.name}",
        )


def engine_version(deployment: Deployment) -> str:
    """Of the server that runs, else of the engine that a start takes; the plan's where there is none yet."""
    return server_engine(deployment).version


def pinned(deployment: Deployment) -> Deployment:
    """With the executable of that engine."""
    return deployment.model_copy(update={"engine": str(server_engine(deployment).vllm)})


def server_engine(deployment: Deployment) -> engine.Engine:
    """The engine of the server that runs, else the one that a start takes."""
    running = server.known(folder(deployment.name))
    if running is not None and not deployment.engine and is_running(deployment):
        return engine.Engine(vllm=running.vllm, version=running.vllm_version, origin="of its release")
    try:
        return engines.engine_of(deployment)
    except ServerError:
        return engine.Engine(
            vllm=Path(deployment.engine or "vllm"),
            version=deployment.plan.vllm_version,
            origin="of its release",
        )


def with_engine(deployment: Deployment, version: str | None, path: str | None) -> Deployment:
    """With the engine that is meant. Raises UsageError for one that cannot be had here."""
    return deployment.model_copy(update={"engine": str(engines.chosen(deployment, version, path).vllm)})


def bring(deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]) -> None:
    """Install its engine and fetch its weights, beside those of the server that runs."""
    found = preflight(deployment, beside=is_running(deployment))
    room = tuple(check for check in found if check.name not in TAKEN_BY_THE_SERVER)
    approve(Offer(deployment, (*about, *room)))
    rules.require(room, "This machine")
    vllm_versions.check(engines.install(deployment).version, progress, deployment.plan.serve.extra_args)
    cached_weights.bring(deployment)


def remember(deployment: Deployment) -> None:
    """Nothing to do: its document names its engine, and the cache has its weights."""


def missing(deployment: Deployment) -> str:
    """The engine or the weights of a release that are gone."""
    serve = deployment.plan.serve
    if gone := engines.missing_engine(deployment):
        return f"its engine {gone}"
    if hub_weights.is_fetched(deployment.plan):
        if not cached_weights.whole(deployment):
            return f"the weights of {serve.model} at {serve.revision}"
    elif not Path(serve.model).is_dir():
        return f"its model {serve.model}"
    return missing_beside(cached_weights.with_draft(serve))


def missing_beside(serve: ServeOptions) -> str:
    """The draft or the adapter of a release that is gone."""
    if serve.draft and not Path(serve.draft).is_dir():
        return f"its draft {serve.draft}"
    gone = (module for module in serve.lora_modules if not Path(module.path).is_dir())
    return next((f"its adapter {module.name} at {module.path}" for module in gone), "")


def turn_to(deployment: Deployment) -> Endpoint:
    """End the server that runs, let its requests finish, and start this one. Raises ServerError, HostError."""
    place = folder(deployment.name)
    with one_at_a_time(place):
        end(place)
        rules.require(preflight(deployment), "This machine")
        running = starting.start(deployment, place)
        starting.wait(deployment.name, place, running)
        starting.prove_adapters(deployment, place, running)
        events.note(place, "ready")
    if is_accepted(deployment):
        user_unit.resume(deployment)
    return running.endpoint


def restart(deployment: Deployment) -> Endpoint:
    """End its server, once it has no request, and start it anew."""
    return turn_to(deployment)


def require_whole(deployment: Deployment) -> None:
    """Look for its engine, which is found anew at each start where none is noted. Raises ServerError."""
    engines.engine_of(deployment)


def is_accepted(deployment: Deployment) -> bool:
    """Whether its document is the one that is kept: it starts next, whoever starts it."""
    try:
        return Deployment.read(folder(deployment.name) / "deployment.json") == deployment
    except DocumentError:
        return False


def keep(deployment: Deployment) -> None:
    """Its document is all that names it; a unit that was its supervisor is it again."""
    user_unit.resume(deployment)


def let_go(deployment: Deployment) -> None:
    """End whatever runs of that name; its document names what starts next."""
    end(folder(deployment.name))


def where(deployment: Deployment) -> str:
    """Here."""
    return "this machine"


def endpoint(deployment: Deployment) -> Endpoint:
    """Where its server listens. Raises ServerError when none runs."""
    running = server.load(folder(deployment.name))
    if running is None or not is_running(deployment):
        raise ServerError(f"{deployment.name} is not served.", f"Start it: corral serve {deployment.name}")
    return running.endpoint


def shell(deployment: Deployment) -> tuple[str, ...]:
    """There is none to open: raises UsageError."""
    raise UsageError(
        f"{deployment.name} runs on this machine.", f"Its log and state: corral logs {deployment.name}"
    )


def egress(deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
    """What its server is connected to; nothing is tried. Raises ServerError when it does not serve."""
    served = status(deployment)
    if served.state != "serving" or served.endpoint is None:
        raise not_serving(deployment.name)
    return observed(deployment, served.endpoint)


def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """The server's log, line by line; with `follow`, until it ends."""
    place = folder(deployment.name)
    if server.load(place) is None:
        name = deployment.name
        raise ServerError(
            f"{name} was never started here, so it has no log.", f"Start it: corral serve {name}"
        )
    tail = Tail(server.log_file(place))
    yield from tail.lines()
    while follow and server.members(place):
        time.sleep(0.2)
        yield from tail.lines()


def stop(deployment: Deployment) -> None:
    """End the server, letting its requests finish; safe to repeat."""
    user_unit.stop(deployment)
    stop_server(deployment)


def stop_server(deployment: Deployment) -> None:
    """The same of the server alone: whoever supervises it does so when it is told to end."""
    place = folder(deployment.name)
    end(place)
    server.note_wish(place)
    events.note_stop(place)


def end(place: Path) -> None:
    """End the server of that folder, whatever its record is; how it ended by itself, unseen, is kept first."""
    starting.note_unseen_end(place)
    running = server.load_or_remove(place)
    is_ready = running is not None and health.is_listening(running.endpoint)
    if running and is_ready:
        stopping.until_idle(
            running.endpoint, running.shutdown_timeout_s, lambda: hurry.is_hurried(place.name), progress
        )
    stopping.stop(
        place,
        is_ready=is_ready,
        progress=progress,
        reading=lambda: health.reading(running.endpoint) if running and is_ready else {},
    )


def down(deployment: Deployment) -> Teardown:
    """End the server and remove what it wrote; documents stay, and so do weights in the Hub's cache."""
    kept = cached_weights.whole(deployment)
    gone = remove_unread(deployment.name)
    if kept is None:
        return gone
    return gone.model_copy(update={"kept": (hub_weights.kept_line(str(kept), fetching.size_bytes(kept)),)})


def remove_unread(name: str) -> Teardown:
    """Take away whatever of that name is here, with or without documents that can be read."""
    place = folder(name)
    unit_left = user_unit.take_away(name, UNIT_STOPS_WITHIN_S)
    end(place)
    files = (*unit_left, *server.remove_files(place))
    alive = server.members(place)
    left = (*(f"process {pid}" for pid in alive), *files)
    return Teardown(name=name, counts={"processes": len(alive), "files": len(files)}, left=left)


def without_document(name: str) -> str:
    """Its processes are found in its folder."""
    return f"Was it on this machine? corral down {name} --target local."


@contextmanager
def one_at_a_time(place: Path) -> Iterator[None]:
    """Hold the deployment while it is started. Raises UsageError when another corral does so now."""
    busy = UsageError(
        f"Another corral is starting {place.name} now.", f"See how far it is: corral status {place.name}"
    )
    with locks.held(place / ".lock", busy):
        yield
