"""The page of files: what corral keeps on this machine, and the documents it writes."""

from collections.abc import Iterator

from documentation.markdown import cell, page, table

from deploy.cli.printed import printed
from infra.home import OF_A_DEPLOYMENT, OWN
from infra.record import Document


def text() -> str:
    """What lies in a home, and every kind of document."""
    printed()  # imports what holds them
    kinds = sorted(set(documents(Document)), key=lambda kind: kind.kind)
    return page(
        "# Files",
        "What corral keeps on this machine lies in `$CORRAL_HOME`, else `~/.corral`: folders of mode 700, for this "
        "user alone. The truth about a deployment is EC2's tags or its host; what lies here can be made again from "
        "there.",
        "## In `$CORRAL_HOME`",
        table(("name", ""), ((f"`{name}`", cell(said)) for name, said in sorted(OWN.items()))),
        "## In the folder of a deployment",
        "`$CORRAL_HOME/NAME/`. Files beside these belong to the place where it runs.",
        table(("name", ""), ((f"`{name}`", cell(said)) for name, said in OF_A_DEPLOYMENT.items())),
        "## Documents",
        "JSON, each with its kind in `document` and its `schema_version`. One of another kind or version is refused by "
        "name, with [exit code](exit-codes.md) 4, and so is one with a field that is unknown.",
        table(
            ("kind", "version", ""),
            ((f"`{kind.kind}`", version(kind), cell(first(kind))) for kind in kinds),
        ),
    )


def documents(kind: type[Document]) -> Iterator[type[Document]]:
    """Every kind of document."""
    for each in kind.__subclasses__():
        yield each
        yield from documents(each)


def version(kind: type[Document]) -> str:
    """The version that is written."""
    field = kind.model_fields.get("schema_version")
    return "" if field is None else str(field.default)


def first(kind: type[Document]) -> str:
    """The first paragraph of a docstring."""
    return (kind.__doc__ or "").partition("\n\n")[0]
