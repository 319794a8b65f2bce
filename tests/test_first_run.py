"""The first start of an engine: with folders of its own, gone after it; a sentence where it does not start."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ServerError
from serving.vllm import engine


@pytest.mark.parametrize(
    ("code", "out", "err", "why"),
    [
        (0, f"vllm {engine.recipe().version}\n", "", ""),
        (1, engine.recipe().version, "first\nno libnuma\n", "no libnuma"),
        (0, "0.0.1", " \n", "it said nothing"),
    ],
)
def test_it_is_asked_for_its_version(
    code: int, out: str, err: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = engine.folder(tmp_path) / "first-run"
    written.parent.mkdir(parents=True)
    asked: list[Any] = []

    def run(command: list[str], **how: Any) -> "subprocess.CompletedProcess[str]":
        asked.append((command[1:], how["env"]))
        (written / "cache").touch()
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)
    if why:
        with pytest.raises(ServerError) as error:
            engine.first_run(tmp_path)
        assert error.value.message == f"The engine was installed but does not start: {why}"
    else:
        engine.first_run(tmp_path)
    ((words, environ),) = asked
    assert (words, environ["TMPDIR"], written.exists()) == (["--version"], str(written), False)
