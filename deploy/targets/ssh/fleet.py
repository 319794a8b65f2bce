"""A deployment's hosts, worked on all at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from deploy.targets.deployment import Deployment
from infra.errors import HostError, UsageError
from infra.ssh import Host, checked_destination

T = TypeVar("T")


def on_each(
    deployment: Deployment,
    do: Callable[[Host], T],
    away: Callable[[str, HostError], T] | None = None,
) -> list[T]:
    """Do something on every host at once, in the order of the hosts. The first failure is raised when all are done.

    With `away`, that is what is found of a host that cannot be asked; the failure is raised where none can.
    """
    failures: list[HostError] = []

    def at(destination: str) -> T:
        try:
            return do(connected(destination))
        except HostError as error:
            failures.append(error)
            if away is None or len(failures) == len(destinations):
                raise
            return away(destination, error)

    destinations = checked_hosts(deployment)
    if len(destinations) == 1:
        return [at(destinations[0])]
    ours = [copy_context() for _ in destinations]  # the time that is left to us holds there too
    with ThreadPoolExecutor(max_workers=8) as pool:
        try:
            return list(
                pool.map(lambda context, destination: context.run(at, destination), ours, destinations)
            )
        except KeyboardInterrupt:
            # What the threads wait for ends with their connections; else Ctrl-C would wait for a hundred gigabytes.
            for destination in destinations:
                Host(destination).close()
            raise


def checked_hosts(deployment: Deployment) -> tuple[str, ...]:
    """The hosts. Raises UsageError when they are not as many as the plan is for, or one is named twice."""
    named, planned = deployment.hosts, deployment.plan.machine.hosts
    if not named or (planned > 1 and len(named) != planned):
        raise UsageError(
            f"The plan is for {planned} hosts, and {len(named)} are named.",
            f"Name each:{''.join(f' --host ops@10.0.0.{number}' for number in range(1, planned + 1))}",
        )
    if len(set(named)) < len(named):
        raise UsageError("A host is named twice.", "Name each host once.")
    return tuple(map(checked_destination, named))


def connected(destination: str) -> Host:
    """A host whose facts were read, so that it is known whether root needs sudo there."""
    host = Host(destination)
    host.facts()
    return host
