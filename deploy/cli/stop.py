"""`corral stop`: end the server, keep the machine; a rented one is stopped, too."""

from deploy.cli.flags import Json, Name, Now


def stop(
    name: Name,
    now: Now = False,
    as_json: Json = False,
) -> None:
    """End a deployment's server: its requests finish first, then nothing of it is left. Safe to repeat.

    Its gateway gives it no new ones, and it is asked to end when none has run or waited for two seconds, or when its
    --shutdown-timeout is over; vLLM's own drain, for as long again, is for those that are left then.

    A rented machine stops, too: no hours of it are billed then, its volumes are. `corral serve NAME` starts it again.
    """
    from deploy.line import status
    from deploy.line import stop as run
    from deploy.next_step import next_line
    from deploy.targets.deployment import load
    from deploy.targets.show_server import status as shown
    from deploy.targets.table import PLACES
    from infra.asked import again
    from infra.say import emit

    deployment = load(name)
    run(deployment, now)
    current = status(deployment)
    text = f"{shown(current)}\n{next_line(deployment, current.state)}"
    if PLACES[deployment.target].rents:
        text += f"\nWhat it keeps still costs; give it back: corral down {name}{again()}"
    emit(current, text, as_json)
