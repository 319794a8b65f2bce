"""The servers of a rented deployment: one over all of its machines, or replicas, of which each is served as soon as it
can be. What stands against one replica, or keeps it from getting ready, holds up no other.
"""

import math
from collections.abc import Callable
from datetime import datetime

from deploy.targets import adapters
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import box_release, boxes, common_key, documents, judged_start, rental, tunnels
from infra import bar, wait
from infra.aws import power, rented_machines, replacing
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.errors import CloudError, CorralError
from infra.rented import Rented
from infra.say import progress, warn
from serving.vllm.endpoint import Endpoint


def served(aws: Aws, deployment: Deployment, order: Order) -> Endpoint:
    """Start what is stopped, put back what is lost, and wait for machines and servers, whoever waits."""
    if order.replicas > 1:
        return Replicas(aws, deployment, order).served()
    started(aws, deployment, order)
    boxes.tell_ends(aws, deployment, order)
    machines = boxes.running(aws, deployment, order)
    if order.nodes > len(machines):
        raise CloudError(
            f"Only {len(machines)} of the {order.nodes} machines of {deployment.name} run.",
            f"Rent all of them anew: corral up plan.json --target ec2 --name {deployment.name}",
        )
    for machine in machines:
        boxes.wait_prepared(aws, deployment, machine)
        box_release.end_trial(deployment, machine)
    judged_start.start(aws, deployment, order, machines)
    return ready(aws, deployment, order, machines)


def ready(
    aws: Aws,
    deployment: Deployment,
    order: Order,
    machines: tuple[Rented, ...],
    meanwhile: Callable[[], None] = lambda: None,
) -> Endpoint:
    """Where a server answers from here, once it does; `meanwhile` is done every now and then."""
    endpoint = tunnels.endpoint(deployment, order, machines[0])
    boxes.wait_ready(aws, deployment, machines, endpoint, meanwhile)
    adapters.prove(deployment.plan.serve, endpoint)
    return endpoint


def started(aws: Aws, deployment: Deployment, order: Order) -> CorralError | None:
    """Start what is stopped. Why that cannot be, where other replicas run, which are served all the same."""
    machines = rented_machines.machines(aws, deployment.name, order.regions)
    if not power.is_stopped(machines):
        return None
    up = replacing.up(machines)
    try:
        with documents.alone(deployment.name):
            tunnels.close(deployment.name, power.ids(up))
            power.start(aws, order)
    except CorralError as error:
        if order.replicas == 1 or not up:
            raise
        return error
    return None


def put_back(aws: Aws, deployment: Deployment, order: Order) -> CorralError | None:
    """Rent the replicas anew that are lost of those that run. Why it cannot be, which ends nothing.

    Where as few as there are were said to do, that is only told. The end of all that run is scheduled: what rented them
    may have been cut off before that.
    """
    there = rented_machines.machines(aws, deployment.name, order.regions)
    if not replacing.is_wanting(order, there):
        if alive := replacing.up(there):
            power.keep_end(aws, order, alive)
        return None
    try:
        with documents.alone(deployment.name):
            rental.put_back(aws, deployment, order)
    except CorralError as error:
        there = replacing.up(rented_machines.machines(aws, deployment.name, order.regions))
        if not replacing.will_do(order, there):
            return error
        warn(f"{len(there)} of {order.replicas} replicas of {deployment.name}: {error.message}")
    return None


def with_each(
    order: Order, machines: tuple[Rented, ...], step: Callable[[Rented], None]
) -> CorralError | None:
    """Do it with every machine. What stands against the first replica with which it fails, which keeps it from no
    other; raised where it is done with none, or all are one server's.
    """
    errors: list[CorralError] = []
    for machine in machines:
        try:
            step(machine)
        except CorralError as error:
            if order.replicas == 1:
                raise
            errors.append(left(order, machine, error))
    if errors and len(errors) == len(machines):
        raise errors[0]
    return errors[0] if errors else None


def left(order: Order, machine: Rented, error: CorralError) -> CorralError:
    """Tell what stands against a replica, with how it is ended and another takes its place."""
    warn(f"{machine.instance_id}: {error.message}")
    way = boxes.another_for(order.name, machine)
    error.hint = f"{error.hint.rstrip('.')}. {way}" if error.hint else way
    return error


