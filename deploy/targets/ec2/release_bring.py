"""A release put on a rented box beside the one that serves: its files, its engine, its weights.

A unit of the box prepares it: that takes longer than a session lasts, and goes on where this machine does not.
"""

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import box_release, boxes, judged_start
from infra import bar, host_files, wait
from infra import host as hosts
from infra.aws import session
from infra.aws.api import Aws
from infra.errors import HostError, ServerError
from infra.phase import Phase, phase_of
from infra.rented import Rented

LOOKS_WITHOUT_AN_END = 2
"""After so many the unit has ended without a word: the box started again meanwhile, say."""


def prepare(aws: Aws, deployment: Deployment, setup: hosts.HostSetup, machines: tuple[Rented, ...]) -> None:
    """Have each prepare it, all at once; what serves is left alone, and what is there is not fetched twice.

    Raises HostError for a box that cannot be told, ServerError for one that does not prepare it.
    """
    for machine in machines:
        begin(deployment, setup, machine)
    for machine in machines:
        until_prepared(aws, deployment, machine)
        if missing := box_release.missing(deployment, machine):
            raise failed(deployment, machine, f"{missing} is not there")


def begin(deployment: Deployment, setup: hosts.HostSetup, machine: Rented) -> None:
    """Put its files on a box and start what prepares it; one that is at it goes on."""
    own = hosts.own_root(deployment.name, deployment.release)
    files = (box_release.record(deployment, own), *host_files.host_files(setup))
    put = judged_start.unpacked(files)

    room = box_release.words(deployment, "room", hosts.engine_mark(setup.engine), setup.weights)
    unit = hosts.bring_unit(deployment.name)
    start = f"sudo rm -f {own}/phase && sudo systemctl --no-block start {unit}"
    words = f"{put} && {room} && {start}"
    answer = session.run(machine.instance_id, machine.region, words)
    if answer.exit_code:
        raise failed(deployment, machine, answer.last_line)


@bar.waiting("the boxes prepare the next release")
def until_prepared(aws: Aws, deployment: Deployment, machine: Rented) -> None:
    """Wait until a box has it. Raises ServerError where it says that it cannot, or time is over."""
    last, ended = Phase(), 0

    def look() -> Phase:
        nonlocal last, ended
        try:
            now, is_at_work = said(deployment, machine)
        except HostError as error:  # it goes on there
            aws.say(f"{machine.instance_id}: {error.message}")
            return last
        if now != last and now.words:
            aws.say(f"release {deployment.release}: {machine.instance_id}: {now.words}")
        ended = 0 if is_at_work else ended + 1
        last = now
        return now

    def is_over(now: Phase) -> bool:
        return now.is_prepared or now.state == "failed" or ended >= LOOKS_WITHOUT_AN_END

    found = wait.until(look, is_over, aws.pace(boxes.prepared_within_s(deployment), boxes.POLL_S))
    if not found.is_prepared:
        raise failed(deployment, machine, found.words or "it ended without a word")


def said(deployment: Deployment, machine: Rented) -> tuple[Phase, bool]:
    """How far a box is with it, and whether what prepares it is at work. Raises HostError where it cannot be asked."""
    own = hosts.own_root(deployment.name, deployment.release)
    words = f"sudo cat {own}/phase 2>/dev/null; systemctl is-active {hosts.bring_unit(deployment.name)}"
    *phase, unit = session.run(machine.instance_id, machine.region, words).text.strip().splitlines() or [""]
    return phase_of(phase[-1].strip() if phase else ""), unit.strip() in ("activating", "active")


def failed(deployment: Deployment, machine: Rented, why: str) -> ServerError:
    """What is said of a box that could not be brought a release."""
    name = deployment.name
    return ServerError(
        f"{machine.instance_id} could not be brought release {deployment.release}: {why.rstrip('.')}.",
        f"What it serves was left alone. Read why: corral ssh {name}, then: journalctl --unit={hosts.bring_unit(name)}",
    )
