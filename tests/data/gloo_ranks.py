"""What two ranks of vLLM do first on one host: gloo connects them, from a store on loopback, as vLLM has it.

Started by corral's own unit in place of vLLM. Each rank says that they met; then both stay.
"""

import os
import signal

import torch.distributed  # type: ignore[import-not-found]

STORE = "tcp://127.0.0.1:29511"


def main() -> None:
    """Meet."""
    rank = 1 if os.fork() == 0 else 0
    torch.distributed.init_process_group("gloo", init_method=STORE, world_size=2, rank=rank)
    print("met", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
