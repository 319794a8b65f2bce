"""What rented boxes say of themselves and are told: their preparation, their rank, their end."""

import math
import shlex
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from deploy.targets import host_deaths
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import documents, journals
from deploy.targets.ec2.hung_box import HungBox
from infra import bar, wait
from infra import host as hosts
from infra.aws import failover, power, rented_machines, session
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.errors import CloudError, HostError, ServerError
from infra.phase import Phase, last_phase
from infra.rented import Rented
from serving.vllm import diagnosis, health
from serving.vllm.endpoint import Endpoint
from serving.vllm.startup_log import load_budget_s

POLL_S = 15.0
SAY_EVERY_S = 30.0
OVER = ("prepared", "failed", "interrupted")
# Less than a box that was stopped waits to be told its end (onhost/watch.py).
TOLD_WITHIN_S = 600.0
# A machine boots some minutes after its launch was ordered; that is no other end.
OTHER_END = timedelta(minutes=30)
# Boot, and pip or a packed engine; the weights come on top.
ENGINE_WITHIN_S = 1800.0
DOWNLOAD_BYTES_PER_S = 100e6


def phase(aws: Aws, deployment: Deployment, machine: Rented) -> Phase:
    """What the box told last of its own preparation, on its console."""
    return last_phase(failover.console(aws, machine.region, machine.instance_id), deployment.name)


@bar.waiting("the box prepares itself")
def wait_prepared(aws: Aws, deployment: Deployment, machine: Rented) -> None:
    """Wait until the box has engine and weights, though its server may have failed since.

    Raises ServerError when it says that it could not prepare itself, or time is over.
    """
    box = Preparation(aws, deployment, machine)
    wait.until(box.is_over, bool, aws.pace(math.inf, POLL_S))
    box.require()


class Preparation:
    """How far a box is with engine and weights, looked at again and again."""

    def __init__(self, aws: Aws, deployment: Deployment, machine: Rented) -> None:
        self._aws, self._deployment, self._machine = aws, deployment, machine
        self._limit_s = prepared_within_s(deployment)
        self._begun_s = self._told_s = aws.clock()
        self._last = Phase()
        self._checks, self._is_hung = HungBox(aws, machine), False

    @property
    def _elapsed_s(self) -> float:
        return self._aws.clock() - self._begun_s

    @property
    def so_far(self) -> str:
        """In words, with the time that it may take."""
        return so_far(self._deployment, self._last, self._elapsed_s)

    @property
    def is_late(self) -> bool:
        """Whether half of the time that it may take is over."""
        return self._elapsed_s >= self._limit_s / 2

    def is_over(self) -> bool:
        """Look; whether it told its end, or the time is over. What is new, or was not said for long, is passed on."""
        now = phase(self._aws, self._deployment, self._machine)
        is_new, self._last = now != self._last, now
        if is_new or self._aws.clock() >= self._told_s + SAY_EVERY_S:
            self._aws.say(f"serve: {self._machine.instance_id}: {self.so_far}")
            self._told_s = self._aws.clock()
        self._is_hung = self._checks.is_hung()
        return now.state in OVER or self._is_hung or self._elapsed_s >= self._limit_s

    def require(self) -> None:
        """Raise ServerError where it is over and the box is not prepared."""
        last, name = self._last, self._deployment.name
        if last.state == "failed" and not last.is_prepared:
            raise ServerError(
                f"The box could not prepare itself: {last.words}.", f"Read all: corral logs {name}"
            )
        if last.state == "interrupted":
            raise ServerError(f"{self._machine.instance_id}: {last.words}.", again(self._deployment))
        if not last.is_prepared and self._is_hung:
            raise ServerError(
                f"The box hangs: {self._checks.words}; last: {last.words or 'nothing'}.",
                next_step(self._deployment),
            )
        if not last.is_prepared:
            raise ServerError(
                f"The box was not prepared after {self._limit_s / 60:.0f} minutes; last: {last.words or 'nothing'}.",
                next_step(self._deployment),
            )


def tell_end(name: str, machine: Rented, minutes: int) -> None:
    """Have a box end itself in so many minutes. Raises HostError when it cannot be told, or does not do it."""
    answer = session.run(machine.instance_id, machine.region, f"sudo {hosts.root(name)}/bin/extend {minutes}")
    if answer.exit_code:
        raise HostError(
            f"{machine.instance_id} did not move its own end: {answer.last_line}.",
            f"It ends when it was to end before. Read why: corral logs {name}",
        )


