"""What may be asked of the places when a plan is provisioned: of each a record, whose fields are flags."""

from importlib import import_module
from typing import cast

from deploy.targets.table import PLACES
from infra.asked import Asked
from infra.errors import UsageError


class NameOptions(Asked):
    """How something new is called."""

    name: str | None = None
    """The deployment's name; made of the plan if not given."""


class PlaceOptions(Asked):
    """What may be asked of one place."""

    def refused(self, place: str, target: str) -> UsageError:
        """What to say where it is asked of another."""
        return UsageError(
            f"The target {target} takes no options of {self.heading}.",
            f"Add --target {place}, or leave them out.",
        )


class Wishes(dict[str, PlaceOptions]):
    """Place -> what is asked of it, for every place that may be asked anything."""

    @classmethod
    def records(cls) -> dict[str, type[PlaceOptions]]:
        """Place -> its record, by the table of places; a place comes with its flags."""
        return {place: record(row.wishes) for place, row in PLACES.items() if row.wishes}

    def of(self, target: str) -> PlaceOptions | None:
        """What is asked of that place; None where nothing may be. Raises UsageError for what only another takes."""
        taken = set(type(self[target]).model_fields) if target in self else set()
        for place, options in self.items():
            if place != target and options.model_dump(exclude=taken) != type(options)().model_dump(
                exclude=taken
            ):
                raise options.refused(place, target)
        return self.get(target)


def record(path: str) -> type[PlaceOptions]:
    """The record of that name, MODULE.CLASS."""
    module, _, name = path.rpartition(".")
    return cast(type[PlaceOptions], getattr(import_module(module), name))
