"""`corral connect` and `corral ssh`: the way to a server, and to its machine."""

from deploy.cli.flags import Json, Name


def connect(name: Name, as_json: Json = False) -> int:
    """Keep the way to its server open until Ctrl-C; a tunnel that ended is opened again, on the same port."""
    import sys
    import time

    from deploy.keep_open import keep
    from deploy.next_step import next_line
    from deploy.targets.deployment import load
    from deploy.targets.show_server import endpoint
    from infra.errors import Interrupted
    from infra.say import Told, emit, progress
    from serving.vllm.endpoint import Endpoint

    is_told = False

    def opened(answering: Endpoint) -> None:
        nonlocal is_told
        emit(answering, f"{endpoint(deployment, answering)}\n{next_line(deployment, 'serving')}", as_json)
        sys.stdout.flush()  # whoever reads it does not wait until Ctrl-C
        is_told = True

    deployment = load(name)
    try:
        keep(deployment, opened, progress, time.sleep)
    except KeyboardInterrupt:
        if not is_told:
            raise
    return Told(Interrupted.exit_code)  # as it is meant to end: the document that was printed is the only one


def ssh(name: Name) -> None:
    """Open a shell on its machine, the first of several: over SSH, or through Session Manager on EC2."""
    import os
    import sys

    from deploy.targets.choose import place_of
    from deploy.targets.deployment import load

    deployment = load(name)
    words = place_of(deployment).shell(deployment)
    sys.stdout.flush()
    os.execvp(words[0], words)
