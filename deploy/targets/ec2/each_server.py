"""The servers of a rented deployment, step by step: what stands against one replica keeps no other from serving."""

from collections.abc import Callable
from typing import TypeVar

from infra.aws.order import Order
from infra.errors import CorralError
from infra.rented import Rented
from infra.say import warn

T = TypeVar("T")


class Servers:
    """Those of an order that are well so far, each with its machines; replicas have one each."""

    def __init__(self, order: Order, machines: tuple[Rented, ...]) -> None:
        self.order = order
        self.well = [(machine,) for machine in machines] if order.replicas > 1 else [machines]
        self.failed: CorralError | None = None
        """What stands against the first that is not well."""

    def each(self, step: Callable[[tuple[Rented, ...]], T]) -> list[T]:
        """What the step came to with each that is well. A replica with which it fails is told, and left
        out from then on.

        Raises what the step raises where no other is left.
        """
        done: list[tuple[tuple[Rented, ...], T]] = []
        for one in self.well:
            try:
                done.append((one, step(one)))
            except CorralError as error:
                if self.order.replicas == 1:
                    raise
                self.leave(one[0], error)
        self.well = [one for one, _ in done]
        if self.failed and not done:
            raise self.failed
        return [came_to for _, came_to in done]

    def each_machine(self, step: Callable[[Rented], None]) -> None:
        """The same, machine by machine."""

        def of_all(machines: tuple[Rented, ...]) -> None:
            for machine in machines:
                step(machine)

        self.each(of_all)

    def leave(self, machine: Rented, error: CorralError) -> None:
        """Tell what stands against a replica, and how it is ended and another takes its place."""
        warn(f"{machine.instance_id}: {error.message}")
        error.hint = (
            f"{error.hint} To put another in its place: aws ec2 terminate-instances --region {machine.region} "
            f"--instance-ids {machine.instance_id}; then: corral serve {self.order.name}"
        ).strip()
        self.failed = self.failed or error
