"""The program: one typer application and its verbs."""

import os
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer

from deploy.cli import (
    bundle,
    calibrate,
    capacity,
    capacity_block,
    claude_cost,
    compare,
    connect,
    demo,
    down,
    egress,
    engine,
    export,
    extend,
    hosts,
    iam_policy,
    logs,
    prices,
    probe,
    provision,
    reap,
    report,
    schema,
    serve,
    size,
    status,
    stop,
    up,
    version,
    weights,
)
from deploy.cli import run as running
from infra import interrupts

HELP = """Take Llama 4 from "what hardware would it need?" to a private vLLM endpoint, measured and costed.

size -> provision -> serve -> probe -> compare; `up` and `down` run the line, `demo` runs it all on this machine.
"""

app = typer.Typer(
    name="corral",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(help=HELP)
def corral(
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            envvar="CORRAL_OFFLINE",
            help="Ask nobody on the internet: no model hub, no AWS, no package index.",
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="The AWS profile to use, whatever keys the environment holds."),
    ] = None,
) -> None:
    """Exists so that `corral` is always a group of verbs; keeps the switches where every door looks."""
    if offline:
        os.environ["CORRAL_OFFLINE"] = "1"
    if profile is not None:
        from infra.aws.profile import use

        use(profile)


# Each verb's file holds its typer commands and imports what it needs when it runs, so --help stays instant.
app.add_typer(engine.engine, name="engine")
app.add_typer(bundle.bundle, name="bundle")
app.add_typer(weights.weights, name="weights")
app.command("size")(size.size)
app.command("capacity")(capacity.capacity)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(probe.app, name="probe")
app.command("export")(export.export)
app.command("provision")(provision.provision)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("extend")(extend.extend)
app.add_typer(capacity_block.app, name="capacity-block")
app.command("reap")(reap.reap)
app.command("prices")(prices.prices)
app.command("iam-policy")(iam_policy.iam_policy)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("egress")(egress.egress)
app.add_typer(hosts.hosts, name="hosts")
app.command("logs")(logs.logs)
app.command("connect")(connect.connect)
app.command("ssh")(connect.ssh)
app.command("stop")(stop.stop)
app.command("compare")(compare.compare)
app.command("claude-cost")(claude_cost.claude_cost)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("schema")(schema.schema)
app.command("version")(version.version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its documented code. SIGTERM and a closed terminal count as Ctrl-C."""
    interrupts.heed()
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    interrupts.ignore()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line of corral; return its exit code."""
    return running.run(app, fronted(arguments))


def fronted(arguments: Sequence[str]) -> list[str]:
    """The command line with corral's own options before the verb, wherever they stand, as AWS's CLI takes them."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for word in left:
        if word == "--":
            return [*front, *rest, word, *left]
        if word == "--profile":
            front += [word, *islice(left, 1)]
        elif word == "--offline" or word.startswith("--profile="):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest]
