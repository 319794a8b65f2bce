"""The near end of a tunnel to a port of this machine, as OpenSSH's -L: it takes every connection, and closes it where
nothing is behind it. Prints its own port."""

import socket
import sys
import threading

from fake_ssh import pump


def main() -> None:
    """Let each connection go on."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    while True:
        near = listener.accept()[0]
        try:
            far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        except OSError:
            near.close()
            continue
        for source, target in ((near, far), (far, near)):
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as OpenSSH has it
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


if __name__ == "__main__":
    main()
