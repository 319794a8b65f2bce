"""What is told of a roll that stopped: how each replica is, and what goes on with it, for one and for several."""

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.releases import roll
from infra.errors import HostError, Interrupted, ServerError


def told(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, replicas: str, rolled: str = "", **how: bool
) -> Any:
    """The error of a roll of these replicas that stopped at b."""
    is_upgrade = how.pop("is_upgrade", False)
    step = SimpleNamespace(old=SimpleNamespace(id="0.1"), new=SimpleNamespace(id="0.2"))
    this: Any = SimpleNamespace(
        name="scout", step=step, replicas=dict.fromkeys(replicas), is_upgrade=is_upgrade
    )
    way: Any = SimpleNamespace(**({"is_out": False, "is_done": False} | how))
    monkeypatch.setattr(roll, "led_back", lambda *_: ["b is as before."])
    return roll.halted(this, "b", error, list(rolled), way)


@pytest.mark.parametrize(
    ("error", "replicas", "rolled", "how", "kind", "message", "hint"),
    [
        (HostError("No way there.", "x"), "b", "", {}, ServerError,
         "The roll of scout stopped at b: No way there. b is as before.",
         "Look: corral logs scout; start it: corral serve scout."),
        (HostError("No way there.", "x"), "abc", "a", {}, ServerError,
         "The roll of scout stopped at b: No way there. b is as before. a: started anew. c: as before.",
         "Look: corral logs scout; the same command again goes on."),
        (KeyboardInterrupt(), "abc", "", {}, Interrupted,
         "The roll of scout stopped at b: it was interrupted. b is as before. a, c: as before.",
         "Look: corral logs scout; the same command again goes on."),
        (HostError("No.", "x"), "ab", "a", {"is_upgrade": True, "is_out": True}, ServerError,
         "The roll of scout stopped at b: No. b is as before. Its gateway gives it no requests. a: at 0.2.",
         "Look: corral logs scout; the same command again goes on; once b serves: corral gateway ready scout b; all "
         "back to 0.1: corral roll scout."),
        (HostError("No.", "x"), "ab", "", {"is_upgrade": True, "is_done": True}, ServerError,
         "The roll of scout stopped at b: No. b is as before. a: as before.",
         "Look: corral logs scout; the same command again goes on; all back to 0.1: corral roll scout."),
        (HostError("No.", "x"), "ab", "", {"is_upgrade": True}, ServerError,
         "The roll of scout stopped at b: No. b is as before. a: as before.",
         "Look: corral logs scout; the same command again goes on."),
    ],
)  # fmt: skip
def test_how_each_is_and_what_goes_on(
    error: BaseException,
    replicas: str,
    rolled: str,
    how: dict[str, bool],
    kind: type[Exception],
    message: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = told(monkeypatch, error, replicas, rolled, **how)
    assert (type(found), found.message, found.hint) == (kind, message, hint)


def test_a_mistake_of_ours_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("x")
    assert told(monkeypatch, error, "ab") is error