class Telling:
    """Telling a box when it ends itself; it may have just started, and not be reached yet."""

    def __init__(self, aws: Aws, name: str, machine: Rented, end: datetime) -> None:
        self._aws, self._name, self._machine, self._end = aws, name, machine, end
        self._since_s: float | None = None
        self._is_told = False

    def is_done(self) -> bool:
        """Whether it knows: where it does not it is told once. Raises HostError where it was not reached for long."""
        if self._is_told:
            return True
        left_s = (self._end - self._aws.now()).total_seconds()
        minutes = max(1, math.ceil(left_s / 60))
        self._since_s = self._aws.clock() if self._since_s is None else self._since_s
        try:
            tell_end(self._name, self._machine, minutes)
        except HostError as error:
            if self._aws.clock() >= self._since_s + TOLD_WITHIN_S:
                error.hint = f"It ends itself soon unless it is told: corral extend {self._name} {minutes}m"
                raise
            self._aws.say(f"{self._machine.instance_id}: {error.message}")
            return False
        self._is_told = True
        return True


def has_other_end(order: Order, machine: Rented, end: datetime) -> bool:
    """Whether it would end itself at another time than that of all: it was made to live as long as the first were."""
    return abs(machine.launched_at + timedelta(minutes=order.ttl_minutes) - end) > OTHER_END


def prepared_within_s(deployment: Deployment) -> float:
    """How long a box may take until it has engine and weights."""
    return ENGINE_WITHIN_S + deployment.plan.weights_bytes / DOWNLOAD_BYTES_PER_S


def so_far(deployment: Deployment, phase: Phase, elapsed_s: float) -> str:
    """How far a box is with its preparation, and how long that may take."""
    minutes = f"{elapsed_s / 60:.0f} of at most {prepared_within_s(deployment) / 60:.0f} minutes"
    return f"{phase.words or 'booting'} ({minutes})"


