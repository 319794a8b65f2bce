"""The figures of the documentation show what corral's model says now, each is on a page, and a stale one is told."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.doc_figures import draw
from scripts.doc_figures.data import FIGURES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_what_the_model_says(name: str) -> None:
    is_current = draw.kept(name) == json.loads(json.dumps(FIGURES[name]()))
    assert is_current, "run scripts/doc-figures"  # what differs takes pytest minutes to lay out


def test_every_figure_is_on_a_page_and_says_what_it_shows() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    shown = re.findall(r"!\[[^\]]{30,}\]\(\.\./figures/([\w-]+)\.svg\)", pages)
    assert sorted(shown) == sorted(FIGURES) == sorted(path.stem for path in (DOCS / "figures").iterdir())


def test_what_is_drawn_keeps_its_data_and_is_told_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says = {
        "cells": [{"what": "a < b & c", "source": name, "measured": 9.0, "modelled": 9.1} for name in "abcd"]
    }
    monkeypatch.setattr(draw, "FOLDER", tmp_path / "figures")
    monkeypatch.setattr(draw, "FIGURES", {"measured": lambda: says})
    assert draw.main(["--check"]) == 1
    assert draw.main([]) == 0
    ElementTree.parse(tmp_path / "figures" / "measured.svg")
    capsys.readouterr()
    assert (draw.main(["--check"]), capsys.readouterr().out) == (0, "\n")
    says["cells"][0]["modelled"] = 9.2
    assert draw.main(["--check"]) == 1
    assert "measured.svg is out of date: scripts/doc-figures" in capsys.readouterr().out
