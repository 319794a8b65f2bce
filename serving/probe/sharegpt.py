"""PURE: a conversation in the form of the ShareGPT files: turns, each `from` somebody, with a `value`."""

from typing import Any

PEOPLE = ("human", "user")
MODELS = ("gpt", "assistant", "chatgpt", "bard", "bing", "model")


class NoExchange(Exception):
    """A conversation in which nobody asks and is answered: those files have some of them."""


def exchange(turns: Any) -> tuple[str, str]:
    """The first question that is answered, and the answer.

    Raises NoExchange, and ValueError for what is no conversation.
    """
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in turns
    ):
        raise ValueError("its conversations are no list of turns with from and value")
    for asked, said in zip(turns, turns[1:], strict=False):
        if (
            asked["from"] in PEOPLE
            and said["from"] in MODELS
            and asked["value"].strip()
            and said["value"].strip()
        ):
            return asked["value"], said["value"]
    raise NoExchange