@bar.waiting("the server starts")
def wait_ready(
    aws: Aws,
    deployment: Deployment,
    machines: tuple[Rented, ...],
    endpoint: Endpoint,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until the server has answered a real completion. Raises ServerError when it does not.

    What comes before its start takes nothing of the load's time; systemd has a limit for that. Nor does what is done
    `meanwhile`, every 15 s.
    """
    began_s = asked_at = aws.clock()
    ended: ServerError | None = None
    is_early = any(is_before_start(deployment, machine) for machine in machines)
    checks = {machine.instance_id: HungBox(aws, machine) for machine in machines}

    def check() -> health.Verdict:
        nonlocal began_s, asked_at, ended, is_early
        if aws.clock() >= asked_at + POLL_S:
            asked_at, ended = aws.clock(), ending(aws, deployment, machines)
            hung = [f"{key} hangs: {box.words}." for key, box in checks.items() if box.is_hung()]
            ended = ended or (ServerError(hung[0], next_step(deployment)) if hung else None)
            is_early = is_early and any(is_before_start(deployment, machine) for machine in machines)
            before_s = aws.clock()
            meanwhile()
            began_s += aws.clock() - before_s
        if ended:
            return health.DEAD
        if is_early:
            began_s = aws.clock()
            return health.BEFORE_START
        return health.judge(health.look(endpoint), endpoint.served_model_name)

    budget_s = load_budget_s(deployment.plan.weights_bytes)
    try:
        health.wait_until_ready(
            check,
            budget_s,
            aws.sleep,
            lambda: aws.clock() - began_s,
            lambda text: aws.say(f"serve: {text}"),
        )
    except ServerError as error:
        raise (ended or explained(deployment, machines[0], error)) from None


def is_before_start(deployment: Deployment, machine: Rented) -> bool:
    """Whether a machine waits for a GPU that is late, or sums up its weights, before it starts its server."""
    words = f"systemctl show --value --property=SubState {hosts.unit(deployment.name)}"
    try:
        return session.run(machine.instance_id, machine.region, words).text.strip() == "start-pre"
    except HostError:
        return False


def explained(deployment: Deployment, machine: Rented, error: ServerError) -> ServerError:
    """The failure with the cause that the first machine's log and kernel give, where they can be read."""
    cause = death(deployment, machine, journals.journal(deployment))
    if cause is None:
        return ServerError(error.message, next_step(deployment))
    return ServerError(
        f"The server on {machine.instance_id} did not start: {cause.cause}.",
        f"{cause.next.replace('NAME', deployment.name)} It still costs: corral down {deployment.name}",
    )


def failure(deployment: Deployment, machine: Rented, told: Phase) -> str:
    """What a machine says that failed; of a server that was given up, with the cause of its first death."""
    there = hosts.root(deployment.name)
    words = f"sudo cat {there}/gave-up >/dev/null && sudo cat {there}/first-death.log"
    first = death(deployment, machine, words) if told.is_prepared else None
    return f"{told.words}: {first.cause}" if first else told.words


def death(deployment: Deployment, machine: Rented, log_words: str) -> diagnosis.Diagnosis | None:
    """Why a box's server died, by the log which those words of a shell print there, and by its kernel; None where
    neither tells, or it cannot be asked.
    """
    try:
        log = session.run(machine.instance_id, machine.region, log_words)
        if log.exit_code:
            return None
        asked = shlex.join(("sudo", *host_deaths.kernel_command(deployment.name)))
        kernel = session.run(machine.instance_id, machine.region, asked)
    except HostError:
        return None
    cause = host_deaths.explain(log.text, kernel.text, kernel.exit_code, f"corral ssh {deployment.name}")
    return None if cause.name == "unknown" else cause


def ending(aws: Aws, deployment: Deployment, machines: tuple[Rented, ...]) -> ServerError | None:
    """What the first of the machines says that ends the wait: EC2 takes it back, or its server was not started, without
    its lock or its key. None while no machine says so.
    """
    for machine in machines:
        told = phase(aws, deployment, machine)
        if told.state == "interrupted":
            return ServerError(f"{machine.instance_id}: {told.words}.", again(deployment))
        if told.state == "failed":
            words = failure(deployment, machine, told)
            return ServerError(f"{machine.instance_id}: {words}.", next_step(deployment))
    return None


def again(deployment: Deployment) -> str:
    """What to do about a machine that EC2 took back."""
    order = documents.begun(deployment.name)
    if order and order.replicas > 1:
        return f"When it is gone, put another in its place: corral serve {deployment.name}"
    anew = f"corral up plan.json --target ec2 --name {deployment.name}"
    return f"When it is gone, rent anew with the same options: {anew}"


def next_step(deployment: Deployment) -> str:
    """What to do about a box that does not serve; it costs until it is taken away."""
    return f"Read why: corral logs {deployment.name}; it still costs: corral down {deployment.name}"


def there(aws: Aws, deployment: Deployment, order: Order) -> tuple[Rented, ...]:
    """The machines, those included that ended lately; of a replica its own alone."""
    machines, only = rented_machines.machines(aws, deployment.name, order.regions), deployment.hosts
    return tuple(machine for machine in machines if not only or machine.instance_id in only)


def lost(name: str, instance_ids: Iterable[str]) -> CloudError:
    """What is said of replicas that have gone, in one sentence: it is told in others' words, without its hint."""
    way = f"another takes its place by: corral serve {name}"
    return CloudError(
        f"{' and '.join(instance_ids)} is not there any more; {way}.",
        "It may have been ended by hand, by its schedule, or taken back by EC2.",
    )


def running(aws: Aws, deployment: Deployment, order: Order) -> tuple[Rented, ...]:
    """The machines that run, the one that leads first. Raises CloudError when none does."""
    machines = there(aws, deployment, order)
    alive = tuple(machine for machine in machines if machine.state == "running")
    if not alive and deployment.hosts:
        raise lost(deployment.name, deployment.hosts)
    if not alive:
        hint = f"Rent one: corral up plan.json --target ec2 --name {deployment.name}"
        if power.is_stopped(machines):
            hint = f"It is stopped; start it: corral serve {deployment.name}"
        raise CloudError(f"No machine of {deployment.name} runs.", hint)
    return alive


def another_for(name: str, machine: Rented) -> str:
    """How a replica that is not well is ended, and another takes its place."""
    return (
        f"To put another in its place: aws ec2 terminate-instances --region {machine.region} "
        f"--instance-ids {machine.instance_id}; then: corral serve {name}"
    )


def tell_ends(aws: Aws, deployment: Deployment, order: Order) -> None:
    """Tell each box that was stopped when it ends: what it was told before may be over. Safe to repeat.

    Raises HostError for one that is never reached.
    """
    for machine in rented_machines.machines(aws, deployment.name, order.regions):
        if machine.state == "running" and machine.billed_until_start:
            telling = Telling(aws, deployment.name, machine, power.end_of(order, [machine]))
            wait.until(telling.is_done, bool, aws.pace(math.inf, POLL_S))
