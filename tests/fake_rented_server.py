"""The server of a rented box, at the end of fake_aws_cli.py's tunnel."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_rented_box import key


class Box(BaseHTTPRequestHandler):
    """As much of vLLM as a health check asks."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply({"data": [{"id": os.environ["FAKE_MODEL"]}]})
        else:
            self.reply({})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"text": "x", "index": 0}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        self.reply({"model": os.environ["FAKE_MODEL"], "choices": [choice], "usage": usage})

    def reply(self, body: dict[str, object]) -> None:
        right = not self.path.startswith("/v1") or self.headers["Authorization"] == f"Bearer {key()}"
        data = json.dumps(body if right else {"error": "Unauthorized"}).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(port: int) -> None:
    """Answer there until this process ends."""
    ThreadingHTTPServer(("127.0.0.1", port), Box).serve_forever()
