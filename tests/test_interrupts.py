"""A Ctrl-C that Python drops is remembered."""

import subprocess
import sys

import pytest

LOST = """
import os, signal
from infra import interrupts

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass

interrupts.look()
interrupts.heed()
Dying()
print("nobody noticed", flush=True)
{then}
"""
LOOK = """
try:
    interrupts.look()
except KeyboardInterrupt:
    print("remembered")
"""
DEMO = """
from deploy.demo.play import play; from deploy.demo.steps import Step
try:
    play(lambda words: print("played") or 0, (Step(title="a", words=("version",)),), [])
except KeyboardInterrupt:
    print("remembered")
"""
PROBE = """
from serving.probe.attack import Attack, Hooks
from serving.probe.connection import Peer
from serving.probe.spec import Load
peer, load = Peer(2, ("127.0.0.1", 9), None, ""), Load(shape="concurrency")
engine = Attack(peer, "chat", load, iter(()), Hooks(print), connections=0)
try:
    print(engine.run())
except KeyboardInterrupt:
    print("remembered")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("then", [LOOK, DEMO, PROBE], ids=["look", "demo", "probe"])
def test_what_a_destructor_swallows_is_remembered(name: str, then: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(name=name, then=then)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "nobody noticed\nremembered\n", done.stderr
    assert "Exception ignored in: <function Dying.__del__" in done.stderr
