"""The page of settings: the keys of corral.toml, and every variable of the environment that corral reads."""

from collections.abc import Iterable, Iterator

from documentation.markdown import cell, page, table

from deploy.cli.settings import (
    FIELDS,
    FILE,
    ITSELF,
    TAKEN_BY,
    UNHINDERED,
    VERSION,
    other_variables,
    record,
    variable,
)

OF_CORRAL = {
    "profile": "The AWS profile to use, whatever keys the environment holds.",
    "offline": "Ask nobody on the internet.",
    "quiet": "Say nothing on the way.",
}
VARIABLES = {each.name: each.about for each in other_variables()}
"""Variable -> what it does, beside those of the settings. The tests hold it against what the code reads."""


def text() -> str:
    """Every key with its variable, then every other variable."""
    return page(
        "# Settings and variables",
        f"Keys of `{FILE}`, in the folder where you work or in `$CORRAL_HOME`, and the variable of each. What is "
        "typed comes first, then the variable, then the folder's file, then the home's. `corral config` shows each, "
        "and where it comes from.",
        table(("key", "variable", "values", ""), rows()),
        f"The file may name its `version`, which is {VERSION}. {names(TAKEN_BY)} take them; every verb takes "
        "`profile`, `offline` and `quiet`. A file that is wrong stops a verb with exit code 2, but for "
        f"{names(sorted(UNHINDERED))}.",
        "## Other variables",
        table(("variable", ""), ((f"`{name}`", said) for name, said in VARIABLES.items())),
    )


def rows() -> Iterator[tuple[str, str, str, str]]:
    """The settings."""
    for key, (path, field) in FIELDS.items():
        info = None if path == ITSELF else record(path).model_fields[field]
        said = OF_CORRAL[key] if info is None else info.description or ""
        several = info is not None and info.default == ()
        yield f"`{key}`", f"`{variable(key)}`", "several" if several else "one", cell(said)


def names(several: Iterable[str]) -> str:
    """Verbs in a sentence."""
    return ", ".join(f"`{each}`" for each in several)
