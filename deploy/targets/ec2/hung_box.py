"""A box that hangs: EC2's own checks of it fail for as long as it does, though it says nothing of that itself."""

from infra.aws import rented_machines
from infra.aws.api import Aws
from infra.rented import Rented

HANGS_AFTER_S = 600.0
"""So long must EC2's checks of a box fail before it is not waited for any more: they fail while a box boots, too, and
that takes less."""


class HungBox:
    """Since when EC2's checks of a box fail, looked at again and again."""

    def __init__(self, aws: Aws, machine: Rented) -> None:
        self._aws, self._machine = aws, machine
        self._since_s: float | None = None
        self._failing = ""

    def is_hung(self) -> bool:
        """Look; whether they have failed for so long. Where EC2 does not say, they have not."""
        self._failing = rented_machines.failing_checks(self._aws, self._machine)
        if not self._failing:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = self._aws.clock()
        return self._since_s is not None and self._aws.clock() - self._since_s >= HANGS_AFTER_S

    @property
    def words(self) -> str:
        """What is said of one that hangs."""
        return f"EC2's own check of its {self._failing} has failed for {HANGS_AFTER_S / 60:.0f} minutes"
