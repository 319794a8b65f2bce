"""The page of exit codes, from the tree of errors."""

from infra import errors


def page() -> str:
    """Each code, the error that ends with it, and what it means."""
    kinds = sorted(
        (errors.CorralError, *errors.CorralError.__subclasses__()), key=lambda kind: kind.exit_code
    )
    said = {errors.CorralError: "Anything else that went wrong."}
    rows = [f"| {kind.exit_code} | `{kind.__name__}` | {said.get(kind) or kind.__doc__} |" for kind in kinds]
    return "\n".join(
        [
            "# Exit codes",
            "",
            "They are part of the machine interface and do not change. A verb with `--json` prints in place of its "
            "result `error{type,message,hint,exit_code}`, whose `type` is the name here; people get the sentence and "
            "the hint on stderr.",
            "",
            "| code | type | what it means |",
            "|---|---|---|",
            "| 0 | | Done. |",
            *rows,
            "",
        ]
    )
