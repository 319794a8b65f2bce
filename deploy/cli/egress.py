"""`corral egress`: the proof that nothing leaves."""

from deploy.cli.flags import Json, Name
from deploy.targets.prove_egress import EgressOptions


def egress(
    name: Name,
    asked: EgressOptions,
    as_json: Json = False,
) -> int:
    """Try to get out as the server does, and show by the kernel's counters that only answers left.

    Exit code 0 only when it is proved, which needs the lock of an SSH host; 11 otherwise.
    """
    from deploy.targets.deployment import load
    from deploy.targets.prove_egress import prove
    from deploy.targets.show_egress import described
    from infra.errors import HostError
    from infra.say import Told, emit, fail

    report = prove(load(name), asked.destinations)
    if asked.output:
        report.write(asked.output)
    emit(report, described(report), as_json)
    if report.verdict == "proved":
        return 0
    first, *more = report.problems
    sentence = f"Not proved: {first}{f' (and {len(more)} more)' if more else ''}."
    return Told(
        fail(HostError(sentence, "The report names all; its counters are the kernel's."), as_json=False)
    )
