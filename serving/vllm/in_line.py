"""A question to a server whose other clients are before us: asked again for as long as they are served."""

import time
from collections.abc import Callable
from typing import TypeVar

from infra.errors import EndpointError
from serving.vllm import client, health
from serving.vllm.endpoint import Endpoint

WITHIN_S = 600.0
"""After so long the question is given up; one that is asked then is still let finish."""
AGAIN_S = 5.0

Answer = TypeVar("Answer")


class Behind(EndpointError):
    """An endpoint that served others all the while, and not us."""


def answer(
    endpoint: Endpoint,
    ask: Callable[[], Answer],
    own_tokens: int,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """What `ask` returns in the end. Raises Behind where that does not come; and what `ask` raises.

    An answer that is late, or refused for a full queue, says nothing against a server that makes more tokens meanwhile
    than those `own_tokens` which `ask` wants of it.
    """
    end_s = clock() + WITHIN_S
    while True:
        before = health.reading(endpoint)
        try:
            return ask()
        except (client.TooLate, client.Full):
            sleep(AGAIN_S)
            if health.generated(before, health.reading(endpoint)) <= own_tokens:
                raise
            if clock() >= end_s:
                raise Behind(
                    f"{endpoint.base_url} serves others, and answered nothing of ours for {WITHIN_S / 60:g} minutes.",
                    "Ask again when fewer do.",
                ) from None
