"""A server of fake_llm.py, forked by a process that has imported all it needs: that is most of a start."""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

BEGIN = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import fake_llm; fake_llm.forks()"
FORKING: list["subprocess.Popen[str]"] = []
"""The process that forks; none before the first server."""


class FakeServer:
    """One that runs with that behaviour, a process of its own, on `port`."""

    def __init__(self, **config: object) -> None:
        if not FORKING:
            FORKING.append(
                subprocess.Popen(
                    [sys.executable, "-c", BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
        asked, said = FORKING[0].stdin, FORKING[0].stdout
        assert asked
        assert said
        asked.write(f"{json.dumps(config)}\n")
        asked.flush()
        number, self.port = map(int, said.readline().split())
        assert number, "it could not start"
        self.handle = os.pidfd_open(number)

    def send_signal(self, number: signal.Signals) -> None:
        """As Popen's; nothing where it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)

    def kill(self) -> None:
        """End it by SIGKILL, where it has not ended, and return when it has."""
        if self.handle < 0:
            return
        self.send_signal(signal.SIGKILL)
        ended = select.poll()
        ended.register(self.handle, select.POLLIN)
        ended.poll()
        os.close(self.handle)
        self.handle = -1


def end() -> None:
    """End the process that forks, if there is one."""
    while FORKING:
        with FORKING.pop() as forking:
            forking.kill()
