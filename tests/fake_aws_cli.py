"""`aws ssm start-session` for the tests: the box behind it has a key, a log, and a server that answers.

Every call's arguments are appended to $FAKE_AWS_LOG. A port forwarding session is the server itself. Its unit is in
the state $FAKE_UNIT; the box $FAKE_STRANGER does not have the addresses it is told.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "key-of-the-box-CANARY"


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
        right = not self.path.startswith("/v1") or self.headers["Authorization"] == f"Bearer {KEY}"
        data = json.dumps(body if right else {"error": "Unauthorized"}).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    """Answer one command."""
    with open(os.environ["FAKE_AWS_LOG"], "a", encoding="utf-8") as log:
        log.write(json.dumps(sys.argv[1:]) + "\n")
    parameters = json.loads(sys.argv[sys.argv.index("--parameters") + 1])
    if "localPortNumber" in parameters:
        ThreadingHTTPServer(("127.0.0.1", int(parameters["localPortNumber"][0])), Box).serve_forever()
    target = sys.argv[sys.argv.index("--target") + 1]
    print(
        f"\nStarting session with SessionId: ann-0123\n{said(target, parameters['command'][0])}\n\nExiting session"
    )


def said(target: str, words: str) -> str:
    """What the box answers to a command."""
    if words.endswith("secrets.env"):
        return f"VLLM_API_KEY={KEY}"
    if "is-active" in words:
        return os.environ["FAKE_UNIT"]
    if "bin/join" in words:
        _, join, rank, *addresses = words.split()
        name = join.split("/")[3]
        if target == os.environ.get("FAKE_STRANGER"):
            return f"corral: {name}: not joined: no interface here has the address {addresses[int(rank)]}"
        return f"corral: {name}: rank {rank} of {len(addresses)}"
    return "a line of the log"


if __name__ == "__main__":
    main()
