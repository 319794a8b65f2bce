"""What mkdocs asks while it builds the site: the pages of the reference, made from the code, and their places."""

import os
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from documentation.reference import navigation, pages  # noqa: E402

KEPT_ELSEWHERE = {
    "reference/promises.md": "SECURITY.md",
    "reference/peers.md": "serving/PEERS.md",
    "reference/checks.md": "serving/CHECKS.md",
    "reference/changelog.md": "CHANGELOG.md",
    "figures/probe-2026-11-26.md": "scripts/bench_probe/figures-2026-11-26.md",
    "figures/probe-2026-11-30.md": "scripts/bench_probe/figures-2026-11-30.md",
    "figures/fetch-2026-11-29.json": "scripts/bench_fetch/figures-2026-11-29.json",
    "figures/kills-2026-11-30.json": "scripts/bench_fetch/kills-2026-11-30.json",
    "figures/roll-2026-11-30.json": "scripts/bench_roll/figures-2026-11-30.json",
}
"""Page -> the file that it is, which stands where a code host or a developer looks for it; docs link to it there."""


def on_config(config: Any) -> Any:
    """Put the pages that are made into the navigation."""
    (reference,) = (part for part in config["nav"] if "Reference" in part)
    reference["Reference"] += [
        *navigation(),
        {"Promises and their limits": "reference/promises.md"},
        {"Other planners": "reference/peers.md"},
        {"Acceptance checks": "reference/checks.md"},
        {"How wrong the probe's clock is": "figures/probe-2026-11-30.md"},
        {"The probe beside GuideLLM and AIPerf": "figures/probe-2026-11-26.md"},
        {"Changes": "reference/changelog.md"},
    ]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead a link to a file of the clone to the page which that is in the site."""
    folder = os.path.dirname(page.file.src_uri)
    for place, source in KEPT_ELSEWHERE.items():
        in_clone = os.path.relpath(source, os.path.join("docs", folder))
        markdown = markdown.replace(f"]({in_clone}", f"]({os.path.relpath(place, folder)}")
    return markdown


def on_files(files: Files, config: Any) -> Files:
    """Add what is made, and what is kept elsewhere."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for place, source in KEPT_ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files
