"""The program: one typer application, its verbs, and the one place where an error becomes an exit code."""

import os
import signal
import sys
from collections.abc import Sequence

import typer

from deploy.cli import (
    calibrate,
    capacity,
    capacity_block,
    claude_cost,
    compare,
    demo,
    down,
    engine,
    extend,
    hosts,
    iam_policy,
    logs,
    probe,
    provision,
    reap,
    report,
    serve,
    size,
    status,
    stop,
    up,
    version,
)
from deploy.cli.output import Told, fail
from infra.errors import CorralError, Interrupted, UsageError

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
def corral() -> None:
    """Exists so that `corral` is always a group of verbs."""


# Each verb's file holds its typer commands and imports what it needs when it runs, so --help stays instant.
app.add_typer(engine.engine, name="engine")
app.command("size")(size.size)
app.command("capacity")(capacity.capacity)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(probe.app, name="probe")
app.command("provision")(provision.provision)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("extend")(extend.extend)
app.add_typer(capacity_block.app, name="capacity-block")
app.command("reap")(reap.reap)
app.command("iam-policy")(iam_policy.iam_policy)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.add_typer(hosts.hosts, name="hosts")
app.command("logs")(logs.logs)
app.command("stop")(stop.stop)
app.command("compare")(compare.compare)
app.command("claude-cost")(claude_cost.claude_cost)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("version")(version.version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its documented code. SIGTERM and a closed terminal count as Ctrl-C."""
    # SIGINT too: a script's background job is started with it ignored, and could then not be ended cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Never raises for anything a user can cause."""
    as_json = "--json" in arguments
    try:
        code = app(args=list(arguments), prog_name="corral", standalone_mode=False)
        sys.stdout.flush()
        if code == Interrupted.exit_code and not isinstance(code, Told):  # what typer makes of Ctrl-C
            raise Interrupted("Interrupted.")
        return code if isinstance(code, int) else 0
    except CorralError as error:
        return fail(error, as_json)
    except typer.TyperException as error:
        return fail(usage_error(error), as_json)
    except (KeyboardInterrupt, typer.Abort):
        return fail(Interrupted("Interrupted."), as_json)
    except BrokenPipeError:
        # The reader of our output went away (`corral ... | head`); not our failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return fail(unexpected(error), as_json)


def usage_error(error: typer.TyperException) -> UsageError:
    """Turn the parser's complaint into our one sentence and hint."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "corral"
    return UsageError(message, f"See: {command} --help")


def unexpected(error: Exception) -> CorralError:
    """A bug of ours: keep the traceback in a file that can be sent to us, and say one sentence."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="corral-crash-", suffix=".log", delete=False) as file:
        traceback.print_exception(error, file=file)
    return CorralError(
        f"Something went wrong that corral does not expect: {type(error).__name__}: {error}.",
        f"The details are in {file.name}; please report them.",
    )
