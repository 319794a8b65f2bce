"""The program: one typer application and its verbs."""

import os
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer

from deploy.cli import run as running
from deploy.cli.verbs import ALONE, Verbs
from infra import command_line
from infra.say import QUIET

HELP = """Take Llama 4 from "what hardware would it need?" to a private vLLM endpoint, measured and costed.

size -> provision -> serve -> probe -> compare; `up` and `down` run the line, `demo` runs it all on this machine.

Numbers are taken as people write them: 2k, 1.5M, 3e6, 3,000,000, 70%; times as 50ms, 1s or 5min.
"""

HELPS = ("-h", "--help")

app = typer.Typer(
    name="corral",
    cls=Verbs,
    context_settings={"help_option_names": list(HELPS)},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def version(asked: bool) -> None:
    """Print the version where it was asked for, and end."""
    if asked:
        from deploy.cli import version

        version.version()
        raise typer.Exit


@app.callback(help=HELP, invoke_without_command=True)
def corral(
    context: typer.Context,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Ask nobody on the internet: no model hub, no AWS, no package index. [also CORRAL_OFFLINE=1]",
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="The AWS profile to use, whatever keys the environment holds."),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            help="Say nothing on the way: only results, questions, warnings and errors. [also CORRAL_QUIET=1]",
        ),
    ] = False,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="KEY=VALUE,...",
            help="A GPU that corral does not know, for COUNTxNAME; repeatable. Also in gpus.toml of CORRAL_HOME.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Keep the switches where every door looks; without a verb show the help, and what is next."""
    if offline:
        os.environ["CORRAL_OFFLINE"] = "1"
    if quiet:
        os.environ[QUIET] = "1"
    if gpu:
        os.environ["CORRAL_GPUS"] = "\n".join(gpu)
    if profile is not None:
        from infra.aws.profile import use

        use(profile)
    if context.invoked_subcommand is None:
        context.meta[ALONE] = True
        typer.echo(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line of corral; return its exit code."""
    front, rest = fronted(arguments)
    command_line.before_the_verb[:] = [word for word in front if word != "--quiet"]
    return running.run(app, [*front, *rest])


def fronted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """corral's own options, which stand before the verb, wherever they were said, as AWS's CLI takes them; the rest.

    Each verb has a --json of its own: it stands at the end, where it may have been said before the verb. Where there is
    none, or only a help is asked for, it says nothing.
    """
    front: list[str] = []
    rest: list[str] = []
    as_json: list[str] = []
    as_it_is: list[str] = []
    left = iter(arguments)
    for word in left:
        if word == "--":
            as_it_is = [word, *left]
        elif word in ("--profile", "--gpu"):
            front += [word, *islice(left, 1)]
        elif word in ("--offline", "--quiet") or word.startswith(("--profile=", "--gpu=")):
            front.append(word)
        else:
            (as_json if word == "--json" else rest).append(word)
    if rest[:1] in ([], ["--version"]) or any(word in HELPS for word in rest):
        as_json = []
    return front, [*rest, *as_json, *as_it_is]
