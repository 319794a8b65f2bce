"""The afternoon of docs/tutorials/aws-afternoon.md, against moto: each line goes through, and prints what is shown."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tutorials
from test_ec2_wire import aws, server, session_manager  # noqa: F401
from told_places import faults, home  # noqa: F401

from deploy.targets import licence

if TYPE_CHECKING:
    from moto_aws import MotoAws

PAGE = tutorials.ROOT / "docs/tutorials/aws-afternoon.md"


def test_the_session_of_the_page_rents_serves_compares_and_leaves_nothing(
    aws: "MotoAws",  # noqa: F811
    session_manager: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", tutorials.COLUMNS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / ".corral"))
    monkeypatch.setenv("FAKE_MODEL", "llama-4-scout")
    monkeypatch.setattr(licence, "person", lambda: "ann")
    monkeypatch.setattr("platform.node", lambda: "laptop")
    running = {}

    def printed(words: list[str]) -> str | None:
        if words[0] == "probe":
            return (
                None  # the stand-in for the box has no tokens worth a measurement: the page shows the demo's
            )
        monkeypatch.setattr("sys.stdin", tutorials.Person("y\n"))
        code, said = tutorials.screen(words)
        assert code == 0, (words, said)
        running[" ".join(words)] = len(aws.instances())
        return said.replace(str(tmp_path), "~")

    now = tutorials.replayed(PAGE, printed)
    line = "up scout --precision int4 --on g5.12xlarge --region us-east-1 --ttl 8h"
    assert running == {
        "fetch --accept-license llama4 --country US": 0,
        f"doctor {line[3:-9]}": 0,
        f"{line} --dry-run": 0,
        line: 1,
        "status scout": 1,
        "compare scout --ops-fte 0.25": 1,
        "extend scout 12h": 1,
        "down scout": 0,
        "reap --dry-run --region us-east-1": 0,
    }
    tutorials.hold(PAGE, now)


@pytest.mark.slow
def test_what_else_is_told_of_rented_machines_ends_as_it_should(
    aws: "MotoAws",  # noqa: F811
    session_manager: Path,  # noqa: F811
    home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of tests/data/told_in_their_place.toml."""
    monkeypatch.setenv("FAKE_MODEL", "llama-4-scout")
    sized = ["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", "plan.json"]
    assert tutorials.screen(sized)[0] == 0
    assert faults("rented", monkeypatch) == {}
    assert aws.instances() == []
