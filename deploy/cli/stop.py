"""`corral stop`: end the server, keep the machine; a rented one is stopped, too."""

from deploy.cli.flags import Json, Name


def stop(
    name: Name,
    as_json: Json = False,
) -> None:
    """End a deployment's server: its requests finish first, then nothing of it is left. Safe to repeat.

    A rented machine stops, too: no hours of it are billed then, its volumes are. `corral serve NAME` starts it again.
    """
    from deploy.line import status
    from deploy.next_step import next_line
    from deploy.targets.choose import place_of
    from deploy.targets.deployment import load
    from deploy.targets.show_server import status as shown
    from infra.say import emit

    deployment = load(name)
    place_of(deployment).stop(deployment)
    current = status(deployment)
    emit(current, f"{shown(current)}\n{next_line(deployment, current.state)}", as_json)
