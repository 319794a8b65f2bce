"""A stand-in for `vllm serve` over several hosts: the ranks meet at the first one's address, which then serves.

It is the module vllm.entrypoints.cli.main of a stub engine, with stub_vllm.py beside it. Like vLLM, a rank ends when
another one does.
"""

import os
import socket
import sys
import threading
from importlib import import_module

HOW_LONG_S = 60
MASTER_PORT = 29501


def told(option: str) -> str:
    """The value of an option."""
    return sys.argv[sys.argv.index(option) + 1]


def meet(count: int, rank: int, master: tuple[str, int]) -> list[socket.socket]:
    """The connections to the other ranks, once all are there."""
    if rank > 0:
        while True:
            try:
                return [socket.create_connection(master, HOW_LONG_S, (os.environ["VLLM_HOST_IP"], 0))]
            except ConnectionRefusedError:
                threading.Event().wait(0.2)
    with socket.create_server(master) as listener:
        return [listener.accept()[0] for _ in range(count - 1)]


def end_with(peer: socket.socket) -> None:
    """Leave when the other one has."""
    peer.settimeout(None)
    peer.recv(1)
    os._exit(1)


def main() -> None:
    shown = ("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    start = sys.argv.index("--nnodes")
    print(" ".join([*sys.argv[start:], *(f"{name}={os.environ[name]}" for name in shown)]), flush=True)
    peers = meet(int(told("--nnodes")), int(told("--node-rank")), (told("--master-addr"), MASTER_PORT))
    watchers = [threading.Thread(target=end_with, args=(peer,)) for peer in peers]
    for watcher in watchers:
        watcher.start()
    if "--headless" not in sys.argv:
        import_module("vllm.stub_vllm")


main()
