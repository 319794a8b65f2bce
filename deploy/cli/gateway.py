"""`corral gateway`: one address in front of a deployment, with keys of one's own."""

from typing import Annotated

import typer

from deploy.cli.flags import DryRun, FirstVerb, Json, Name
from deploy.gateway.gateway_options import GatewayOptions, StopOptions

app = typer.Typer(
    cls=FirstVerb,
    rich_markup_mode=None,
    help="One address in front of a deployment, with a key for each person: `corral gateway NAME`.",
)


Server = Annotated[
    str, typer.Argument(metavar="SERVER", help="A server, as `corral gateway status` names it.")
]


@app.command("start")
def start(name: Name, asked: GatewayOptions, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Start HAProxy in front of a deployment, here or on its host, or change the one that runs; no stream is cut.

    The address, its TLS and the limits are what is said now; keys, audit and what is spent stay. With --dry-run
    a plan's file may stand in the name's place: what a gateway of it would be, and what that takes here.
    """
    from pathlib import Path

    from deploy.gateway import foreseen_gateway
    from deploy.gateway.gateway import GatewayConfig, settings
    from deploy.gateway.gateway import start as run
    from deploy.gateway.gateway_text import shown
    from deploy.targets.deployment import load
    from infra.near import is_called_json
    from infra.say import emit

    if dry_run and is_called_json(name):
        would = foreseen_gateway.foreseen(Path(name), asked)
        emit(would, foreseen_gateway.shown(Path(name), would), as_json)
        return
    deployment = load(name)
    if dry_run:
        text = settings(deployment, asked, "(the engine's key)")
        emit(GatewayConfig(haproxy_cfg=text), text, as_json, as_it_is=True)
        return
    now = run(deployment, asked)
    emit(now, shown(now), as_json)


@app.command("status")
def status(name: Name, as_json: Json = False) -> int:
    """What it is doing: its servers, their requests, its certificate's end. Exit code 7 when it does not run.

    A certificate of corral's own authority that ends within 30 days is renewed.
    """
    from deploy.gateway.gateway import keep_certificate
    from deploy.gateway.gateway import status as look
    from deploy.gateway.gateway_text import shown
    from infra.say import emit

    keep_certificate(name)
    now = look(name)
    emit(now, shown(now), as_json)
    return 0 if now.state == "running" else 7


@app.command("drain")
def drain(name: Name, server: Server, as_json: Json = False) -> None:
    """Give a server no more requests; those it has go on."""
    from deploy.gateway.gateway import folder, load, status
    from deploy.gateway.gateway_text import shown
    from deploy.gateway.rotation import take_out
    from infra.say import emit

    load(name)
    take_out(folder(name), server)
    now = status(name)
    emit(now, shown(now), as_json)


@app.command("ready")
def ready(name: Name, server: Server, as_json: Json = False) -> None:
    """Give a server requests again, once it is seen to be healthy."""
    from deploy.gateway.gateway import folder, load, status
    from deploy.gateway.gateway_text import shown
    from deploy.gateway.rotation import take_in
    from infra.say import emit

    load(name)
    take_in(folder(name), server)
    now = status(name)
    emit(now, shown(now), as_json)


@app.command("stop")
def stop(name: Name, asked: StopOptions, as_json: Json = False) -> None:
    """End it once its streams have ended; keys and audit stay."""
    from deploy.gateway.gateway import load, status
    from deploy.gateway.gateway import stop as end
    from deploy.gateway.gateway_text import shown
    from infra.say import emit

    load(name)
    end(name, asked.within_s)
    now = status(name)
    emit(now, shown(now), as_json)
