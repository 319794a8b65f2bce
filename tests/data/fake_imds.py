"""EC2's metadata service for one spot box: IMDSv2 only, and a notice when the file of that name is there.

Arguments: the address, the port, the folder of the notice; every request is noted there too.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[3])
TOKEN = "AQAEAtoken=="
LONGEST_S = 21_600
"""A token lives six hours at most (EC2's user guide, IMDSv2)."""


class Metadata(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        lives_s = self.headers["X-aws-ec2-metadata-token-ttl-seconds"] or ""
        is_time = lives_s.isdecimal() and 1 <= int(lives_s) <= LONGEST_S
        self.reply(200 if self.path == "/latest/api/token" and is_time else 400, TOKEN)

    def do_GET(self) -> None:
        notice = FOLDER / "notice"
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self.reply(401, "Unauthorized")
        elif self.path == "/latest/meta-data/spot/instance-action" and notice.exists():
            self.reply(200, notice.read_text())
        else:
            self.reply(404, "Not Found")

    def reply(self, code: int, text: str) -> None:
        with (FOLDER / "asked").open("a") as asked:
            asked.write(f"{self.command} {self.path} {code}\n")
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    with ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Metadata) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
