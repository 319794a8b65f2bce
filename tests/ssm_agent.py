"""The service and the agent of one box, as far as the real AWS CLI and session-manager-plugin need them for a command.

StartSession and the data channel on one port of loopback. The messages are those of amazon-ssm-agent's
agent/session/contracts; a command is run by a shell here, and ended when the plugin goes.
"""

import base64
import hashlib
import json
import os
import signal
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOT_CONNECTED = "i-0badbadbadbadbad0"
"""The box whose agent does not run."""

RESEND_S = 0.2

OUTPUT, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 1, 5, 6, 7

ACTION = {
    "ActionType": "SessionType",
    "ActionParameters": {"SessionType": "NonInteractiveCommands", "Properties": {}},
}


@contextmanager
def running() -> Iterator[str]:
    """The URL of a service with its agent, for AWS_ENDPOINT_URL_SSM."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Service(BaseHTTPRequestHandler):
    """StartSession, and the data channel it names."""

    commands: dict[str, str] = {}

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.headers["X-Amz-Target"].endswith(".StartSession"):
            self.say(200, {})
        elif body["Target"] == NOT_CONNECTED:
            said = f"{NOT_CONNECTED} is not connected."
            self.say(400, {"__type": "TargetNotConnected", "Message": said})
        else:
            session = f"ann-{uuid.uuid4().hex[:17]}"
            self.commands[session] = body["Parameters"]["command"][0]
            url = f"ws://{self.headers['Host']}/v1/data-channel/{session}"
            self.say(200, {"SessionId": session, "StreamUrl": url, "TokenValue": "a-token"})

    def say(self, code: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        session = self.path.rpartition("/")[2]
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        with suppress(OSError):
            Channel(self, session, self.commands.pop(session)).talk()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Channel:
    """One session's data channel, the agent's side."""

    def __init__(self, socket: Service, session: str, command: str) -> None:
        self.socket, self.session, self.command = socket, session, command
        self.sent = 0
        self.unheard: dict[int, bytes] = {}
        self.heard = threading.Condition()
        self.gone = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.writing = threading.Lock()

    def talk(self) -> None:
        """Until the plugin goes; then its command ends too."""
        threading.Thread(target=self.send_again, daemon=True).start()
        try:
            self.read_frame()  # OpenDataChannel
            self.send(HANDSHAKE_REQUEST, {"AgentVersion": "3.3.4793.0", "RequestedClientActions": [ACTION]})
            while (data := self.read_frame()) is not None:
                name = data[4:36].strip(b" \0")
                if name == b"acknowledge":
                    with self.heard:
                        self.unheard.pop(json.loads(data[120:])["AcknowledgedMessageSequenceNumber"], None)
                        self.heard.notify()
                elif name == b"input_stream_data":
                    self.acknowledge(data)
                    if self.process is None and kind_of(data) == HANDSHAKE_RESPONSE:
                        self.begin()
        finally:
            self.gone.set()
            if self.process:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def begin(self) -> None:
        """Run the command, and tell what it says as it comes."""
        self.send(HANDSHAKE_COMPLETE, {"HandshakeTimeToComplete": 1000000, "CustomerMessage": ""})
        self.process = subprocess.Popen(
            ["sh", "-c", self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self.tell, args=(self.process,), daemon=True).start()

    def tell(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout as output, suppress(OSError):
            while data := os.read(output.fileno(), 1024):
                self.send(OUTPUT, data)
            # Once the channel is closed the plugin leaves at once, whatever it has not yet heard.
            with self.heard:
                self.heard.wait_for(lambda: not self.unheard)
            closed = {"MessageType": "channel_closed", "MessageId": str(uuid.uuid4()), "SchemaVersion": 1}
            closed |= {"DestinationId": "x", "SessionId": self.session, "Output": ""}
            self.send(0, closed | {"CreatedDate": "2026-11-28T13:00:00.000Z"}, "channel_closed")

    def acknowledge(self, data: bytes) -> None:
        number = struct.unpack(">q", data[48:56])[0]
        body = {
            "AcknowledgedMessageType": "input_stream_data",
            "AcknowledgedMessageId": str(uuid.UUID(bytes=data[72:80] + data[64:72])),
            "AcknowledgedMessageSequenceNumber": number,
            "IsSequentialMessage": True,
        }
        self.write_frame(message("acknowledge", 0, json.dumps(body).encode(), number))

    def send(self, kind: int, body: Any, name: str = "output_stream_data") -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        number, self.sent = self.sent, self.sent + 1
        with self.heard:
            self.unheard[number] = message(name, kind, payload, number)
        self.write_frame(self.unheard[number])

    def send_again(self) -> None:
        """What the plugin was not ready for, as long as it stays."""
        with suppress(OSError):
            while not self.gone.wait(RESEND_S):
                with self.heard:
                    waiting = tuple(self.unheard.values())
                for data in waiting:
                    self.write_frame(data)

    def read_frame(self) -> bytes | None:
        """The next message; None at the end."""
        head = self.socket.rfile.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            return None
        length = head[1] & 127
        if length > 125:
            length = int.from_bytes(self.socket.rfile.read(2 if length == 126 else 8), "big")
        mask = self.socket.rfile.read(4)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.socket.rfile.read(length)))

    def write_frame(self, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        with self.writing:
            self.socket.wfile.write(b"\x82" + size + data)


def kind_of(data: bytes) -> int:
    """The type of a message's payload."""
    return int.from_bytes(data[112:116], "big")


def message(name: str, kind: int, payload: bytes, number: int) -> bytes:
    """One message of the data channel."""
    id = uuid.uuid4().bytes
    head = struct.pack(">I32sIQqQ", 116, name.ljust(32).encode(), 1, int(time.time() * 1000), number, 0)
    digest = hashlib.sha256(payload).digest()
    return head + id[8:] + id[:8] + digest + struct.pack(">II", kind, len(payload)) + payload
