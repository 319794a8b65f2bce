"""`corral capacity-block`: see and buy EC2 Capacity Blocks, the way P5 and P6 are sold by the day."""

from typing import Annotated

import typer

from deploy.cli.flags import Group, Json
from deploy.targets.ec2.blocks import BlockOptions, BuyOptions

app = typer.Typer(
    cls=Group,
    help="See and buy EC2 Capacity Blocks: GPUs reserved by the day, paid whole and at once.",
)

Type = Annotated[str, typer.Argument(metavar="TYPE", help="The EC2 type, such as p5.48xlarge.")]


@app.command("list")
def list_offerings(instance_type: Type, asked: BlockOptions, as_json: Json = False) -> None:
    """What is on offer, the cheapest first."""
    from deploy.targets.ec2.blocks import listed, offered
    from infra.say import say

    say(listed(offered(instance_type, asked), as_json), as_json)


@app.command("buy")
def buy(
    instance_type: Type,
    offering_id: Annotated[str, typer.Argument(metavar="OFFERING", help="The offering's id, from list.")],
    asked: BuyOptions,
    as_json: Json = False,
) -> None:
    """Buy one: it cannot be given back. Asks for its exact price to be typed."""
    from deploy.targets.ec2.blocks import bought, checked_offering, chosen, confirm, offered
    from deploy.targets.ec2.blocks import buy as run
    from infra.say import say

    checked_offering(offering_id)
    block = chosen(offered(instance_type, asked), offering_id, instance_type)
    confirm(block, asked.yes_i_pay)
    say(bought(block, run(block), as_json), as_json)
