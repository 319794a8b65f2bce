"""The probe's figures against a server in C that logs when each token left it, on the same clock.

The true TTFT runs from the kernel's receive stamp of the request to the sending of the first token. What is asserted
is how far the probe's figure is from the server's own for the same requests, never how fast anything was.
"""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.alone


def test_64_aligned_streams_are_told_to_a_fraction_of_a_millisecond(bench: Any, c_server: Path) -> None:
    with bench.running(c_server, 200, 20, 0, 0) as port:
        row = bench.compared(bench.clients.corral(c_server, port, 64, 128, 50), bench.truth(port, 128))
    errors = {name: row[f"{name}_error"] for name in ("ttft_mean", "ttft_p99", "itl_p50", "itl_p99")}
    assert errors == {
        "ttft_mean": pytest.approx(0, abs=0.5),
        "ttft_p99": pytest.approx(0, abs=2),
        "itl_p50": pytest.approx(0, abs=0.1),
        "itl_p99": pytest.approx(0, abs=1),
    }


def test_every_stall_is_found_and_as_long_as_it_was(bench: Any, c_server: Path) -> None:
    with bench.running(c_server, 50, 10, 20, 200) as port:
        row = bench.compared(bench.clients.corral(c_server, port, 64, 64, 50), bench.truth(port, 64))
    assert row["stalls"] == row["stalls_true"] == 64 * 2
    assert row["itl_p99_error"] == pytest.approx(0, abs=2)


def test_a_burst_of_256_is_one_moment(bench: Any, c_server: Path) -> None:
    with bench.running(c_server, 200, 20, 0, 0) as port:
        said = bench.clients.corral(c_server, port, 256, 256, 10, "--request-rate", "inf")
        log = bench.truth(port, 256)
    received_ns = [each[0] for each in log]
    assert len(received_ns) == 256
    assert (max(received_ns) - min(received_ns)) / 1e6 <= 15
    assert bench.compared(said, log)["ttft_mean_error"] == pytest.approx(0, abs=2)
