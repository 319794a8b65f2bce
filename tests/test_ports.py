"""Which port of this machine is taken."""

import socket

import pytest

from infra import ports
from infra.errors import HostError


def test_the_first_that_is_free_of_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {8000, 8001}
    asked: list[int] = []

    def is_free(port: int) -> bool:
        asked.append(port)
        return port not in busy

    monkeypatch.setattr(ports, "is_free", is_free)
    assert (ports.free_port(7999), ports.free_port(8000), ports.free_port(8000, {8002, 8004})) == (
        7999,
        8002,
        8003,
    )
    busy |= set(range(8000, 8099))
    assert ports.free_port(8000) == 8099
    busy.add(8099)
    asked.clear()
    with pytest.raises(HostError) as error:
        ports.free_port(8000)
    assert asked == list(range(8000, 8100))
    assert (error.value.message, error.value.hint) == (
        "No port from 8000 on is free on this machine.",
        "See what uses them: ss -ltn",
    )


def test_one_that_is_listened_on_is_not_free_and_none_beyond_the_last_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)

    def create_server(_: object) -> None:
        raise OverflowError("bind(): port must be 0-65535.")

    monkeypatch.setattr(socket, "create_server", create_server)
    assert not ports.is_free(65_536)
