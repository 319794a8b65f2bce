"""The page of settings, from the table of them and the fields that check them."""

from documentation.verbs import cell

from deploy.cli.settings import FIELDS, FILE, ITSELF, TAKEN_BY, UNHINDERED, VERSION, record, variable

OF_CORRAL = {
    "profile": "The AWS profile to use, whatever keys the environment holds.",
    "offline": "Ask nobody on the internet.",
    "quiet": "Say nothing on the way.",
}


def page() -> str:
    """Every key of corral.toml with its variable."""
    rows = []
    for key, (path, field) in FIELDS.items():
        info = None if path == ITSELF else record(path).model_fields[field]
        said = OF_CORRAL[key] if info is None else info.description or ""
        several = info is not None and info.default == ()
        rows.append(f"| `{key}` | `{variable(key)}` | {'several' if several else 'one'} | {cell(said)} |")
    return "\n".join(
        [
            "# Settings",
            "",
            f"Keys of `{FILE}`, in the folder where you work or in `$CORRAL_HOME`, and the variable of each. What is "
            "typed comes first, then the variable, then the folder's file, then the home's. `corral config` shows "
            "each, and where it comes from.",
            "",
            "| key | variable | values | |",
            "|---|---|---|---|",
            *rows,
            "",
            f"The file may name its `version`, which is {VERSION}. {', '.join(f'`{each}`' for each in TAKEN_BY)} take "
            "them; every verb takes `profile`, `offline` and `quiet`. A file that is wrong stops a verb with exit "
            f"code 2, but for {', '.join(f'`{each}`' for each in sorted(UNHINDERED))}.",
            "",
        ]
    )
