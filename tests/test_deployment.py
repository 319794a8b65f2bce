"""What a deployment may be called."""

from pathlib import Path

import pytest

from deploy.targets.deployment import RESERVED, checked_name
from infra.errors import UsageError


@pytest.mark.parametrize("name", ["a", "7", "scout-prod", "a--b", "a" * 40])
def test_a_name_is_letters_digits_and_hyphens_within(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "../a", "a b", "é", "a\n", "a" * 41, "b" * 300]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError) as error:
        checked_name(name)
    shown = name if len(name) <= 40 else f"{name[:37]}..."
    assert (error.value.message, error.value.hint) == (
        f"{shown!r} cannot be the name of a deployment.",
        "Use 1 to 40 of a-z, 0-9 and hyphens, not first or last: scout-prod",
    )


def test_a_name_of_a_file_of_corrals_own_is_taken(tmp_path: Path) -> None:
    assert RESERVED
    for name in RESERVED:
        with pytest.raises(UsageError) as error:
            checked_name(name)
        assert (error.value.message, error.value.hint) == (
            f"{name!r} cannot be the name of a deployment: corral keeps its own files in "
            f"{tmp_path / 'corral-home' / name}.",
            f"Choose another: --name {name}-1",
        )
