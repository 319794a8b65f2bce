"""`corral keys`: who may ask a gateway, with which limits, and what they used."""

from typing import Annotated

import typer

from deploy.cli.flags import Group, Json, Name
from deploy.gateway.gateway_options import RotateOptions, UsageOptions
from deploy.gateway.keys import KeyLimits

app = typer.Typer(cls=Group, help="The keys of a gateway: a person each, shown once, kept as hashes.")

Person = Annotated[str, typer.Argument(metavar="PERSON", help="Whose it is: 1 to 40 of a-z, 0-9 and . _ @ -")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="A key's id, or a person: all of theirs.")]
OneKey = Annotated[str, typer.Argument(metavar="KEY", help="A key's id, or a person who has one.")]


@app.command("add")
def add(name: Name, person: Person, limits: KeyLimits, as_json: Json = False) -> None:
    """Make a key and show it, this once; it is good at once."""
    from deploy.gateway.gateway import folder, load
    from deploy.gateway.gateway_text import new_key
    from deploy.gateway.key_store import add as make
    from deploy.gateway.keys import check_served
    from deploy.targets import deployment as deployments
    from infra.say import emit

    serve = deployments.load(name).plan.serve
    check_served(limits, (serve.served_model_name, *serve.adapters))
    made = make(folder(name), load(name).asked, person, limits)
    emit(made, new_key(made), as_json)


@app.command("list")
def list_keys(name: Name, as_json: Json = False) -> None:
    """Each key: whose, since and until when, with which limits. None is shown itself."""
    from deploy.gateway.gateway import folder, load
    from deploy.gateway.gateway_text import listed
    from deploy.gateway.key_store import read
    from infra.say import emit

    load(name)
    known = read(folder(name))
    emit(known, listed(known), as_json)


@app.command("revoke")
def revoke(name: Name, key: Key, as_json: Json = False) -> None:
    """End a key at once, or all of a person; the streams that it has are cut. Works while the gateway is down, too."""
    from deploy.gateway.gateway import folder, load
    from deploy.gateway.gateway_text import revoked
    from deploy.gateway.key_store import revoke as end
    from deploy.gateway.keys import Keys
    from infra.say import emit

    gone = end(folder(name), load(name).asked, key)
    emit(Keys(keys=gone), revoked(gone, key), as_json)


@app.command("rotate")
def rotate(name: Name, key: OneKey, asked: RotateOptions, as_json: Json = False) -> None:
    """A new key in place of one, with its limits; the old one stays good for the overlap."""
    from deploy.gateway.gateway import folder, load
    from deploy.gateway.gateway_text import new_key
    from deploy.gateway.key_store import rotate as change
    from infra.say import emit

    made = change(folder(name), load(name).asked, key, asked.overlap)
    emit(made, new_key(made), as_json)


@app.command("usage")
def usage(name: Name, asked: UsageOptions, as_json: Json = False) -> None:
    """Tokens and requests by key and month, from the gateway's audit."""
    from deploy.gateway.gateway import folder, load
    from deploy.gateway.usage import Usage, table
    from deploy.gateway.usage import usage as reckon
    from infra.say import emit

    load(name)
    found = reckon(folder(name), asked.month)
    emit(Usage(usage=found), table(found), as_json)
