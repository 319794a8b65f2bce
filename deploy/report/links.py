"""PURE: a source as a person follows it: what it names is a link, the rest is text. To show one fetches nothing.

A text may be a stranger's: an address is a link only where its host is one of links.toml.
"""

import re
from functools import cache
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from infra.data import shipped_table

ADDRESS = r"https://[a-z0-9.-]+(?:/[\w./?=&#%~+-]*)?(?<![.?])"


def linked(text: str) -> Markup:
    """The text with a link where it holds the name of something that links.toml knows, or an address of its hosts."""
    made, end = Markup(), 0
    for found in pattern().finditer(text):
        address = known().get(found[0], found[0])
        if urlsplit(address).hostname not in hosts():
            continue
        made += escape(text[end : found.start()]) + Markup('<a href="{}">{}</a>').format(address, found[0])
        end = found.end()
    return made + escape(text[end:])


@cache
def pattern() -> re.Pattern[str]:
    """An address or a known name, not as a part of a longer word."""
    names = "|".join(re.escape(name) for name in sorted(known(), key=len, reverse=True))
    return re.compile(rf"{ADDRESS}|(?<![\w/-])(?:{names})(?![\w/-])")


@cache
def hosts() -> frozenset[str | None]:
    """Whose pages may be linked."""
    return frozenset(urlsplit(address).hostname for address in known().values())


@cache
def known() -> dict[str, str]:
    """Addresses by the names of what is found there."""
    links: dict[str, str] = shipped_table("deploy.report", "links.toml")["links"]
    return links
