"""PURE: the page on which a person rates pairs of answers: one file, which asks nobody and names no endpoint."""

import base64
import hashlib
import html
from pathlib import Path

from infra.printable import printable
from serving.quality.blind import Pair, Pairs

STYLE, SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("blind.css", "blind.js")
)


def page(pairs: Pairs) -> str:
    """The whole page; pairs with nothing to rate are left out."""
    parts = [fieldset(number, pair) for number, pair in enumerate(pairs.pairs, 1) if not pair.is_alike]
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest(SCRIPT)}'"
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<title>Which answer is better?</title><style>{STYLE}</style>",
            f'<main data-page="{pairs.page}"><h1>Which answer is better?</h1>',
            f"<p>{len(parts)} pairs. Left and right change places at random. What you choose is kept in this browser;"
            " when you are done, save it as a file.</p>",
            *parts,
            "<p class=end><button type=button id=save>Save ratings.json</button> <output id=done></output></p></main>",
            f"<script>{SCRIPT}</script></html>",
            "",
        ]
    )


def digest(script: str) -> str:
    """What the browser compares the script with: no other is run, whatever an answer holds."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def fieldset(number: int, pair: Pair) -> str:
    """One text, its two answers, and the choice."""
    choices = "".join(
        f'<label><input type=radio name="{number}" value={value}> {words}</label>'
        for value, words in (
            ("left", "left is better"),
            ("same", "no difference"),
            ("right", "right is better"),
        )
    )
    return (
        f"<fieldset><legend>{number}</legend><pre class=text>{shown(pair.text)}</pre>"
        f"<div class=pair><pre>{shown(pair.left)}</pre><pre>{shown(pair.right)}</pre></div>"
        f"<div class=choice>{choices}</div></fieldset>"
    )


def shown(text: str) -> str:
    """What somebody else wrote: text, and nothing that directs the browser or the eye."""
    return html.escape(printable(text))
