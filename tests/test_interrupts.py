"""A Ctrl-C that Python drops comes again."""

import json
import subprocess
import sys

import pytest

LOST = """
import os, signal, time
from infra import interrupts

class Dying:
    def __init__(self, what):
        self.what = what
    def __del__(self):
        self.what()
        for _ in range(1000):
            pass

interrupts.heed()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # it comes again only when all else is done
Dying(lambda: os.kill(os.getpid(), signal.{name}))
print("nobody noticed", flush=True)
{then}
"""
ENDS = """
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    time.sleep(100)
except KeyboardInterrupt:
    print("came again")
"""
HANDLED = """
asked = []
interrupts.handle(lambda *_: asked.append("came again"))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
while not asked:
    time.sleep(0.01)
print(*asked)
"""
TOLD = """
from infra import interrupts

class Dying:
    def __del__(self):
        raise ValueError("told as ever")

interrupts.heed()
Dying()
"""


def ran(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("then", [ENDS, HANDLED], ids=["ends", "handled"])
def test_what_a_destructor_swallows_comes_again(name: str, then: str) -> None:
    done = ran(LOST.format(name=name, then=then))
    assert (done.stdout, done.stderr) == ("nobody noticed\ncame again\n", "")


def test_what_else_python_drops_is_told_as_ever() -> None:
    done = ran(TOLD)
    assert (done.returncode, done.stdout) == (0, "")
    assert "ValueError: told as ever" in done.stderr


EARLY = """
import os, signal, sys
from deploy.cli.start import main

class Slow:
    def find_spec(self, name, path, target=None):
        if name == {reads!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Slow())
sys.argv[1:] = ["version", "--json"]
main()
"""


@pytest.mark.parametrize("reads", ["deploy.cli.main", "typer"])
def test_an_interrupt_while_corral_is_read_is_one_sentence(reads: str) -> None:
    done = ran(EARLY.format(reads=reads))
    assert (done.returncode, done.stderr) == (130, "error: Interrupted.\n")
    assert json.loads(done.stdout)["error"]["exit_code"] == 130
