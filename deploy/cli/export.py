"""`corral export`: a plan in the words of Compose, Kubernetes, SkyPilot and others."""

from pathlib import Path
from typing import Annotated

import typer

FORMATS = "compose, quadlet, systemd, kubernetes, production-stack, skypilot, dstack, terraform, litellm or vllm-router"


def export(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A plan.json, from corral size ... -o plan.json.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=f"{FORMATS}.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What it is called; made of the plan if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the files into this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are different.")] = False,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, max=1000, help="Equal servers, where the format has them.")
    ] = 1,
    endpoint: Annotated[
        list[str] | None,
        typer.Option("--endpoint", help="litellm, vllm-router: a server that runs; repeatable."),
    ] = None,
    claude_model: Annotated[
        str, typer.Option("--claude-model", help="litellm: who answers when no server does.")
    ] = "claude-sonnet-5-5",
    region: Annotated[
        str | None, typer.Option(help="terraform: the AWS region. [the plan's, else the profile's]")
    ] = None,
    ttl: Annotated[str, typer.Option(help="terraform: the box ends itself after this.")] = "12h",
    weights: Annotated[
        str | None, typer.Option(help="terraform: s3:// prefix of the checkpoint. [the model hub]")
    ] = None,
    hf_token_parameter: Annotated[
        str | None, typer.Option(help="terraform: NAME of the SSM parameter with the Hub's token.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Render a plan for another tool; nothing is run or asked. Secrets are named in the output, never contained."""
    given = dict(locals())
    from deploy.export.ask import ask_from
    from deploy.export.formats import export as render
    from deploy.export.write import shown, write
    from infra.say import emit, progress

    made = render(to, ask_from(given))
    if output:
        for path in write(made, output, force):
            progress(f"wrote {path}")
    for note in made.notes:
        progress(note)
    if as_json or not output:
        emit(made, shown(made), as_json)
