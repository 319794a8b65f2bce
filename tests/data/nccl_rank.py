"""What ranks do first, as far as it goes without a GPU: NCCL chooses where they meet, and one of them goes there.

Started by corral's own unit in place of vLLM. One JSON object to stdout, among NCCL's own lines; then it stays.
"""

import ctypes
import json
import signal
import socket

PATIENCE_S = 4.0


def main() -> None:
    """Meet."""
    nccl = ctypes.CDLL("/usr/lib/libnccl.so.2")
    # ncclUniqueId is bootstrap's handle: 8 bytes of magic, then the address it listens on (NCCL 2.30, bootstrap.h).
    meeting = ctypes.create_string_buffer(128)
    if code := nccl.ncclGetUniqueId(meeting):
        raise SystemExit(f"ncclGetUniqueId: {code}")
    ctypes.CDLL(None).fflush(None)  # what NCCL said
    address, port = socket.inet_ntoa(meeting.raw[12:16]), int.from_bytes(meeting.raw[10:12], "big")
    with socket.socket() as rank:
        rank.settimeout(PATIENCE_S)
        try:
            rank.connect((address, port))
            outcome = "met"
        except OSError as error:
            outcome = str(error)
    print(json.dumps({"address": address, "outcome": outcome}), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
