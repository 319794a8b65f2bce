"""`corral config`: what need not be typed, and where each of it comes from."""

import typer

from deploy.cli.flags import All, Json, is_typed


def config(context: typer.Context, show_all: All = False, as_json: Json = False) -> None:
    """Show what is taken where nobody types it, and where it comes from; changes nothing.

    A flag comes before a variable (CORRAL_REGION for --region, several values with blanks between them), that before
    corral.toml of this folder, that before corral.toml of $CORRAL_HOME, which hold lines such as region =
    "us-east-1". The answer ends with the verbs that take them, and with the other variables that are set; with --all
    each that is read.
    """
    from deploy.cli.settings import TAKEN_BY, OfCorral, settings
    from infra.columns import table
    from infra.say import emit

    assert context.parent
    typed = {key: value for key, value in context.parent.params.items() if key in OfCorral.model_fields}
    found = settings(
        OfCorral(**{key: value for key, value in typed.items() if is_typed(context.parent, key)})
    )
    rows = [(each.key, shown(each.value), each.source) for each in found.settings]
    names = [
        (each.name, each.about)
        for each in found.variables
        if show_all or (each.is_set and each.group != "shell")
    ]
    title = "Every other variable that is read" if show_all else "Other variables that are set; all: --all"
    text = (
        f"{table(rows)}\n\n{title}\n{table(names)}\n\nKept in {' and '.join(found.files)}, where they are.\n"
        f"{', '.join(TAKEN_BY)} take them; every verb takes profile, offline and quiet."
    )
    emit(found, text, as_json)


def shown(value: tuple[str, ...] | str | bool | None) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (" ".join(value) if isinstance(value, tuple) else value) or "-"
