"""The pages of the machine interface: what each verb prints with --json, from its JSON Schema."""

import json
import re
from collections.abc import Iterator
from typing import Any

from documentation.markdown import cell, page, stacked, table

from deploy.cli.printed import printed, schema

FOLDER = "reference/json"
SHORT_FOR = {"egress": "egress prove", "probe": "probe run", "quality": "quality run"}
"""A verb whose first word below may be left out -> that one."""
ERROR = "error"
SELDOM_SOUGHT = "---\nsearch:\n  boost: 0.3\n---\n\n"
"""So many fields are called as what a reader looks for that the page about that would be found last."""
FORMATS = {"date-time": "time (ISO 8601)", "date": "day (ISO 8601)"}


def pages() -> dict[str, str]:
    """Place in the site -> a page for each verb that prints JSON, its schema as a file beside it, and their list."""
    made = {f"{FOLDER}/index.md": overview()}
    for verb in described():
        made[f"{FOLDER}/{slug(verb)}.md"] = of_verb(verb)
        made[f"{FOLDER}/{slug(verb)}.schema.json"] = json.dumps(schema(verb), indent=2) + "\n"
    return made


def navigation() -> list[Any]:
    """The pages, by the verbs' names."""
    return [f"{FOLDER}/index.md", *({verb: f"{FOLDER}/{slug(verb)}.md"} for verb in described())]


def described() -> list[str]:
    """The verbs that have a page."""
    return [verb for verb in printed() if verb not in SHORT_FOR]


def slug(verb: str) -> str:
    """A verb as a file's name."""
    return verb.replace(" ", "-")


def overview() -> str:
    """What holds for all of them, and the list."""
    rows = [(f"[`{verb}`]({slug(verb)}.md)", cell(said(schema(verb)))) for verb in described()]
    return page(
        "# JSON",
        "With `--json` a verb prints one JSON document on stdout and nothing else there; progress goes to stderr. What "
        "it prints is described here, and by `corral schema VERB` as a JSON Schema (draft 2020-12). In place of a "
        f"result there may be [an error]({ERROR}.md); [exit codes](../exit-codes.md) are the same with and without.",
        "Objects have these fields and no others. Units are in the names: `_s` seconds, `_gib` GiB, `usd_` US dollars, "
        "`_mtok` a million tokens.",
        table(("verb", "what it prints"), rows),
    )


def of_verb(verb: str) -> str:
    """One verb's page: the object it prints, then each object in it."""
    whole = schema(verb)
    title = "An error" if verb == ERROR else f"corral {verb} --json"
    parts = [
        f"{SELDOM_SOUGHT}# {title}",
        f"As JSON Schema: [{slug(verb)}.schema.json]({slug(verb)}.schema.json).",
    ]
    if "properties" in whole:
        parts += objects(whole)
    else:
        parts.append(f"One of: {kind(whole)}.")
    for name, each in sorted(whole.get("$defs", {}).items()):
        if "properties" in each or "enum" in each:
            parts += [f"## {name} {{: #{anchor(name)} }}", *objects(each)]
    return page(*parts)


def objects(each: dict[str, Any]) -> Iterator[str]:
    """What an object is, and its fields."""
    if text := said(each):
        yield cell(text)
    if "enum" in each:
        yield kind(each)
    if fields := each.get("properties"):
        needed = each.get("required", ())
        rows = (
            (f"`{name}`", kind(field), "always" if name in needed else "", cell(field.get("description", "")))
            for name, field in fields.items()
        )
        yield stacked(("field", "type", "there", ""), rows)


def said(each: dict[str, Any]) -> str:
    """The docstring of an object."""
    return str(each.get("description", ""))


def anchor(name: str) -> str:
    """Where an object stands on the page."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def kind(each: dict[str, Any]) -> str:
    """A type in words."""
    match each:
        case {"$ref": where}:
            name = where.rpartition("/")[2]
            return f"[{name}](#{anchor(name)})"
        case {"anyOf": several} | {"oneOf": several}:
            return " or ".join(dict.fromkeys(map(kind, several)))
        case {"allOf": [only]}:
            return kind(only)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": values}:
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case {"type": "array", "prefixItems": items}:
            return f"list of {', '.join(map(kind, items))}"
        case {"type": "array", "items": items}:
            return f"list of {kind(items)}"
        case {"type": "object", "additionalProperties": dict() as values}:
            return f"object of {kind(values)}"
        case {"type": "string", "format": shape}:
            return FORMATS.get(shape, str(shape))
        case {"type": name}:
            return "null" if name == "null" else str(name)
    return "any value"
