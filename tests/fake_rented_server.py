"""The server of a rented box, at the end of fake_aws_cli.py's tunnel."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_rented_box import SERVING, STOPPED, here, key, requests


def serving() -> str:
    """Which release it is of; nothing for that of its first boot."""
    if not os.path.exists(here(SERVING)):
        return ""
    with open(here(SERVING)) as file:
        return file.read()


class Box(BaseHTTPRequestHandler):
    """As much of vLLM as a health check asks."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply({"data": [{"id": os.environ["FAKE_MODEL"]}]})
        elif self.path == "/metrics" and os.path.exists(here("/requests")):
            left = requests()
            self.answer(f"vllm:num_requests_running {left}\nvllm:num_requests_waiting 0\n".encode(), 200)
            with open(here("/requests"), "w") as file:
                file.write(str(max(0, left - 1)))
        else:
            self.reply({})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        # It says nothing at a release that the test has broken.
        text = "" if serving() and os.path.exists(here(f"/broken-{serving()}")) else "x"
        choice = {"text": text, "index": 0}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        self.reply({"model": os.environ["FAKE_MODEL"], "choices": [choice], "usage": usage})

    def reply(self, body: dict[str, object]) -> None:
        right = not self.path.startswith("/v1") or self.headers["Authorization"] == f"Bearer {key()}"
        self.answer(json.dumps(body if right else {"error": "Unauthorized"}).encode(), 200 if right else 401)

    def answer(self, data: bytes, status: int) -> None:
        if os.path.exists(here(STOPPED)):
            # A tunnel takes a connection though nothing listens there.
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(port: int) -> None:
    """Answer there until this process ends."""
    ThreadingHTTPServer(("127.0.0.1", port), Box).serve_forever()