class Replicas:
    """Those of a deployment, from their preparation to their first answer."""

    def __init__(self, aws: Aws, deployment: Deployment, order: Order) -> None:
        self.aws, self.deployment, self.order = aws, deployment, order
        self.waiting: list[Awaited] = []
        """Whose boxes are not prepared yet."""
        self.begun: list[Rented] = []
        """Which were started, and have not answered yet."""
        self.endpoints: dict[str, Endpoint] = {}
        """Where those that serve answer, by the ids of their machines."""
        self.failed: CorralError | None = None
        """What stands against the first that is not well."""
        self.lost: CorralError | None = None
        """The first that went while it was waited for."""

    def served(self) -> Endpoint:
        """Where the first answers. Those that run are served before others are started, or rented anew.

        Raises what stands against the first that is not well, once the others are served.
        """
        there = rented_machines.machines(self.aws, self.deployment.name, self.order.regions)
        running = tuple(machine for machine in there if machine.state == "running")
        self.serve(running)
        lacking = started(self.aws, self.deployment, self.order)
        lacking = lacking or put_back(self.aws, self.deployment, self.order)
        self.lost = None  # it is wanting no more, or that is said
        before = power.ids(running)
        there = boxes.running(self.aws, self.deployment, self.order)
        self.serve(tuple(machine for machine in there if machine.instance_id not in before))
        if failed := lacking or self.failed or self.lost:
            raise failed
        found = [self.endpoints[key] for key in power.ids(there) if key in self.endpoints]
        if not found:
            name = self.deployment.name
            raise CloudError(f"No replica of {name} is there any more.", f"Again: corral serve {name}")
        return found[0]

    def serve(self, machines: tuple[Rented, ...]) -> None:
        """Have these serve, each as soon as its box is prepared."""
        if not machines:
            return
        there = rented_machines.machines(self.aws, self.deployment.name, self.order.regions)
        end = power.end_of(self.order, replacing.up(there))
        tunnels.close(self.deployment.name, power.ids(replacing.up(there)))
        self.waiting = [Awaited(self.aws, self.deployment, self.order, machine, end) for machine in machines]
        self.look()
        while self.begun or self.waiting:
            if self.begun:
                self.answer(self.begun.pop(0))
            else:
                self.until_one_is_begun()

    @bar.waiting("the boxes prepare themselves")
    def until_one_is_begun(self) -> None:
        """Look until one of those is prepared, or none is waited for."""

        def is_over() -> bool:
            self.look()
            return bool(self.begun) or not self.waiting

        self.aws.sleep(boxes.POLL_S)
        wait.until(is_over, bool, self.aws.pace(math.inf, boxes.POLL_S))

    def look(self) -> None:
        """Look at each that prepares itself once, and begin with what is prepared."""
        if not self.waiting:
            return
        there = rented_machines.machines(self.aws, self.deployment.name, self.order.regions)
        alive = power.ids(replacing.up(there))
        for box in tuple(self.waiting):
            machine = box.machine
            try:
                if machine.instance_id not in alive:
                    self.lost = self.lost or gone(self.deployment.name, machine)
                elif box.is_prepared():
                    self.begin(machine)
                    self.begun.append(machine)
                else:
                    self.tell_late(box)
                    continue
            except CorralError as error:
                self.leave(machine, error)
            self.waiting.remove(box)

    def begin(self, machine: Rented) -> None:
        """Give it the key of all, and have it start its server as the judge is to have it."""
        box_release.end_trial(self.deployment, machine)
        common_key.share(self.deployment, (machine,))

        judged_start.start(self.aws, self.deployment, self.order, (machine,))

    def answer(self, machine: Rented) -> None:
        """Wait until it answers; others begin meanwhile."""
        try:
            endpoint = ready(self.aws, self.deployment, self.order, (machine,), self.look)
        except CorralError as error:
            self.leave(machine, error)
            return
        self.endpoints[machine.instance_id] = endpoint
        one_for_all = f"one address for all: corral gateway {self.deployment.name}"
        progress(f"{machine.instance_id} answers at {endpoint.base_url}; {one_for_all}")

    def tell_late(self, box: "Awaited") -> None:
        """Say of one that takes long that it may be given up, where others serve."""
        if self.endpoints and box.preparation.is_late and not box.is_told_late:
            box.is_told_late = True
            warn(
                f"{box.machine.instance_id} is not prepared: {box.preparation.so_far}. The others are served. "
                f"{boxes.another_for(self.deployment.name, box.machine)}"
            )

    def leave(self, machine: Rented, error: CorralError) -> None:
        """Go on without it. What AWS refuses is nothing that a machine has."""
        failure = left(self.order, machine, error)
        self.failed = self.failed or failure


def gone(name: str, machine: Rented) -> CloudError:
    """What is said of one that went while it was waited for."""
    progress(f"{machine.instance_id} is not there any more")
    return CloudError(
        f"{machine.instance_id} is not there any more.", f"Put another in its place: corral serve {name}"
    )


class Awaited:
    """A replica whose box prepares itself."""

    def __init__(
        self, aws: Aws, deployment: Deployment, order: Order, machine: Rented, end: datetime
    ) -> None:
        self.machine = machine
        self.preparation = boxes.Preparation(aws, deployment, machine)
        self.is_told_late = False
        """Whether it was said that it takes long."""
        # Its own timer went with a stop, so it is told at once; of another end there is time.
        was_stopped = machine.billed_until_start is not None
        is_other = was_stopped or boxes.has_other_end(order, machine, end)
        self._telling = boxes.Telling(aws, order.name, machine, end) if is_other else None
        self._is_urgent = was_stopped

    def is_prepared(self) -> bool:
        """Whether it is, and knows when it ends; it is looked at once. Raises what it says that it failed with,
        ServerError where its time is over, HostError where it cannot be told when it ends.
        """
        if self._is_urgent and self._telling:
            self._telling.is_done()
        if not self.preparation.is_over():
            return False
        self.preparation.require()
        return self._telling is None or self._telling.is_done()
