"""What may be asked of the places when a plan is provisioned: of each a record, whose fields are flags."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from deploy.targets.table import PLACES
from infra.asked import Asked
from infra.errors import UsageError


class NameOptions(Asked):
    """How something new is called."""

    name: str | None = None
    """The deployment's name; made of the plan if not given."""


class PlaceOptions(Asked):
    """What may be asked of one place."""

    @classmethod
    def refused(cls, place: str, target: str) -> UsageError:
        """What to say where it is asked of another."""
        return UsageError(
            f"The target {target} takes no options of {cls.heading}.",
            f"Add --target {place}, or leave them out.",
        )


class Wishes(dict[str, dict[str, Any]]):
    """Place -> what was typed of its flags, for every place that may be asked anything."""

    def __init__(self, typed: Mapping[str, dict[str, Any]], kept: frozenset[str] = frozenset()) -> None:
        super().__init__(typed)
        self.kept = kept
        """The fields that nobody typed now: another place need not take them."""

    @classmethod
    def records(cls) -> dict[str, type[PlaceOptions]]:
        """Place -> its record, by the table of places; a place comes with its flags."""
        return {place: record(row.wishes) for place, row in PLACES.items() if row.wishes}

    def of(self, target: str) -> PlaceOptions | None:
        """What is asked of that place; None where nothing may be.

        Raises UsageError for what only another place takes, and then for what does not hold.
        """
        records = self.records()
        taken = set(records[target].model_fields) if target in records else set()
        asked = {place: asked_for(records[place], typed) - self.kept for place, typed in self.items()}
        if others := [place for place in self if place != target and asked[place] - taken]:
            meant = max(others, key=lambda place: len(asked[place]))  # it takes the most of what was typed
            raise records[meant].refused(meant, target)
        return records[target].of(self[target]) if target in self else None


def asked_for(options: type[Asked], typed: Mapping[str, Any]) -> set[str]:
    """The fields that are not as they are when nobody says anything."""
    fields = options.model_fields
    return {field for field, value in typed.items() if str(value) != str(fields[field].default)}


def record(path: str) -> type[PlaceOptions]:
    """The record of that name, MODULE.CLASS."""
    module, _, name = path.rpartition(".")
    return cast(type[PlaceOptions], getattr(import_module(module), name))
