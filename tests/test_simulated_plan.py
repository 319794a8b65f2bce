"""The plan that is simulated where a model is named and no plan: for its machine, in its own precision."""

from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import UsageError
from serving.simulation import simulated_plan

STORED = SimpleNamespace(repo="a/b", precision="int4")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was planned for."""
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(simulated_plan, "check_named", lambda _: None)
    monkeypatch.setattr(simulated_plan, "is_checkpoint", {"a/b": True, "scout": False}.__getitem__)
    monkeypatch.setattr(simulated_plan, "stored", lambda *_: STORED)
    monkeypatch.setattr(simulated_plan, "options_for", lambda subject, *_: subject)
    monkeypatch.setattr(simulated_plan, "plan_stored", lambda *words: made.append(words))
    monkeypatch.setattr(simulated_plan, "answer_for", lambda *words: made.append(words))
    return made


def asked(name: str, on: str | None, precision: str | None) -> None:
    machine: Any = SimpleNamespace(on=on, precision=precision)
    server: Any = SimpleNamespace(vllm_version=None)
    nothing: Any = None
    simulated_plan.planned(name, nothing, machine, server)


@pytest.mark.parametrize("precision", [None, "int4"])
def test_a_checkpoint_is_planned_for_as_it_is_stored(
    precision: str | None, planned: list[tuple[Any, ...]]
) -> None:
    asked("a/b", "8xH100", precision)
    assert planned == [(STORED, "8xH100", STORED)]


def test_a_model_of_the_table_is_planned_for_in_the_precision_that_is_asked(
    planned: list[tuple[Any, ...]],
) -> None:
    asked("scout", "8xH100", "fp8")
    ((name, precision, on, options),) = planned
    assert (name, precision, on, options.name) == ("scout", "fp8", "8xH100", "scout")


@pytest.mark.parametrize(
    ("on", "precision", "message", "hint"),
    [
        (None, None, "No machine is named.", "For example: --on 8xH100, or the plan.json of one."),
        ("8xH100", "fp8", "a/b is stored in int4, not fp8.", "Leave out --precision."),
    ],
)
def test_what_cannot_be_meant(
    on: str | None, precision: str | None, message: str, hint: str, planned: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(UsageError) as error:
        asked("a/b", on, precision)
    assert (error.value.message, error.value.hint, planned) == (message, hint, [])
