"""The tree of errors: each with its exit code, which programs rely on, and what it says of itself."""

import pytest

from infra import errors
from infra.errors import CorralError

CODES = {
    "UsageError": 2,
    "DoesNotFit": 3,
    "DocumentError": 4,
    "AuthError": 5,
    "CapacityError": 6,
    "ServerError": 7,
    "EndpointError": 8,
    "ProbeInvalid": 9,
    "LeftoverError": 10,
    "HostError": 11,
    "CloudError": 12,
    "Interrupted": 130,
}


def test_each_kind_has_its_code() -> None:
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, CorralError) and kind is not CorralError
    }
    assert {name: kind.exit_code for name, kind in kinds.items()} == CODES
    assert CorralError.exit_code == 1
    assert {kind.__base__ for kind in kinds.values()} == {CorralError}


@pytest.mark.parametrize(("words", "hint"), [(("it is",), ""), (("it is", "Look."), "Look.")])
def test_it_is_its_sentence_and_the_hint_is_beside_it(words: tuple[str, ...], hint: str) -> None:
    error = CorralError(*words)
    assert (str(error), error.message, error.hint, error.args) == ("it is", "it is", hint, ("it is",))
