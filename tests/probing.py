"""What tests of the probe share: runs of this very process that come out the same on any machine, however busy."""

import math
from types import SimpleNamespace

import pytest

from serving.probe import attack, validity


def on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is invalid because the machine is busy: when one is, test_probe_metrics.py says. Nor is memory tidied
    before a run: that of pytest is large.
    """
    for limit in ("BUSY_FRACTION", "LATE_S", "LATE_FRACTION"):
        monkeypatch.setattr(validity, limit, math.inf)
    nothing = dict.fromkeys(("collect", "freeze", "unfreeze", "disable", "enable"), lambda: None)
    monkeypatch.setattr(attack, "gc", SimpleNamespace(**nothing))
