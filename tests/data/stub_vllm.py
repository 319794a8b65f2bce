"""A stand-in for `vllm serve` that misbehaves on request: STUB names how."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOW = os.environ.get("STUB", "")
PORT = int(sys.argv[sys.argv.index("--port") + 1])
asked = 0
is_over = threading.Event()
NAME = sys.argv[sys.argv.index("--served-model-name") + 1]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(503 if HOW == "engine-dead" else 200, "")
        elif self.path == "/v1/models":
            self.answer(200, json.dumps({"data": [{"id": "another" if HOW == "other-name" else NAME}]}))
        elif self.path == "/over":
            is_over.set()
            self.answer(200, "")
        else:
            running = "vllm:num_requests_running{} 1.0\n" if HOW == "busy" else ""
            self.answer(200, f"{running}vllm:prompt_tokens_total{{}} 1.0\n")

    def do_POST(self) -> None:
        global asked
        asked += 1
        if HOW == "canary-hangs" or (HOW == "canary-hangs-later" and asked > 1):
            time.sleep(60)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer(401, json.dumps({"error": "Unauthorized"}))
        elif (
            HOW == "fails"
            or (HOW == "fails-later" and asked > 1)
            or (HOW == "fails-at-length" and body["max_tokens"] > 1)
        ):
            self.answer(500, json.dumps({"error": {"message": "something went wrong"}}))
        elif body.get("stream"):
            self.stream(int(body["max_tokens"]))
        elif HOW == "html":
            self.answer(200, "<html>welcome</html>")
        else:
            choice: dict[str, object] = {"text": "ab", "finish_reason": "length"}
            if "prompt_logprobs" in body:
                # What an adapter changes is seen by its name.
                likely = -1.0 if body["model"] == NAME or HOW == "ignores-adapters" else -1.5
                choice["prompt_logprobs"] = [None, {"7": {"logprob": likely}}]
            usage = {"prompt_tokens": 2, "completion_tokens": 1}
            self.answer(200, json.dumps({"model": body["model"], "choices": [choice], "usage": usage}))

    def stream(self, tokens: int) -> None:
        """So many events, twenty a second, or as many as go by until somebody asks for /over."""
        is_over.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(tokens):
            self.wfile.write(b'data: {"choices": [{"text": "%d"}]}\n\n' % number)
            self.wfile.flush()
            if is_over.wait(0.05):
                break
        self.wfile.write(b"data: [DONE]\n\n")

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        pass


def talk() -> None:
    """More than a log may hold, and a last word."""
    for _ in range(30):
        sys.stdout.write("0123456789abcde\n" * (1 << 16))
    print("talked", flush=True)


def main() -> None:
    if HOW == "dies-at-length":
        print("words\n" * 20_000 + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
        sys.exit(1)
    if HOW == "dies":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
        sys.exit(0)
    if HOW == "ends":
        print("first line\nsecond line\nlast line: nothing more to do")
        sys.exit(0)
    if HOW in ("ignores-sigterm", "loads-for-ever"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if HOW in ("leaves-a-child", "child-in-its-own-session"):
        subprocess.Popen(["sleep", "600"], start_new_session=HOW == "child-in-its-own-session")
    print(
        "(Worker pid=1) INFO 11-24 02:40:39 [default_loader.py:501] Loading weights took 0.02 seconds",
        flush=True,
    )
    if HOW == "talks":
        threading.Thread(target=talk, daemon=True).start()
    while HOW == "loads-for-ever":
        time.sleep(1)
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


main()
