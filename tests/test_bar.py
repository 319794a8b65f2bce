"""How far a long transfer is: lines in a pipe, no oftener than is worth reading; a bar on a terminal."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import bar
from infra.bar import GIB


def test_in_a_pipe_it_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with bar.shown("weights", every_s=15.0, clock=lambda: now[0]) as tell:
        for second in range(0, 61, 5):
            now[0] = float(second)
            tell(second * GIB, 60 * GIB)
        now[0] = 100.0
        tell(0, 0)
    assert capsys.readouterr().err.splitlines() == [
        "weights: 15.0 of 60.0 GiB (25 %)",
        "weights: 30.0 of 60.0 GiB (50 %)",
        "weights: 45.0 of 60.0 GiB (75 %)",
        "weights: 60.0 of 60.0 GiB (99 %)",
        "weights: 0.0 of 0.0 GiB",
    ]


def test_on_a_terminal_it_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with bar.shown("weights of [fe80::1]") as tell:
        tell(1 * GIB, 4 * GIB)
        tell(4 * GIB, 4 * GIB)
    out, err = capsys.readouterr()
    assert (out, "weights of [fe80::1]" in err, "4.0/4.0 GiB" in err) == ("", True, True)


def test_of_several_hosts_each_has_its_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars of several threads would be drawn over one another."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    @bar.waiting("the server starts")
    def send(host: str) -> None:
        now = iter((0.0, 15.0, 15.0))
        with bar.shown(f"sending to {host}", clock=lambda: next(now)) as tell:
            tell(1 * GIB, 4 * GIB)

    with ThreadPoolExecutor() as pool:
        list(pool.map(send, ("gpu-1", "root@[fe80::1]")))
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "sending to gpu-1: 1.0 of 4.0 GiB (25 %)",
        "sending to root@[fe80::1]: 1.0 of 4.0 GiB (25 %)",
    ]
