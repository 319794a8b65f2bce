"""Where the program begins: nothing is read before an interrupt is heeded, for all of corral takes a while to read."""

import gc
import os
import sys

from infra import interrupts

SELDOM = 100_000
"""What is read at the start stays: to look through it again and again for what does not takes a tenth of it."""


def main() -> None:
    """Run the command line and exit with its documented code. SIGTERM and a closed terminal count as Ctrl-C."""
    interrupts.heed()
    gc.set_threshold(SELDOM)
    try:
        os.umask(os.umask(0o022) | 0o022)  # nobody else writes what corral and its children make
        from deploy.cli.main import run
        from infra.say import spell_out

        spell_out()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while it was read, or one more while the first was told
        interrupts.ignore()
        from infra.errors import Interrupted
        from infra.say import fail

        code = fail(Interrupted("Interrupted."), "--json" in sys.argv)
    interrupts.ignore()
    sys.exit(code)
