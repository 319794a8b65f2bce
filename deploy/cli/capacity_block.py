"""`corral capacity-block`: see and buy EC2 Capacity Blocks, the way P5 and P6 are sold by the day."""

from typing import Annotated

import typer

app = typer.Typer(
    help="See and buy EC2 Capacity Blocks: GPUs reserved by the day, paid whole and at once.",
    no_args_is_help=True,
)

Type = Annotated[str, typer.Argument(metavar="TYPE", help="The EC2 type, such as p5.48xlarge.")]
Region = Annotated[str, typer.Option("--region", help="The region.")]
Count = Annotated[int, typer.Option("--count", min=1, max=64, help="How many machines.")]
Days = Annotated[int, typer.Option("--days", help="1 to 14, or whole weeks up to 182.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_offerings(
    instance_type: Type, region: Region = "us-east-1", count: Count = 1, days: Days = 1, as_json: Json = False
) -> None:
    """What is on offer, the cheapest first."""
    from deploy.targets.ec2.blocks import listed, offered
    from infra.say import say

    say(listed(offered(instance_type, region, count, days), as_json))


@app.command("buy")
def buy(
    instance_type: Type,
    offering_id: Annotated[str, typer.Argument(metavar="OFFERING", help="The offering's id, from list.")],
    region: Region = "us-east-1",
    count: Count = 1,
    days: Days = 1,
    yes_i_pay: Annotated[
        str | None, typer.Option("--yes-i-pay", metavar="USD", help="The exact price, typed beforehand.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Buy one: it cannot be given back. Asks for its exact price to be typed."""
    from deploy.targets.ec2.blocks import bought, chosen, confirm, offered, wanted
    from deploy.targets.ec2.blocks import buy as run
    from infra.say import say

    wanted(offering_id, yes_i_pay)
    block = chosen(offered(instance_type, region, count, days), offering_id)
    confirm(block, yes_i_pay)
    say(bought(block, run(block), as_json))
