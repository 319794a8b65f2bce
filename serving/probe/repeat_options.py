"""How often a load is run."""

from typing import Annotated, ClassVar

from pydantic import Field

from infra.asked import Asked


class RepeatOptions(Asked):
    """Of one endpoint, or of several in turns."""

    heading: ClassVar[str] = "The load"

    repeat: Annotated[int, Field(ge=1, le=1000, examples=[5])] = 1
    """Run it so often, several endpoints in turns, and say what lies between the runs."""
