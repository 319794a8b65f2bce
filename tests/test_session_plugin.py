"""The fake `aws` does with a session what the real AWS CLI and session-manager-plugin were seen to do.

tests/data/session_plugin.json is what they printed, with tests/ssm_agent.py as the box. Where both are on the PATH they
are asked again, and corral's own sessions go through them; CORRAL_TEST_KEEP=1 keeps what they say now.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import fake_aws_cli
import pytest
import ssm_agent

from infra.aws import session
from infra.aws.session import Answer
from infra.errors import HostError

SEEN = Path(__file__).parent / "data" / "session_plugin.json"
BOX = ("i-0123456789abcdef0", "us-east-1")

# What the box is asked to do, and what of its words is there when our end of the input is closed; "never": it stays
# open; "": closed from the start.
CASES = {
    "an answer": ("echo out; echo err >&2; exit 3", "never"),
    "no newline at the end": ("printf out", "never"),
    "nothing to say": ("true", "never"),
    "input that has ended": ("sleep 600; echo late", ""),
    "input that ends meanwhile": ("echo early; sleep 600; echo late", "early"),
}


def had(case: str) -> dict[str, Any]:
    """What `aws` does with one case."""
    words, last = CASES[case]
    pipe = subprocess.PIPE
    said = b""
    with subprocess.Popen(session.command(*BOX, words), stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            if last != "never":
                while last.encode() not in said:
                    said += os.read(process.stdout.fileno(), 1024)
                process.stdin.close()
            said += process.stdout.read()
            errors = process.stderr.read()
        except BaseException:
            process.terminate()
            raise
    out, err = (re.sub(r"ann-\w+", "ann-0123", text.decode()) for text in (said, errors))
    return {"command": words, "stdout": out, "stderr": err, "exit_code": process.returncode}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake `aws` on the PATH."""
    monkeypatch.setenv("PATH", f"{fake_aws_cli.installed(tmp_path)}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_AWS_LOG", str(tmp_path / "aws.log"))


@pytest.fixture
def real(
    need: Callable[[str, str], NoReturn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The real ones, and the box they reach."""
    for program in ("aws", "session-manager-plugin"):
        if not shutil.which(program):
            need("session-manager-plugin", f"{program} is not on the PATH")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    with ssm_agent.running() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", url)
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_fake_does_what_the_real_one_did(fake: None, case: str) -> None:
    assert had(case) == json.loads(SEEN.read_text())["cases"][case]


def test_the_real_one_does_what_it_did(real: None) -> None:
    found = {case: had(case) for case in CASES}
    if os.environ.get("CORRAL_TEST_KEEP"):
        SEEN.write_text(json.dumps(json.loads(SEEN.read_text()) | {"cases": found}, indent=1) + "\n")
    assert found == json.loads(SEEN.read_text())["cases"]


def test_commands_go_through_the_real_one(real: None) -> None:
    asked = {
        "echo out; echo err >&2; exit 3": Answer(text="out\nerr\n", exit_code=3),
        "printf 'no newline'": Answer(text="no newline", exit_code=0),
        "true": Answer(text="", exit_code=0),
        "seq 20000": Answer(text="".join(f"{number}\n" for number in range(1, 20001)), exit_code=0),
    }
    assert {words: session.run(*BOX, words) for words in asked} == asked
    lines = session.follow([BOX], "echo one; echo two; exec sleep 600")
    assert [next(lines), next(lines)] == [(BOX[0], "one"), (BOX[0], "two")]
    lines.close()  # type: ignore[attr-defined]
    with pytest.raises(HostError, match=r"\(TargetNotConnected\)"):
        session.run(ssm_agent.NOT_CONNECTED, BOX[1], "true")
