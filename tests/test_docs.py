"""The documentation: it is built without a warning, asks nothing of the internet, and its pages are all there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(
    r"""<(?:script|img|iframe|link(?! rel="canonical"))[^>]*?(?:src|href)=["']?(https?:|//)"""
)
STYLE = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:|//)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site, built as scripts/docs does it, from a copy that nobody else builds in."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder / "site")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "INFO" not in line]) == (0, [])
    yield folder / "site"
    shutil.rmtree(folder)


def test_a_built_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert [str(page) for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))] == []
    styles = list(site.rglob("*.css"))
    assert [str(style) for style in styles if STYLE.search(style.read_text(encoding="utf-8"))] == []
