#!/usr/bin/env python3
"""Run beside the server while it runs: look at it, judge, and end with a code that says what is to be done.

It has a user of its own, who may speak with the server over loopback and write down how many tokens were its own;
what it ends with is read by bin/heal. Standard library only: it runs with the host's own Python.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

try:
    from infra.onhost import codes, judge
except ImportError:  # on a host they lie beside it
    sys.path.insert(0, str(Path(__file__).parent))
    import codes  # type: ignore[import-not-found, no-redef]
    import judge  # type: ignore[import-not-found, no-redef]

MOST_BYTES = 4 * 2**20
FULL = (429, 503)
"""What a server says whose queue takes no more."""
HEALTH_S, ASK_S, COMPLETION_S = 2.0, 5.0, 15.0
"""What the server is given to answer, all of it, as from outside (serving/vllm/health.py)."""


class Said(NamedTuple):
    """One answer: how it ended, and what it was."""

    how: judge.Answer
    status: int = 0
    text: str = ""


def main() -> None:
    """Look until there is something to tell."""
    options = parsed(sys.argv[1:])
    os.umask(0o022)
    server = Server(options.url, options.model, os.environ.get("VLLM_API_KEY", ""), options.asked)
    policy = judge.Policy(load_s=options.load_s)
    is_marked = any(path.exists() for path in options.ready)
    sys.exit(code(server.look, is_marked, policy, time.sleep))


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The options the unit passes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--load-s", type=float, required=True)
    parser.add_argument("--ready", type=Path, required=True, action="append")
    parser.add_argument("--asked", type=Path, required=True)
    return parser.parse_args(arguments)


def code(
    look: Callable[[], judge.Look], was_ready: bool, policy: judge.Policy, sleep: Callable[[float], None]
) -> int:
    """The code to end with; comes when the server serves for the first time, or is to be ended."""
    memory = judge.Memory(was_ready=was_ready)
    while True:
        verdict, memory = judge.judge(memory, look(), policy)
        if verdict.action == "restart":
            return codes.code_of(verdict.kind)
        if memory.was_ready and not was_ready:
            return codes.READY
        is_ill = verdict.action == "wait"
        sleep(policy.look_again_s if is_ill else policy.look_every_s)


class Server(NamedTuple):
    """The server and how it is asked."""

    url: str
    model: str
    key: str
    asked: Path
    """Where it is written how many tokens of prompts and of answers were our own: one who answers us alone is idle."""

    def look(self) -> judge.Look:
        """Ask it all there is to ask; what takes no connection, or does not answer one, is asked no more."""
        health = self.say("GET", "/health", HEALTH_S)
        if health.how in ("refuse", "hang"):
            return judge.Look(time.monotonic(), health.how, health.how, health.how, health.how)
        models = self.say("GET", "/v1/models", ASK_S)
        before = self.say("GET", "/metrics", ASK_S)
        completion = self.complete()
        after = self.say("GET", "/metrics", ASK_S) if completion.how != "ok" else before
        return judge.Look(
            at_s=time.monotonic(),
            health=health.how,
            models=models.how if models.how != "ok" or lists(models.text, self.model) else "error",
            metrics=before.how,
            completion=completion.how,
            readings=tuple(judge.signals(sums(one.text)) for one in (before, after) if one.how == "ok"),
            is_denied=completion.status in (401, 403),
        )

    def complete(self) -> Said:
        """Ask for one token, and count what that takes."""
        used = used_before(self.asked)
        write_over(self.asked, f"{used[0]} {used[1]} and more\n")
        body = {"model": self.model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        answer = self.say("POST", "/v1/completions", COMPLETION_S, body)
        if answer.status in FULL:
            answer = answer._replace(how="hang")  # it may be full for ever: then nothing moves
        usage = usage_of(answer.text, self.model) if answer.how == "ok" else None
        if usage:
            used = (used[0] + usage[0], used[1] + usage[1])
        write_over(self.asked, f"{used[0]} {used[1]}\n")
        return answer if usage or answer.how != "ok" else answer._replace(how="error")

    def say(self, method: str, path: str, patience_s: float, body: dict[str, Any] | None = None) -> Said:
        """One question to the server and to nobody else: no proxy, no redirect."""
        place = urlsplit(self.url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=patience_s)
        headers = {"Content-Type": "application/json"}  # without which vLLM takes no body
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        # The connection's own patience is for one byte; this is for all of them.
        signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, patience_s)
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read(MOST_BYTES + 1)
        except TimeoutError:
            return Said("hang")
        except ConnectionRefusedError:
            return Said("refuse")
        except (OSError, HTTPException, ValueError):
            return Said("error")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.close()
        is_right = answer.status == 200 and len(text) <= MOST_BYTES
        return Said("ok" if is_right else "error", answer.status, text.decode(errors="replace"))


def too_late(*_: object) -> None:
    """Raise TimeoutError."""
    raise TimeoutError


def lists(text: str, model: str) -> bool:
    """Whether /v1/models lists the model."""
    try:
        return model in [each["id"] for each in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def usage_of(text: str, model: str) -> tuple[int, int] | None:
    """What a completion of one token took; None for what is none, or another model's."""
    try:
        answer = json.loads(text)
        usage = answer["usage"]
        prompt, made = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        is_right = answer["model"] == model and made == 1 and isinstance(answer["choices"][0]["text"], str)
        return (prompt, made) if is_right else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def write_over(path: Path, text: str) -> None:
    """Put a text into the room that the file has, or do without: a judge judges where nothing can be written."""
    with suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(handle, text.encode(), 0)
            os.ftruncate(handle, len(text.encode()))
        finally:
            os.close(handle)


def used_before(asked: Path) -> tuple[int, int]:
    """How many tokens of prompts and of answers were our own until now."""
    try:
        prompt, made = asked.read_text().split()[:2]
        return int(prompt), int(made)
    except (OSError, ValueError):
        return 0, 0


def sums(text: str) -> dict[str, float]:
    """Each metric's values, summed over its labels: Prometheus's text, of which the box has no other reader."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        name = name.partition("{")[0]
        if name in judge.SIGNALS:
            try:
                values[name] = values.get(name, 0.0) + float(value)
            except ValueError:
                continue
    return values


if __name__ == "__main__":
    main()
