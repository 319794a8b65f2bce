"""`corral hosts`: the machines you own, asked over SSH, and what runs on them."""

from typing import Annotated

import typer

from deploy.cli.flags import Group, Json, Yes

app = typer.Typer(cls=Group, help="Machines you own: what they are, and what corral put on them.")

Destinations = Annotated[
    list[str], typer.Argument(metavar="HOST...", help="USER@HOST, or a name of ~/.ssh/config.")
]


@app.command("show")
def show(destinations: Destinations, as_json: Json = False) -> int:
    """Say what each host is (GPUs, driver, memory, disk, clock) and which deployments it carries; changes nothing.

    Exit code 11 where one cannot be asked; what the others say is told.
    """
    from deploy.targets.ssh.owned_hosts import described, inventory
    from infra.errors import HostError
    from infra.say import emit

    seen = inventory(destinations)
    emit(seen, described(seen), as_json)
    return HostError.exit_code if seen.away else 0


@app.command("adopt")
def adopt(
    destination: Annotated[
        str, typer.Argument(metavar="HOST", help="USER@HOST, or a name of ~/.ssh/config.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name there.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Copy a deployment's document from its host, so that status, logs and down work from this machine too.

    What it is started with is shown first, and asked about where somebody is there to answer.
    """
    from deploy.provision_request import ADOPTING, confirm
    from deploy.targets.deployment import Deployment
    from deploy.targets.ssh.owned_hosts import adopt, shown
    from infra.printable import sentence
    from infra.say import emit, is_somebody_there, notice

    def approve(deployment: Deployment) -> None:
        notice(sentence(shown(deployment)))
        if is_somebody_there() and not yes:
            confirm(ADOPTING)

    made = adopt(destination, name, approve)
    emit(
        made, f"{made.name} on {', '.join(made.hosts)} is known here now: corral status {made.name}", as_json
    )
