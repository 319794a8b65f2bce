"""The shipped files: parsed once, read as they are, and the error for one that is not there."""

import pytest

from infra.data import shipped_table, shipped_text


def test_a_table_is_parsed_once() -> None:
    assert shipped_table("infra.aws", "quotas.toml") is shipped_table("infra.aws", "quotas.toml")
    assert set(shipped_table("infra.aws", "quotas.toml")) == {"on-demand", "spot"}


def test_a_file_is_read_as_it_is() -> None:
    assert shipped_text("infra.onhost", "facts.sh").startswith("#!")


def test_what_was_not_shipped_is_no_table() -> None:
    with pytest.raises(FileNotFoundError):
        shipped_table("infra", "nothing.toml")
