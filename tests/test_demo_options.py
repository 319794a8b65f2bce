"""What may be asked of the demo."""

import pytest

from deploy.demo.demo_options import DemoOptions
from infra.errors import UsageError


def test_the_demo_asks_one_model() -> None:
    assert DemoOptions.of({"model": ("a",)}).model == ("a",)
    with pytest.raises(UsageError) as error:
        DemoOptions.of({"model": ("a", "b")})
    assert (error.value.message, error.value.hint) == ("The demo asks one model.", "For example: --model a")
