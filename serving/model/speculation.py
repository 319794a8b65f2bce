"""PURE: --speculative-config as vLLM takes it: how tokens are proposed, by what, and how many in a step.

Names and rules of vLLM 0.32.0 (drafts.toml); what vLLM would refuse after half a minute is refused here.
"""

import json
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args

from infra import bounded_json
from infra.data import shipped_table
from infra.errors import UsageError
from infra.printable import one_line
from infra.record import Record

FLAG = "--speculative-config"
EXAMPLE = """For example: --speculative-config '{"method": "ngram", "num_speculative_tokens": 3}'"""
Method = Literal["eagle3", "eagle", "draft_model", "ngram"]
METHODS: tuple[Method, ...] = get_args(Method)
LONGEST_JSON = 4096
"""Bytes of what is typed."""
NGRAM = ("ngram", "[ngram]")


class Speculation(Record):
    """How tokens are proposed. `given` is the JSON for vLLM, with each name as vLLM spells it."""

    method: Method
    model: str
    """A folder or a repository; empty where nothing is loaded."""
    tokens: int
    """Proposed in a step; one more is sampled in any case."""
    revision: str | None
    tensor: int | None
    """draft_tensor_parallel_size, as given."""
    given: str

    @property
    def is_eagle(self) -> bool:
        """Whether it works on the model's own hidden states, in the model's own place."""
        return self.method in ("eagle", "eagle3")

    @property
    def is_loaded(self) -> bool:
        """Whether it has weights."""
        return self.method not in NGRAM

    def told(self, model: str) -> dict[str, object]:
        """What vLLM is told, with the draft lying there."""
        given: dict[str, object] = bounded_json.load(self.given.encode())
        return given | ({"model": model} if self.is_loaded else {})


@cache
def speculation(text: str) -> Speculation:
    """What a JSON object says. Raises UsageError for what vLLM does not take, or is not planned with."""
    given = keys_of(text)
    method, model = method_of(given), said(given, "model")
    if method not in NGRAM and not model:
        raise UsageError(
            f"{FLAG} names no model for {method}.",
            "Name the draft, a folder or a repository of the Hub; or propose by look-up, which needs none. "
            + EXAMPLE,
        )
    tokens = whole(given, "num_speculative_tokens", data()["most_tokens"])
    if tokens is None:
        raise UsageError(f"{FLAG} does not say num_speculative_tokens.", EXAMPLE)
    check_look_up(given, method)
    return Speculation(
        method=method,
        model="" if method in NGRAM else model,
        tokens=tokens,
        revision=said(given, "revision") or None,
        tensor=whole(given, "draft_tensor_parallel_size", 4096),
        given=json.dumps(given),
    )


def keys_of(text: str) -> dict[str, Any]:
    """The object, its names as vLLM spells them. Raises UsageError."""
    try:
        found = bounded_json.load(text.encode(), LONGEST_JSON)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{FLAG} {one_line(text, 60)!r} is no JSON object.", EXAMPLE)
    given = {str(name).replace("-", "_"): value for name, value in found.items() if value is not None}
    for name in given:
        check_key(name)
    return given


def check_key(name: str) -> None:
    """Raise UsageError for a name that is not vLLM's, or that is not planned with."""
    known = (*data()["keys"], *data()["passed_on"])
    if name in known:
        return
    if name == "tensor_parallel_size":
        raise UsageError(
            f"vLLM refuses {name!r} in {FLAG}.",
            "Leave it out: a draft is split as the model is. vLLM's own name is draft_tensor_parallel_size.",
        )
    if name in data()["unplanned_keys"]:
        raise UsageError(f"corral does not plan with {name!r} in {FLAG}.", f"Leave it out. {EXAMPLE}")
    near = get_close_matches(name, known, n=1)
    raise UsageError(
        f"vLLM knows no {one_line(name, 60)!r} in {FLAG}.",
        f"Did you mean {near[0]}?" if near else f"Its names: {', '.join(data()['keys'])}",
    )


def method_of(given: dict[str, Any]) -> Method:
    """The method; where it is not said, as vLLM tells it by the draft's name. Raises UsageError."""
    asked, model = said(given, "method"), said(given, "model")
    if not asked and not model:
        raise UsageError(f"{FLAG} says neither a method nor a model.", EXAMPLE)
    if asked in NGRAM or (not asked and model in NGRAM):
        return "ngram"
    if not asked:
        name = model.lower()
        return "eagle" if "eagle-" in name else "eagle3" if "eagle3" in name else "draft_model"
    if method := next((each for each in METHODS if each == asked), None):
        return method
    if why := data()["unplanned_methods"].get("mtp" if asked.endswith("_mtp") else asked):
        raise UsageError(
            f"corral does not plan for drafts of the method {one_line(asked, 60)!r}: {why}.",
            f"One of: {', '.join(METHODS)}",
        )
    raise UsageError(
        f"vLLM knows no method {one_line(asked, 60)!r} of drafts.", f"One of: {', '.join(METHODS)}"
    )


def said(given: dict[str, Any], name: str) -> str:
    """A value that is a text; empty where it is not said. Raises UsageError for what is none."""
    value = given.get(name, "")
    if isinstance(value, str) and value.isprintable() and not value.startswith("-"):
        return value
    raise UsageError(f"{name} in {FLAG} is no name.", EXAMPLE)


def whole(given: dict[str, Any], name: str, most: int) -> int | None:
    """A whole number from 1; None where it is not said. Raises UsageError."""
    value = given.get(name)
    if value is None:
        return None
    if type(value) is int and 1 <= value <= most:
        return value
    typed = one_line(json.dumps(value), 40)
    raise UsageError(f"{name} {typed} in {FLAG} is no whole number between 1 and {most:,}.", EXAMPLE)


def check_look_up(given: dict[str, Any], method: Method) -> None:
    """Raise UsageError for lengths to look up that contradict one another."""
    least, most = (whole(given, name, 2**20) for name in ("prompt_lookup_min", "prompt_lookup_max"))
    if least and most and least > most and method in NGRAM:
        raise UsageError(
            f"prompt_lookup_min {least} in {FLAG} is more than prompt_lookup_max {most}.",
            "Lower the first or raise the second.",
        )


def data() -> dict[str, Any]:
    """What drafts.toml holds."""
    return shipped_table("serving.model", "drafts.toml")
