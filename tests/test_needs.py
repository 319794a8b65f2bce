"""What the tests lack on this machine is said once, at the end of the run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


def closing_lines(config: pytest.Config, *reasons: str) -> list[str]:
    """What tests/conftest.py says after a run in which tests were skipped for these reasons."""
    plugins = {getattr(plugin, "__file__", None): plugin for plugin in config.pluginmanager.get_plugins()}
    said: list[str] = []
    skipped = [SimpleNamespace(longrepr=(str(CONFTEST), 64, f"Skipped: {reason}")) for reason in reasons]
    summary = plugins[str(CONFTEST)].pytest_terminal_summary(
        SimpleNamespace(stats={"skipped": skipped} if skipped else {}, line=said.append)
    )
    assert list(summary) == [None]
    return said


def test_what_was_missing_is_one_line(pytestconfig: pytest.Config) -> None:
    assert closing_lines(pytestconfig) == []
    assert closing_lines(pytestconfig, "the packed engine is for Python 3.11") == []
    reasons = [
        "needs fleet: only root can boot hosts",
        "needs browser: no chromium",
        "needs fleet: no namespaces",
    ]
    assert closing_lines(pytestconfig, *reasons, "unconditional skip") == [
        "needs that were missing: browser (1 test), fleet (2 tests)"
    ]
