"""The table of verbs: a file each, imported when its verb is asked for, so that `corral --help` is instant."""

from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from deploy.cli.flags import Command, verb
from deploy.cli.narrow import Line
from infra.home import home

WORK = {
    "Plan": {
        "size": "Which machine holds the model, how fast, at what price.",
        "capacity": "From traffic to machines and dollars a month.",
        "simulate": "What replicas make of a day, request by request.",
        "claude-cost": "What requests cost on the Claude API.",
        "prices": "Show each price with its source and age.",
        "export": "Render a plan for another tool; nothing is run or asked.",
    },
    "Make ready": {
        "doctor": "What a line needs, looked at beforehand, with remedies.",
        "up": "Size, provision and serve in one go.",
        "provision": "Make a plan's machine ready: this, a rented or an own one.",
        "engine": "The vLLM that corral starts on this machine.",
        "fetch": "Weights from the model hub, every file verified.",
        "weights": "Weights in a bucket of your own, for the next launch.",
        "bundle": "A plan's engine and model for a machine without a network.",
        "hosts": "Machines you own: what they are, and what is on them.",
        "capacity-block": "See and buy GPUs that EC2 reserves by the day.",
        "iam-policy": "Print the least IAM policy that corral or its roles need.",
    },
    "Serve": {
        "serve": "Start vLLM and return once it really answers.",
        "status": "What a deployment is doing now.",
        "logs": "Print the server's log.",
        "connect": "Keep the way to a server open until Ctrl-C.",
        "ssh": "Open a shell on a deployment's machine.",
        "egress": "The proof that nothing leaves.",
        "gateway": "One address in front of a deployment, with keys.",
        "keys": "Who may ask a gateway, and what they used.",
        "upgrade": "The next engine, weights or options, with a way back.",
        "roll": "Restart or upgrade replicas, one at a time.",
        "stop": "End the server, keep the machine.",
    },
    "Measure and compare": {
        "probe": "Put a load on an endpoint and say what it delivers.",
        "quality": "Whether two endpoints answer alike, on your own texts.",
        "calibrate": "Bend the throughput model to a probe of a real machine.",
        "compare": "What a million tokens costs here, next to the Claude API.",
        "report": "Make a comparison's page again from its documents.",
    },
    "End it": {
        "extend": "Let a rented deployment live longer.",
        "down": "Take it away and count what is left, type by type.",
        "reap": "End what outlived its time in this account, and prove it.",
    },
    "Besides": {
        "demo": "Run the whole line on this machine, on a toy model.",
        "config": "What need not be typed, and where it is kept.",
        "schema": "What a verb prints with --json, described for programs.",
        "version": "Print the version of corral.",
    },
}
"""What there is to do, in the order in which it is done -> the verbs for it -> what each is for, in 80 columns."""

VERBS = {name: line for verbs in WORK.values() for name, line in verbs.items()}
"""Verb -> what it is for."""

FILES = {"ssh": "connect"}
"""Verb -> the file it is in, where that is another's."""

ALONE = "corral.alone"
"""Whether the program's help is shown for want of a verb, as its context keeps it."""


class Commands(MutableMapping[str, Any]):
    """The verbs as typer takes its commands: by name, each made when it is asked for."""

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)

    def __contains__(self, name: object) -> bool:
        return name in VERBS

    def __getitem__(self, name: str) -> Any:
        if name not in VERBS:
            raise KeyError(name)
        return command_of(name)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("A verb is added to the table.")

    def __delitem__(self, name: str) -> None:
        raise TypeError("A verb is taken from the table.")


class Verbs(TyperGroup):
    """The program's verbs."""

    context_class = Line

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table, for which no verb is imported."""
        column = max(map(len, VERBS))
        for work, verbs in WORK.items():
            with formatter.section(work):
                formatter.write_dl([(name.ljust(column), line) for name, line in verbs.items()])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Where no verb was typed, end with the next step of each deployment, if there are any."""
        if ctx.meta.get(ALONE) and any(home().glob("*/deployment.json")):
            from deploy.next_step import steps_here

            with formatter.section("Next, of the deployments here"):
                formatter.write("".join(f"  {line}\n" for line in steps_here()))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What begins so: the verbs of the table, none of which is imported for it, and corral's own options."""
        self.commands = {name: TyperCommand(name, help=line) for name, line in VERBS.items()}
        return super().shell_complete(ctx, incomplete)


@cache
def command_of(name: str) -> Any:
    """The command of a verb, from its file: a function of the verb's name, or a group of functions called `app`."""
    word = name.replace("-", "_")
    file = import_module(f"deploy.cli.{FILES.get(name, word)}")
    program = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if group := getattr(file, "app", None):
        program.add_typer(group, name=name)
    else:
        program.command(name)(getattr(file, word))
    commands: list[Any] = (group or program).registered_commands
    for info in commands:
        own = info.cls if info.cls is not None and issubclass(info.cls, Command) else Command
        info.callback, info.cls = verb(info.callback), own
    return typer.main.get_group(program).commands[name]
