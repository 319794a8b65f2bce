"""What a process of the probe says over its pipe, and what a broken one means."""

from types import SimpleNamespace
from typing import Any

import pytest
from test_probe_workers import share

from infra.errors import CorralError, HostError
from serving.probe import workers
from serving.probe.progress import Progress


@pytest.mark.parametrize("error", [EOFError(), OSError(5, "x"), ConnectionResetError()])
def test_a_pipe_that_breaks_is_a_process_that_has_died(error: Exception) -> None:
    def recv() -> object:
        raise error

    pipe: Any = SimpleNamespace(recv=recv)
    with pytest.raises(CorralError) as caught:
        workers.hear(pipe)
    assert (type(caught.value), caught.value.message, caught.value.hint) == (
        CorralError,
        "A process of the probe has died.",
        "Look at the system's log: dmesg",
    )
    assert caught.value.__suppress_context__


def test_what_a_process_says_is_handed_on_but_its_error_is_raised() -> None:
    for said in ("ready", Progress(sent=3), share(1.0, 2)):
        pipe: Any = SimpleNamespace(recv=lambda said=said: said)
        assert workers.hear(pipe) is said
    error = HostError("no sockets", "x")
    pipe = SimpleNamespace(recv=lambda: error)
    with pytest.raises(HostError) as caught:
        workers.hear(pipe)
    assert caught.value is error


def test_none_is_told_to_start_where_one_says_that_it_cannot() -> None:
    told: list[tuple[str, int]] = []

    def process(name: str, said: object) -> Any:
        return SimpleNamespace(
            poll=lambda _: True,
            recv=lambda: said,
            send=lambda at_ns: told.append((name, at_ns)),
        )

    def failing() -> object:
        raise HostError("no sockets", "x")

    cannot = process("two", None)
    cannot.recv = failing
    with pytest.raises(HostError, match="no sockets"):
        workers.conduct([process("one", "ready"), cannot], None)
    assert told == []
