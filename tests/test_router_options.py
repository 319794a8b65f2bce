"""The address of a server that an export stands before: a base URL, and nothing more."""

import pytest

from deploy.export.router_options import checked_url, each_once
from infra.errors import UsageError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("https://gpu-1/v1/", "https://gpu-1"),
        ("http://[::1]:80/base/v1", "http://[::1]:80/base"),
    ],
)
def test_a_base_url_is_taken_without_its_version(text: str, url: str) -> None:
    assert checked_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "gpu-1:8000", "ftp://gpu-1", "http://", "http://gpu-1:0", "http://gpu-1:99999", "http://[::1"],
)
def test_what_is_no_url_of_a_server(text: str) -> None:
    with pytest.raises(UsageError) as error:
        checked_url(text)
    assert (error.value.message, error.value.hint) == (
        f"{text!r} is no URL of a server.",
        "For example: --endpoint http://10.0.0.5:8000",
    )


@pytest.mark.parametrize("more", ["me@gpu-1:8000", "me:key@gpu-1:8000", "gpu-1:8000?key=x", "gpu-1:8000#x"])
def test_a_key_in_an_address_is_refused_and_not_said_again(more: str) -> None:
    with pytest.raises(UsageError) as error:
        checked_url(f"https://{more}")
    assert (error.value.message, error.value.hint) == (
        "--endpoint has more than an address in it.",
        "Keys go through the environment; give https://gpu-1:8000",
    )


def test_a_server_is_named_once() -> None:
    assert each_once(("http://a", "http://b")) == ("http://a", "http://b")
    with pytest.raises(UsageError) as error:
        each_once(("http://a", "http://b", "http://a"))
    assert (error.value.message, error.value.hint) == (
        "--endpoint http://a is named twice.",
        "Name each server once.",
    )
