"""Runs a command and says, as the last line of standard error, what it and all its descendants took.

One JSON object: cpu_s of the whole tree, and peak_mib of the largest process in it. Descendants whose parent ended
before them come to this process, so that none is missed.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
ORPHANS_S = 20.0


def main() -> int:
    """The command's exit code."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    code = subprocess.call(sys.argv[1:])
    limit = time.monotonic() + ORPHANS_S
    while orphans() and time.monotonic() < limit:
        time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {"cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
    print("\n" + json.dumps(took), file=sys.stderr)
    return code


def orphans() -> bool:
    """Take note of what has ended; whether something still runs."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
