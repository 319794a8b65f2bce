"""`corral keys` while its gateway is down: what a key may be for, until when, and what its hints say."""

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.cli.main import run
from deploy.gateway import gateway, key_store
from deploy.gateway.gateway_document import DOCUMENT, Gateway
from deploy.gateway.gateway_options import GatewayOptions
from deploy.targets import deployment as deployments
from serving.sizing.plan import Plan

PLAN = Path(__file__).parent / "data" / "export" / "scout-int4.json"
LIST = "hint: See which there are: corral keys list bank\n"


@pytest.fixture(autouse=True)
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a gateway that is not running."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    made = deployments.make(Plan.read(PLAN), "ssh", "bank").model_copy(update={"hosts": ("ops@gpu-1",)})
    folder = gateway.folder("bank")
    folder.mkdir(parents=True)
    made.write(deployments.folder("bank") / "deployment.json")
    Gateway(name="bank", asked=GatewayOptions()).write(folder / DOCUMENT)
    return folder


def test_a_key_is_for_what_is_served_and_for_nothing_else(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["keys", "add", "bank", "alice", "--model", "llama-4-scout"]
    assert run([*words, "--model", "bank"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: bank is not served here; what is: llama-4-scout.\n"
        "hint: Name what requests ask for: --model llama-4-scout\n",
    )
    assert key_store.read(bank).keys == ()
    assert run(words) == 0
    assert [each.models for each in key_store.read(bank).keys] == [("llama-4-scout",)]


@pytest.mark.parametrize(("days", "code"), [(90, 0), (366, 0), (367, 2)])
def test_a_key_may_be_for_a_year(
    days: int, code: int, bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "add", "bank", "alice", "--expires", f"{days}d"]) == code
    lasts = [each.expires_at - each.created_at for each in key_store.read(bank).keys if each.expires_at]
    assert lasts == ([] if code else [timedelta(days=days)])
    if code:
        assert capsys.readouterr().err == (
            "error: --expires 367d is no time limit between 10 minutes and 366 days.\n"
            "hint: For example: --expires 8h\n"
        )


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_who_has_no_key_is_told_where_the_list_is(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", verb, "bank", "nobody"]) == 2
    assert capsys.readouterr().err == f"error: There is no key and nobody called 'nobody'.\n{LIST}"


def test_whose_keys_are_all_revoked_is_told_how_to_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert [run(["keys", *words]) for words in (["add", "bank", "al"], ["revoke", "bank", "al"])] == [0, 0]
    capsys.readouterr()
    assert run(["keys", "rotate", "bank", "al"]) == 2
    assert capsys.readouterr().err == (
        "error: 'al' has 0 keys that are good.\nhint: Add one: corral keys add bank al\n"
    )
