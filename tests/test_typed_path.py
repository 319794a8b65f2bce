"""A path that a user typed: `~` of nobody, and names that no disk takes, are one sentence wherever they are typed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_owned import deployment

from deploy.targets import hub_weights
from deploy.targets.local import engines
from deploy.targets.ssh import host_releases
from infra.errors import CorralError
from infra.typed_path import typed_path
from serving.model import hub_token
from serving.model.speculation import Speculation
from serving.sizing import asked_draft, plan_recipes
from serving.sizing.size_options import RecipeOptions

ODD = ["~nobody-of-that-name/x", "~\N{PILE OF POO}", "x" * 300, "a/" * 3000, "~/none"]


def test_a_home_is_meant_only_where_somebody_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_path("~/a") == Path("/home/me/a")
    assert typed_path("~nobody-of-that-name/a") == tmp_path / "~nobody-of-that-name/a"
    assert typed_path("a") == tmp_path / "a"


def proposed(model: str) -> Speculation:
    return Speculation(method="eagle3", model=model, tokens=3, revision=None, tensor=None, given="{}")


DOORS: dict[str, Callable[[str], object]] = {
    "engine here": lambda typed: engines.chosen(deployment(), None, typed),
    "engine for a host": lambda typed: host_releases.with_engine(deployment(), None, typed),
    "token file": lambda typed: hub_weights.with_token_file(deployment(), typed),
    "chat template": lambda typed: plan_recipes.with_recipes(
        deployment().plan, RecipeOptions(chat_template=Path(typed))
    ),
    "draft": lambda typed: asked_draft.files(proposed(typed if typed.startswith("~") else f"./{typed}")),
}


@pytest.mark.parametrize("typed", ODD, ids=[str(number) for number in range(len(ODD))])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_path_is_refused_in_one_sentence(door: str, typed: str) -> None:
    with pytest.raises(CorralError) as caught:
        DOORS[door](typed)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME"])
def test_a_variable_that_names_nobodys_home_is_no_crash(name: str) -> None:
    environ = {name: "~nobody-of-that-name"}
    assert hub_token.find(environ) is None
    assert hub_token.cache(environ).is_absolute()
