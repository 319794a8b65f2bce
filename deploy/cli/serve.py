"""`corral serve`: start vLLM and return once it really answers."""

from typing import Annotated

import typer

from deploy.cli.flags import Json
from deploy.targets.hub_weights import TokenFile


def serve(
    what: Annotated[
        str, typer.Argument(metavar="PLAN|NAME", help="A plan.json, or the name of a deployment.")
    ],
    token: TokenFile,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The deployment's name; made of the plan's model if not given."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Another port than the plan's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the command and its environment.")
    ] = False,
    stay: Annotated[
        bool, typer.Option("--supervise", help="Stay, and start it again when it dies; Ctrl-C ends it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start vLLM for a plan on this machine, or for a deployment where it lives; wait until it answers a completion."""
    from deploy.launch import deployment_of, launch, shown
    from deploy.targets.choose import place_of
    from deploy.targets.show_server import command, endpoint
    from infra.say import emit, say
    from serving.vllm.endpoint import Endpoint

    deployment = deployment_of(what, name, port)
    deployment = place_of(deployment).with_token_file(deployment, token.hf_token_file)

    def tell(answering: Endpoint) -> None:
        emit(answering, endpoint(deployment.name, answering), as_json)

    if dry_run:
        say(command(shown(deployment), as_json))
        return
    if stay:
        from deploy.supervise import supervise
        from serving.vllm.restart_policy import Policy

        supervise(
            deployment,
            lambda answering: emit(answering, endpoint(deployment.name, answering), as_json),
            Policy(),
        )
        return
    answering = launch(deployment)
    emit(answering, endpoint(deployment.name, answering), as_json)
