"""What whoever runs an export is told of the weights that it fetches, and what a rented box fetches in bytes."""

from types import SimpleNamespace
from typing import Any

import pytest
from test_owned import deployment

from deploy.bundle import manifest
from deploy.export import weights_notes
from deploy.targets import drafts, hub_weights, licence
from deploy.targets.ec2 import ordering

TERMS = SimpleNamespace(title="Llama 4 licence", url="https://l", says=("It is not for some.", "And more."))
UNDER = (
    "What this fetches is under the Llama 4 licence, to be accepted by who uses it before: https://l. It is not for "
    "some."
)


@pytest.mark.parametrize(
    ("is_fetched", "revision", "terms", "said"),
    [
        (False, None, TERMS, []),
        (True, "c" * 40, None, []),
        (True, "c" * 40, TERMS, [UNDER]),
        (True, None, TERMS,
         ["No commit of a/b is named, so what is fetched may be another tomorrow: corral fetch says the newest; write "
          'it into the plan ("revision" under "serve") and export again.', UNDER]),
    ],
)  # fmt: skip
def test_what_is_told_of_weights(
    is_fetched: bool, revision: str | None, terms: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = deployment(model="a/b", revision=revision).plan
    monkeypatch.setattr(hub_weights, "is_fetched", lambda _: is_fetched)
    monkeypatch.setattr(hub_weights, "told", lambda _: SimpleNamespace(revision="d" * 40))
    monkeypatch.setattr(hub_weights, "licence_of", lambda _: "llama4")
    monkeypatch.setattr(licence, "terms_for", {"llama4": terms}.get)
    assert list(weights_notes.notes(plan)) == said
    pinned = weights_notes.pinned(plan).serve.revision
    assert pinned == (revision or ("d" * 40 if is_fetched else None))


@pytest.mark.parametrize(
    ("weights", "beside", "fetched"),
    [
        ("hf://a/b@c", (), 107),
        ("s3://bucket/a/", (), 107),
        ("/opt/model", (), 0),
        ("/opt/model", ("draft",), 7),
    ],
)
def test_what_lies_in_a_boxs_image_is_not_fetched(
    weights: str, beside: tuple[str, ...], fetched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Any = SimpleNamespace(weights_bytes=100)
    setup: Any = SimpleNamespace(weights=weights, beside=beside)
    monkeypatch.setattr(drafts, "weights_bytes", lambda _: 7)
    assert ordering.fetched_bytes(plan, setup) == fetched


@pytest.mark.parametrize("path", ["a", "a/b", "a b/c", ".a/..b"])
def test_a_path_inside_of_a_bundle_has_one_spelling(path: str) -> None:
    assert manifest.inside(path) == path


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../a", "a/../b", "/a", "a/", "./a", "a//b", "a\nb", "a\x1b"]
)
def test_any_other_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="is no path inside of the bundle"):
        manifest.inside(path)
