"""The page of exit codes, from the tree of errors."""

from documentation.markdown import cell, page, table

from infra import errors


def text() -> str:
    """Each code, the error that ends with it, and what it means."""
    kinds: list[type[errors.CorralError]] = [errors.CorralError, *errors.CorralError.__subclasses__()]
    kinds.sort(key=lambda kind: kind.exit_code)
    said = {errors.CorralError: "Anything else that went wrong."}
    rows = [
        (str(kind.exit_code), f"`{kind.__name__}`", cell(said.get(kind) or kind.__doc__ or ""))
        for kind in kinds
    ]
    return page(
        "# Exit codes",
        "They are part of the machine interface and do not change. With `--json` a verb that fails prints "
        "[an error](json/error.md) whose `type` is the name here; people get the sentence and the hint on stderr.",
        table(("code", "type", "what it means"), [("0", "", "Done."), *rows]),
    )
