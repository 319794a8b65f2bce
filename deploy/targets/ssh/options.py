"""What a user may ask of machines of his own."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from deploy.targets.wishes import PlaceOptions
from infra.asked import Flag
from infra.errors import UsageError


def each_by_itself(host: str) -> str:
    """The host. Raises UsageError for several that are typed as one."""
    from infra.ssh import several

    if named := several(host):
        raise UsageError(
            f"{host!r} is not one host.", "Repeat the flag: " + " ".join(f"--host {each}" for each in named)
        )
    return host


class SshOptions(PlaceOptions):
    """The options of `corral provision --target ssh`."""

    heading: ClassVar[str] = "Machines of yours"

    hosts: Annotated[tuple[Annotated[str, AfterValidator(each_by_itself)], ...], Flag("--host")] = ()
    """ssh: a machine of yours, USER@ADDRESS; repeatable."""
    engine: str | None = None
    """ssh: an engine's or wheels' folder here. [pip]"""

    @classmethod
    def refused(cls, place: str, target: str) -> UsageError:
        """Hosts are of this place alone."""
        return UsageError(
            f"--host names a machine of yours, and this would be on {target}.",
            f"Add --target {place}, or leave it out.",
        )


def no_hosts() -> UsageError:
    """What to say where hosts are missing."""
    return UsageError("The target ssh needs hosts.", "For example: --target ssh --host gpu@10.0.0.5")
