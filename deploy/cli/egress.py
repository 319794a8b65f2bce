"""`corral egress`: the proof that nothing leaves, and what a report of it holds up to."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import FirstVerb, Json, Name
from deploy.targets.prove_egress import EgressOptions
from deploy.verify_egress import VerifyOptions

app = typer.Typer(
    cls=FirstVerb,
    help="The proof that nothing leaves: `corral egress NAME` makes it; `verify` checks a report that was kept.",
)


@app.command("prove")
def prove(
    name: Name,
    asked: EgressOptions,
    as_json: Json = False,
) -> int:
    """Try to get out as the server does, and show by the kernel's counters that only answers left.

    `corral egress NAME` is short for it. Exit code 0 only when it is proved, which needs the lock of an SSH host; 11
    otherwise.
    """
    from deploy.next_step import next_line
    from deploy.targets.deployment import load
    from deploy.targets.prove_egress import keep, prove
    from deploy.targets.show_egress import described
    from infra.egress_proof import Egress
    from infra.output import refuse_another
    from infra.say import emit

    deployment = load(name)
    if asked.output:
        refuse_another(asked.output, Egress)
    report = prove(deployment, asked.destinations)
    if asked.output:
        keep(report, asked.output, asked.sign_key)
    emit(report, f"{described(report)}\n{next_line(deployment, 'serving')}", as_json)
    if report.verdict == "proved":
        return 0
    return not_proved(report.problems)


@app.command("verify")
def verify(
    report: Annotated[Path, typer.Argument(metavar="FILE", help="What corral egress NAME --output wrote.")],
    asked: VerifyOptions,
    as_json: Json = False,
) -> int:
    """Check a report: its sha256, whether its verdict follows, who signed it, and what served.

    Exit code 0 where it is proved and nothing that could be checked fails; 4 where something does not hold or the file
    is no report as it was made; 11 where it is one that proves nothing.
    """
    from deploy.report.egress_page import page
    from deploy.verify_egress import verified_text, verify
    from infra.errors import DocumentError
    from infra.output import write_form
    from infra.say import Told, emit, fail

    checked = verify(report, asked)
    made, verified = checked
    if asked.html:
        write_form(asked.html, page(made, verified), "page")
    emit(verified, verified_text(report, checked), as_json)
    if verified.problems:
        first, *more = verified.problems
        sentence = f"It does not hold: {first}{f' (and {len(more)} more)' if more else ''}."
        return Told(fail(DocumentError(sentence, "Ask who made it for another."), as_json=False))
    return 0 if verified.verdict == "proved" else not_proved(made.problems)


def not_proved(problems: tuple[str, ...]) -> int:
    """The exit code of a report that is told already, and proves nothing."""
    from infra.errors import HostError
    from infra.say import Told, fail

    first, *more = problems or ("it was only observed",)
    sentence = f"Not proved: {first}{f' (and {len(more)} more)' if more else ''}."
    return Told(
        fail(HostError(sentence, "The report names all; its counters are the kernel's."), as_json=False)
    )
