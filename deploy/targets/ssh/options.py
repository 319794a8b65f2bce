"""What a user may ask of machines of his own."""

from typing import Annotated, ClassVar

from deploy.targets.wishes import PlaceOptions
from infra.asked import Flag
from infra.errors import UsageError


class SshOptions(PlaceOptions):
    """The options of `corral provision --target ssh`."""

    heading: ClassVar[str] = "Machines of yours"

    hosts: Annotated[tuple[str, ...], Flag("--host")] = ()
    """ssh: a machine of yours, USER@ADDRESS; repeatable."""
    engine: str | None = None
    """ssh: an engine's or wheels' folder here. [pip]"""

    @classmethod
    def refused(cls, place: str, target: str) -> UsageError:
        """Hosts are of this place alone."""
        return no_hosts()


def no_hosts() -> UsageError:
    """What to say where hosts are missing, or are named for another place."""
    return UsageError(
        "The target ssh needs hosts, and the others have none.",
        "For example: --target ssh --host gpu@10.0.0.5",
    )
