"""A test that comes to no end leaves no process behind."""

import os
import subprocess
import sys
from pathlib import Path

HANGING = """
import signal
import subprocess
import time
from pathlib import Path

def test_hangs(tmp_path):
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path(__file__).with_name("child").write_text(str(child.pid))
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # the alarm by which a test's time is over
    while True:
        time.sleep(1)
"""


def test_a_test_that_times_out_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    here = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "--timeout",
        "300",
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 't'}", "-p", "no:cacheprovider", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{here}:{here.parent}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()
    assert f"AssertionError: left behind: {{{child}: 'sleep 1000 '}}" in done.stdout
    assert "1 failed, 1 error" in done.stdout
