"""`corral serve`: start vLLM and return once it really answers."""

from typing import Annotated

import typer

from deploy.cli.flags import DryRun, Json, deployed_or_path
from deploy.launch import ServingOptions


def serve(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|NAME",
            help="A plan.json, or the name of a deployment.",
            autocompletion=deployed_or_path,
        ),
    ],
    asked: ServingOptions,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Start vLLM for a plan on this machine, or for a deployment where it lives; wait until it answers a completion."""
    from deploy.launch import deployment_of, launch, launch_unit, shown, token_file_of
    from deploy.next_step import next_line
    from deploy.targets import adapters
    from deploy.targets.choose import place_of
    from deploy.targets.show_server import command, endpoint
    from infra.errors import UsageError
    from infra.say import emit, say
    from serving.sizing.plan import Plan
    from serving.vllm.endpoint import Endpoint
    from serving.vllm.lora_modules import LoraModule

    if asked.supervise and asked.unit:
        raise UsageError("A unit supervises the server itself.", "Leave out --supervise.")

    def fetched(plan: Plan, lora: tuple[LoraModule, ...]) -> Plan:
        return adapters.given_here(plan, lora, token_file_of(what, asked.hf_token_file))

    bring = adapters.given_unfetched if dry_run else fetched
    deployment = deployment_of(what, asked.name, asked.port, asked.lora, bring)
    deployment = place_of(deployment).with_token_file(deployment, asked.hf_token_file)

    def tell(answering: Endpoint) -> None:
        text = endpoint(deployment, answering)
        emit(answering, f"{text}\n{next_line(deployment, 'serving')}", as_json)

    if dry_run:
        say(command(shown(deployment, asked), as_json), as_it_is=True)
        return
    if asked.supervise:
        from deploy.supervise import supervise
        from infra.onhost.judge import Policy

        supervise(deployment, tell, Policy())
        return
    tell(launch_unit(deployment) if asked.unit else launch(deployment))
