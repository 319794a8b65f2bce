"""What a proof lacks at its gateway, and what a report that was changed or cannot be read is told as."""

from typing import Any

import pytest
from test_egress import AFTER, NO_LOCK, STOPPED, counted, proof
from test_egress_verify import a_report

from infra import egress_proof
from infra.egress_proof import Egress, GatewayProof
from infra.errors import DocumentError, HostError

UNIT = "corral-scout.gateway.service"


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, ()),
        (NO_LOCK, (f"the lock of {UNIT} is not loaded on gpu-1",)),
        ({"uid": 7}, (f"the lock of {UNIT} on gpu-1 is not for the gateway's user",)),
        (
            {"rules": "others"},
            (f"the rules of the lock of {UNIT} on gpu-1 were changed since it was loaded",),
        ),
        ({"attempts": ()}, (f"on gpu-1 the lock of {UNIT} was seen to stop nothing",)),
        (
            {"attempts": (STOPPED, STOPPED.model_copy(update={"connected": True}))},
            (f"192.0.2.1:443 was reached from inside {UNIT} on gpu-1",),
        ),
    ],
)
def test_what_a_proof_lacks_at_its_gateway(changes: dict[str, Any], problems: tuple[str, ...]) -> None:
    seen = AFTER.model_copy(update={"lock": counted(1, 0), "attempts": (STOPPED,)} | changes)
    beside = GatewayProof(unit=UNIT, servers=("127.0.0.1 8000",), look=seen)
    assert egress_proof.problems(proof(gateway=beside)) == problems


def test_a_report_that_was_changed_is_made_again() -> None:
    made = a_report()
    assert Egress.parse(made.model_dump_json(), "r.json") == made
    changed = made.model_copy(update={"completions": 6})
    with pytest.raises(DocumentError) as error:
        Egress.parse(changed.model_dump_json(), "r.json")
    assert (error.value.message, error.value.hint) == (
        "r.json was changed: its sha256 is of something else.",
        "Make it again: corral egress scout",
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nft": ""}', '{"nft": 5}', '{"nft": "{}"}'])
def test_a_host_that_says_something_else_is_told_with_what_it_needs(text: str) -> None:
    with pytest.raises(HostError) as error:
        egress_proof.look(text)
    assert error.value.hint in (
        "Its python3 must be 3.9 or newer; look there: python3 --version",
        "See it there: nft --json list ruleset",
    )
    assert error.value.message in (
        "The host's answer about its egress lock cannot be read.",
        "What nft says of the lock cannot be read.",
    )


def test_what_no_report_shows() -> None:
    assert egress_proof.limits(()) == (
        "It is about one server while it was looked at, not about the host: other programs may send what they like.",
        "A peer, and what forwards the journal, into which the server prints, could carry things out.",
        "Root on the host and the kernel itself can undo the lock; GPU drivers and firmware are not the server's user.",
        "The sha256 shows damage to this file, not who wrote it: sign it where that matters.",
    )
    assert egress_proof.limits(("a", "b"), ("c",), ("d",))[4:] == (
        "On a, b a program with an abstract local socket could carry things out.",
        "On c a gateway hands the server's answers to whoever has a key and asked for them.",
        "On d a listener hands the server's answers to the gateway of another host.",
    )
    assert egress_proof.NAMED_BY_LISTS == (
        "What serves is named by lists on the host: each package's RECORD, the sums noted when the weights came. "
        "Their files were not read again for this report."
    )
