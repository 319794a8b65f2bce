"""What a report is held to, where it says less than today's: whose rules a lock was loaded from."""

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from infra.egress_checks import Finding, written_by_us

OURS = hashlib.sha256(b"rules").hexdigest()


@pytest.mark.parametrize(
    ("sha256", "is_asked", "holds", "said"),
    [
        (OURS, False, True, f"gpu-1: those that this corral writes ({OURS[:12]})"),
        (OURS, True, True, f"gpu-1: those that this corral writes ({OURS[:12]})"),
        ("ab" * 32, False, None,
         "gpu-1: its rules (abababababab) are not those that this corral writes: read them"),
        ("ab" * 32, True, False,
         "gpu-1: its rules (abababababab) are not those that this corral writes: read them"),
        (None, False, None, "gpu-1: its rules () are not those that this corral writes: read them"),
    ],
)  # fmt: skip
def test_whose_rules_they_are(sha256: str | None, is_asked: bool, holds: bool | None, said: str) -> None:
    served: Any = SimpleNamespace(rules_sha256=sha256) if sha256 else None
    assert written_by_us("gpu-1", "rules", served, is_asked) == Finding(what="rules", holds=holds, said=said)
