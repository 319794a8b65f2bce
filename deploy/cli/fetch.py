"""`corral fetch`: weights from the model hub, verified, and verified again whenever you like."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json, deployed_or_path
from deploy.fetch.fetch_request import FetchOptions


def fetch(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|PLAN|NAME",
            help="scout, maverick, OWNER/NAME on the Hub; a plan.json, or a deployment: what it serves.",
            autocompletion=deployed_or_path,
        ),
    ] = None,
    *,
    options: FetchOptions,
    as_json: Json = False,
) -> int:
    """Fetch weights, at one commit, every file held against the Hub's own checksum; pickles are left out.

    Safe to repeat, and to kill: what came is kept. What is here already is verified and not fetched again.
    """
    from deploy.fetch.fetch_request import check_acceptance, subject
    from deploy.fetch.fetch_weights import fetch, fetched_text, not_to_serve, verified_text, verify
    from deploy.fetch.verify_deployment import (
        error_of,
        is_deployment,
        verified_deployment_text,
        verify_deployment,
    )
    from deploy.targets import deployment as deployments
    from deploy.targets.licence import accept
    from infra.errors import UsageError
    from infra.say import Told, emit, fail

    if options.verify is not None:
        if what is not None or options != FetchOptions(verify=options.verify):
            raise UsageError("--verify is about what is there already.", "Leave out all else.")
        if is_deployment(options.verify):
            of_it = verify_deployment(deployments.load(options.verify))
            emit(of_it, verified_deployment_text(of_it), as_json)
            wrong = error_of(of_it)
            return Told(fail(wrong, as_json=False)) if wrong else 0
        verdict = verify(Path(options.verify))
        emit(verdict, verified_text(verdict), as_json)
        wrong = not_to_serve(verdict)
        return Told(fail(wrong, as_json=False)) if wrong else 0
    check_acceptance(options)
    if options.accept_license:
        given = accept(options.accept_license, options.country or "", options.other_rights or "")
        if what is None:
            emit(given, f"{given.licence} is accepted for {given.country} by {given.accepted_by}", as_json)
            return 0
    if what is None:
        raise UsageError("Which weights? No MODEL and no PLAN is named.", "For example: corral fetch scout")
    made = fetch(subject(what, options), options)
    emit(made, fetched_text(made), as_json)
    return 0
