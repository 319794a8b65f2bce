"""A server of this machine is started and waited for; one that does not start is ended, with the cause in its log."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.targets import adapters
from deploy.targets.deployment import Deployment
from deploy.targets.local import cached_weights, engines, looking
from infra import bar, kernel_messages, processes
from infra.argument import pasted
from infra.errors import CorralError, ServerError, UsageError
from infra.say import progress, warn
from serving.model import precheck
from serving.vllm import diagnosis, engine, events, health, server, startup_log, stopping
from serving.vllm import versions as vllm_versions
from serving.vllm.log_reader import Tail
from serving.vllm.serve_options import ServeOptions

LAST_LINES = 20
REBOOTED = "this machine was started anew while it ran"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def start(deployment: Deployment, place: Path) -> server.Server:
    """Check what can be checked without starting anything, then start."""
    options = cached_weights.here(deployment.plan.serve)
    cached_weights.make_sure(deployment, options)
    vllm = engines.engine_of(deployment)
    refuse_unsafe_start(options, vllm)
    note_unseen_end(place)
    if server.members(place):
        stopping.stop(place, is_ready=False, progress=progress)
    weights_bytes = precheck.check(options)
    progress(f"serve: vLLM {vllm.version} ({vllm.vllm}) with {options.model}")
    try:
        started = server.start(place, vllm, options, startup_log.load_budget_s(weights_bytes))
    except BaseException:
        stopping.kill(place)
        raise
    events.note(place, "started", f"vLLM {vllm.version} with {options.model}")
    return started


def note_unseen_end(place: Path) -> None:
    """Keep how the server before ended, where nobody watched it: while its log still is the last. Never raises."""
    before = server.known(place)
    if before is None or before.stopped_at or processes.is_alive(before.leader):
        return
    if server.is_being_stopped(before):
        return
    cause = REBOOTED
    if before.leader.boot_id == processes.boot_id():
        cause = cause_of(place, before)
    events.note(place, "died", cause)
    # Told once, by whoever comes first.
    server.note(place, before.model_copy(update={"stopped_at": datetime.now(UTC)}))


def cause_of(place: Path, before: server.Server) -> str:
    """Why that server died, by its log."""
    try:
        return looking.explained(place, before, None).cause
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"


@bar.waiting("the server starts")
def wait(name: str, place: Path, running: server.Server) -> None:
    """Wait until the server serves, saying the phases of its log; on failure end it and say why."""
    said = Tail(server.log_file(place))
    exit_code: int | None = None

    def check() -> health.Verdict:
        nonlocal exit_code
        exit_code = processes.reap(running.leader.pid) if exit_code is None else exit_code
        alive = exit_code is None and processes.is_alive(running.leader)
        for words in startup_log.phases(said.lines()):
            progress(f"serve: {words}")
        return looking.judged(running) if alive else health.DEAD

    was_ready = events.was_ready(place, running.started_at)
    try:
        health.wait_until_ready(check, running.load_budget_s, time.sleep, time.monotonic, tell, was_ready)
    except ServerError as error:
        known = server.load(place)
        stopping.kill(place)  # and the log is whole
        tell_the_end(server.log_text(place))
        failure = explained(name, place, error, known, exit_code)
        if isinstance(failure, health.Stopped):
            events.note_stop(place, "while it started")
        else:
            events.note(place, "died", failure.message)
        raise failure from None
    except BaseException:
        progress("serve: interrupted; ending the server")
        stopping.kill(place)
        events.note_stop(place, "while it started")
        raise


def tell(text: str) -> None:
    """Say what is odd of a server that is waited for."""
    progress(f"serve: {text}")


def prove_adapters(deployment: Deployment, place: Path, running: server.Server) -> None:
    """Ask the server by the name of each adapter; end it where one changes nothing, or does not answer.

    Raises ServerError, EndpointError or AuthError.
    """
    try:
        adapters.prove(deployment.plan.serve, running.endpoint)
    except CorralError as error:
        stopping.kill(place)
        events.note(place, "died", error.message)
        raise
    except BaseException:
        stopping.kill(place)
        events.note_stop(place, "while it started")
        raise


def outlined(deployment: Deployment, wishes: None) -> tuple[str, ...]:
    """What a dry run says of this machine: a server that would be open to the network; asks nobody."""
    options = deployment.plan.serve
    if options.host in LOOPBACK:
        return ()
    if is_network_trusted():
        return (f"warning: {open_at(options)}",)
    refusal = too_open(options)
    return (f"would be refused: {refusal.message} {refusal.hint}",)


def is_network_trusted() -> bool:
    """Whether the user says that nobody else listens on the network."""
    return os.environ.get("CORRAL_ALLOW_REMOTE") == "1"


def too_open(options: ServeOptions) -> UsageError:
    """The refusal of a server that others could reach."""
    return UsageError(
        f"The server would listen on {options.host}, where others can reach it without TLS.",
        "Keep 127.0.0.1 and put a gateway in front; or, on a network you trust, set CORRAL_ALLOW_REMOTE=1.",
    )


def open_at(options: ServeOptions) -> str:
    """What there is to know of a server that others can reach."""
    return (
        f"The server listens on {options.host} without TLS, and answers some paths without a key: let nobody onto "
        "that network whom you do not trust with the prompts."
    )


def refuse_unsafe_start(options: ServeOptions, vllm: engine.Engine) -> None:
    """Raise UsageError for a start that would be open to the network, or take all of the memory."""
    if options.host not in LOOPBACK:
        if not is_network_trusted():
            raise too_open(options)
        warn(open_at(options))
    if vllm.is_cpu and options.kv_cache_memory_bytes is None:
        raise UsageError(
            "The plan gives no KV cache size, and vLLM's CPU engine would take 92 % of the machine's memory.",
            f"Plan for this machine: corral size {pasted(options.model)} --on local -o plan.json",
        )
    vllm_versions.check(vllm.version, progress, options.extra_args)


def tell_the_end(log: str) -> None:
    """Show the last lines of the log of a server that did not start."""
    lines = log.splitlines()[-LAST_LINES:]
    progress(f"serve: the last lines of its log ({len(lines)}):" if lines else "serve: its log is empty")
    for line in lines:
        progress(f"serve: | {line}")


def explained(
    name: str, place: Path, error: ServerError, running: server.Server | None, exit_code: int | None = None
) -> ServerError:
    """The failure with its cause, and the next step; `running` is what was on record before its end."""
    if running and (server.is_being_stopped(running) or running.stopped_at):
        return health.Stopped(f"{name} was stopped while it started.", f"Start it again: corral serve {name}")
    kernel = kernel_messages.since(running.started_at) if running else None
    cause = diagnosis.explain(server.log_text(place), exit_code, kernel)
    if cause.name == "unknown" and not isinstance(error, health.Died):
        return ServerError(error.message, f"Read its log: corral logs {name}")
    return ServerError(f"The server did not start: {cause.cause}.", cause.next.replace("NAME", name))
