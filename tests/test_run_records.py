"""What is kept of a run where nothing else is said: the least."""

from dataclasses import asdict

from serving.probe.run_records import ClientSide


def test_a_process_that_says_nothing_of_itself_has_done_nothing() -> None:
    assert asdict(ClientSide()) == {
        "process": 0,
        "kernel_stamps": False,
        "reader": "python",
        "not_compiled": None,
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "reads": 0,
        "events": 0,
        "uncertain": 0,
        "late_uncertain": 0,
        "unstamped": 0,
        "lag_us": {},
        "late_us": {},
        "gave_up": False,
        "connections": 0,
        "reconnects": 0,
        "connect_us": {},
    }
