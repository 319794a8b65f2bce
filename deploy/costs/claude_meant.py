"""The Claude that is meant by a name without a version, which is told: it is another once a newer one is sold."""

from deploy.costs.claude_names import named
from deploy.costs.claude_prices import claude, names, newest, plain
from infra.printable import sentence
from infra.say import progress


def meant(name: str) -> str:
    """The name; of a family's alone (haiku, sonnet, opus) the id of its newest live model, which is told."""
    said = named(name)
    if plain(said.model) in names() or newest(said.model) is None:
        return name
    model = claude(said.model)
    progress(sentence(f"{name}: {model.name}, the newest of that name that is live; another by its version"))
    return name if said.platform else model.id
