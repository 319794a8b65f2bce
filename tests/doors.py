"""A gateway by the real HAProxy, in front of servers with a known schedule (tests/fake_llm.py)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from fake_server import FakeServer
from ports import free_port
from stubbed import until
from test_owned import deployment

from deploy.gateway import gateway, haproxy, key_store
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.keys import KeyLimits
from deploy.targets.deployment import Deployment

NAME = "front"
ENGINE_KEY = "sk-of-the-engine"
"""Which clients never see, nor need."""


@dataclass
class Door:
    """One gateway, its server, and what is asked through it."""

    home: Path
    asked: GatewayOptions
    deployment: Deployment
    server: FakeServer | None = None
    keys: dict[str, str] = field(default_factory=dict)
    name: str = NAME

    @property
    def folder(self) -> Path:
        return gateway.folder(self.name)

    def key(self, person: str, **limits: Any) -> str:
        """That person's key, made once."""
        if person not in self.keys:
            self.keys[person] = key_store.add(self.folder, self.asked, person, KeyLimits(**limits)).key
        return self.keys[person]

    def serve(self, **config: Any) -> None:
        """Have a server behind it, which takes the engine's key alone, and wait until the gateway gives it requests."""
        self.server = FakeServer(port=self.deployment.plan.serve.port, key=ENGINE_KEY, **config)
        until(lambda: [each.state for each in gateway.status(NAME).servers] == ["UP"])

    def ask(
        self, path: str, body: Any = None, key: str | None = "good", method: str = "", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of an answer; a body of a request that is no text goes as JSON."""
        with self.asking(path, body, key, method, **headers) as answer:
            said = answer.read()
            head = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, head, json.loads(said) if is_json(head) else said

    @contextmanager
    def asking(
        self, path: str, body: Any = None, key: str | None = "good", method: str = "", **headers: str
    ) -> Iterator[HTTPResponse]:
        """An answer as it comes."""
        connection = HTTPConnection("127.0.0.1", self.asked.port, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        head = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            head = {"Authorization": f"Bearer {self.key(key)}"} | head
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, head)
            yield connection.getresponse()
        finally:
            connection.close()

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit."""
        text = haproxy.audit(self.folder).read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def is_json(head: dict[str, str]) -> bool:
    """Whether an answer is one document."""
    return head.get("content-type", "").startswith("application/json")


@contextmanager
def door(
    home: Path,
    serves: dict[str, Any] | None = None,
    target: str = "local",
    hosts: tuple[str, ...] = (),
    **asked: Any,
) -> Iterator[Door]:
    """A gateway that runs, in the home that is set; with `serves` also a server behind it. All ends with it."""
    behind = deployment(port=free_port(), shutdown_timeout=60).model_copy(
        update={"name": NAME, "target": target, "hosts": hosts}
    )
    behind.write(home / NAME / "deployment.json")
    (home / NAME / "api-key").write_text(f"{ENGINE_KEY}\n")
    opened = Door(home, GatewayOptions(port=free_port(), **asked), behind)
    try:
        gateway.start(behind, opened.asked)
        if serves is not None:
            opened.serve(**serves)
        yield opened
    finally:
        haproxy.stop(home / NAME / "gateway", 0)
        if opened.server:
            opened.server.kill()
