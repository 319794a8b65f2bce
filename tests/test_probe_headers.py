"""Headers of the user's own: what is sent, what is stored, and every complaint, none of which says a secret."""

from pathlib import Path

import asking
import pytest

from infra.errors import DocumentError, UsageError
from serving.probe.headers import names, resolved

SECRET = "sk-hunter2"


def test_a_value_is_typed_named_or_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", f"{SECRET}\n")
    (tmp_path / "key.txt").write_text(f"{SECRET}\n")
    typed = (
        "X-Tenant: search: all",
        "api-key: $THE_KEY",
        "authorization:Bearer ${THE_KEY}",
        f"x-token: @{tmp_path}/key.txt",
    )
    assert asking.target_of("http://host", header=typed).headers == typed
    assert resolved(typed) == {
        "x-tenant": "search: all",
        "api-key": SECRET,
        "authorization": f"Bearer {SECRET}",
        "x-token": SECRET,
    }
    assert names(typed) == ("x-tenant", "api-key", "authorization", "x-token")


EXAMPLE = "Say, e.g., --header 'api-key: $AZURE_API_KEY' or --header 'x-tenant: search'"
LINE = "It is one line of printable ASCII."


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (SECRET, ("A --header is NAME:VALUE; one has no colon.", EXAMPLE)),
        ("a b: c", ("A --header has a name that no header can have: 'a b'.", EXAMPLE)),
        ("x-a:", ("--header x-a has no value.", EXAMPLE)),
        (f"x-a: {SECRET}\r\nx-b: c", ("The value of --header x-a is nothing a header can carry.", LINE)),
        (
            "Content-Length: 5",
            ("--header content-length is the probe's own: it says how it speaks.", "Leave it out."),
        ),
        (
            f"Authorization: Bearer {SECRET}",
            (
                "--header authorization may be a secret, and a command line is read by others.",
                "Name where it is: --header 'authorization: $VARIABLE', or a file: --header 'authorization: @key.txt'",
            ),
        ),
        (
            f"api-key: {SECRET}{SECRET}$X",
            (
                "--header api-key may be a secret, and a command line is read by others.",
                "Name where it is: --header 'api-key: $VARIABLE', or a file: --header 'api-key: @key.txt'",
            ),
        ),
    ],
)
def test_a_header_that_is_none(typed: str, said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        asking.target_of("http://host", header=(typed,))
    assert (caught.value.message, caught.value.hint) == said
    assert SECRET not in str(said)


def test_a_header_comes_once() -> None:
    with pytest.raises(UsageError, match="--header x-a is given twice"):
        asking.target_of("http://host", header=("x-a: 1", "X-A: 2"))


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", " ")
    for variable in ("NOT_SET_ANYWHERE", "EMPTY"):
        with pytest.raises(UsageError) as caught:
            resolved((f"api-key: ${variable}",))
        assert (caught.value.message, caught.value.hint) == (
            f"--header api-key takes the environment variable {variable}, which is not set.",
            f"Set it: read -rs {variable}; export {variable}",
        )


def test_what_a_variable_holds_must_be_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWO_LINES", f"{SECRET}\nx")
    with pytest.raises(UsageError) as caught:
        resolved(("api-key: $TWO_LINES",))
    assert caught.value.message == "The value of --header api-key is nothing a header can carry."


def test_a_file_that_holds_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    reasons = {
        "empty": "is empty",
        "bytes": "cannot be read: it is no text",
        "none": "cannot be read: No such file or directory",
    }
    for name, reason in reasons.items():
        with pytest.raises(DocumentError) as caught:
            resolved((f"api-key: @{tmp_path}/{name}",))
        assert caught.value.message == f"The file {tmp_path}/{name} of --header api-key {reason}."
