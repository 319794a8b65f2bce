"""What is written below a folder by several at once."""

from pathlib import Path

import pytest

from infra import beneath
from infra.beneath import Beneath


def test_a_file_that_another_began_anew_meanwhile_is_left_to_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    half.write_text("of one who was killed")

    def taken_too_late(handle: int) -> None:
        half.unlink()
        half.write_text("another's")

    monkeypatch.setattr(beneath, "take", taken_too_late)
    with Beneath(tmp_path) as below, pytest.raises(BlockingIOError):
        below.new("half")
    assert half.read_text() == "another's"
