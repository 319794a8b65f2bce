"""What was meant by a line that the parser refuses: an option of another verb, or one left out below a verb."""

import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import typer

from deploy.cli.verbs import VERBS, WORK, command_of
from infra.errors import UsageError

EVERYWHERE = ("--json",)
"""Options of most verbs: that others have one helps nobody."""
SCHEDULE = "--schedule"
"""Of compare: `capacity` is told how many times the mean of a month the peak is."""
INSTEAD = {("down", "--dry-run"): "What there is to be taken away"}
"""A verb and an option that it has not -> what `corral status` tells instead."""


def meant(error: typer.TyperException, arguments: Sequence[str]) -> str:
    """What to type instead, as the beginning of a hint; empty where nothing is known."""
    context = getattr(error, "ctx", None)
    if context is None or context.parent is None:  # it was refused before its verb was known
        return ""
    option = getattr(error, "option_name", None)
    if option and hasattr(error, "possibilities"):
        return "" if error.possibilities and option != SCHEDULE else of_another(option, arguments)
    return left_out(context, arguments)


def of_another(option: str, arguments: Sequence[str]) -> str:
    """Which verbs for the same work take an option."""
    if option in EVERYWHERE:
        return ""
    at = next((at for at, word in enumerate(arguments) if word in VERBS), 0)
    verb, name = (*arguments[at : at + 2], "", "")[:2]
    if about := INSTEAD.get((verb, option)):
        of_it = f" {shlex.quote(name)}" if name and not name.startswith("-") else ""
        return f"{about}: corral status{of_it}. "
    if (verb, option) == ("capacity", SCHEDULE):
        return by_peak(arguments)
    others = next((verbs for verbs in WORK.values() if verb in verbs), {})
    takers = [each for each in others if each != verb and option in options(command_of(each))]
    return f"{option} is an option of {' and '.join(takers)}. " if takers else ""


def by_peak(arguments: Sequence[str]) -> str:
    """The line with a schedule's hours said by its peak; where they cannot be read, how one is said."""
    from deploy.costs.peak import over_the_month
    from deploy.costs.schedule import schedule

    at = next(at for at, word in enumerate(arguments) if word.partition("=")[0] == SCHEDULE)
    _, is_joined, text = arguments[at].partition("=")
    rest = [*arguments[:at], *arguments[at + (1 if is_joined else 2) :]]
    try:
        hours = schedule(text or "".join(arguments[at + 1 : at + 2])).hours_per_month
    except UsageError:
        return "Hours are in its peak: --peak-factor 6.7 is of weekdays from 8 to 18 alone. "
    line = shlex.join([*rest, "--peak-factor", f"{over_the_month(hours):g}"])
    return f"Hours are in its peak: corral {line}. "


def options(command: Any) -> Iterator[str]:
    """The options of a verb, and of those below it."""
    for below in getattr(command, "commands", {}).values():
        yield from options(below)
    for each in command.params:
        if each.param_type_name == "option" and not getattr(each, "hidden", False):
            yield from each.opts


def left_out(context: Any, arguments: Sequence[str]) -> str:
    """The first verb below one, where just the words that it takes follow without it."""
    below = getattr(getattr(context, "command", None), "commands", {})
    if not below:
        return ""
    words = [word for word in arguments if not word.startswith("-")][1:]
    name, first = next(iter(below.items()))
    taken = [each for each in first.params if each.param_type_name == "argument"]
    if (
        len(words) != len(taken)
        or not taken
        or taken[0].metavar != "NAME"
        or get_close_matches(words[0], below)
    ):
        return ""
    return f"Put what is to be done before it: {context.command_path} {name} {shlex.join(words)}. "
