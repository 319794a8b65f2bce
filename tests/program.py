"""The whole program, for tests: the commands of its verbs, and the records whose fields are their flags."""

from typing import Any

from infra.asked import Asked


def records(record: type[Asked] = Asked) -> list[type[Asked]]:
    """All records of flags that the program has."""
    below = [each for kind in record.__subclasses__() for each in records(kind)]
    return [record, *below] if not record.__module__.startswith("test") else []


def commands(group: Any) -> list[Any]:
    """All commands below a group."""
    below = [commands(each) if hasattr(each, "commands") else [each] for each in group.commands.values()]
    return [each for several in below for each in several]
