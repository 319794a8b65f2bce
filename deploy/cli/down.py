"""`corral down`: take everything of a deployment away, and prove it."""

from deploy.cli.flags import Json, Name, Now
from deploy.targets.choose import Target
from infra.asked import Asked
from infra.aws.region import Region


class DownOptions(Asked):
    """Where it is looked for, beside its documents."""

    target: Target | None = None
    """Look for it at this place by its name, with or without documents here."""
    region: Region | None = None
    """Where that place has regions: the one to ask which there are."""


def down(name: Name, where: DownOptions, now: Now = False, as_json: Json = False) -> int:
    """Take it away and count what is left, type by type. Exit code 10 when anything is.

    Here and on hosts of yours its requests finish first, as `corral stop` has them; a rented machine waits for nobody.
    """
    from deploy.line import down as run
    from deploy.targets.show_provision import leftover, teardown
    from infra.say import Told, emit, fail

    proof = run(name, where.target, where.region, now)
    emit(proof, teardown(proof), as_json)
    return Told(fail(leftover(proof), as_json=False)) if proof.left else 0
