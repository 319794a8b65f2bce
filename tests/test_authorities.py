"""Behind a proxy that inspects TLS: what this system trusts is trusted by every door, and so is what is named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from own_tls import https, made

from infra.aws.boto import Boto
from infra.aws.failures import ApiFailure
from infra.aws.request import ec2
from infra.errors import CorralError, EndpointError
from infra.fetch import authorities
from infra.fetch.hub_answers import Source
from infra.fetch.hub_wire import Wire
from serving.vllm.client import models
from serving.vllm.endpoint import Endpoint
from serving.vllm.engine import run_uv

ASKED = ec2("us-east-1", "DescribeRegions")


def of_aws(url: str) -> str:
    with pytest.raises(ApiFailure) as refused:
        Boto().send(ASKED)
    return refused.value.code


def of_the_hub(url: str) -> str:
    with pytest.raises(CorralError) as refused:
        Wire(Source(endpoint=url, repository="a/b", commit="c")).ask(f"{url}/x", "x")
    return refused.value.message


def of_an_endpoint(url: str) -> str:
    with pytest.raises(EndpointError) as refused:
        models(Endpoint(base_url=url, served_model_name="x"), 5)
    return refused.value.message.replace(url, "URL")


def of_uv(url: str) -> str:
    said: list[str] = []
    asked = ("pip", "install", "--dry-run", "--no-config", "--index-url", f"{url}/simple", "x")
    return "certificate" if "certificate" in run_uv(asked, said.append) else "none there"


DOORS: dict[Callable[[str], str], tuple[str, str]] = {
    of_aws: ("NotAws", "BadCertificates"),
    of_the_hub: (
        "The Hub does not have x (HTTP 404).",
        "The certificate of localhost is not trusted: unable to get local issuer certificate.",
    ),
    of_an_endpoint: (
        "URL/v1/models answered 404: an empty body.",
        "The certificate of URL is not trusted: unable to get local issuer certificate.",
    ),
    of_uv: ("none there", "certificate"),
}
"""Door -> what it says of a server that has nothing, and of one that it does not trust."""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*authorities.NAMED, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", ""])
def test_each_door_trusts_whom_is_named(
    name: str, door: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (name, door) == ("REQUESTS_CA_BUNDLE", of_uv):
        return  # uv does not read it
    with https(tmp_path) as (url, certificate):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        if name:
            monkeypatch.setenv(name, str(certificate))
        assert door(url) == DOORS[door][not name]


@pytest.mark.parametrize("name", ["", *authorities.NAMED])
def test_each_door_trusts_the_systems_store(
    name: str, need: Callable[[str, str], NoReturn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose file is another one here, for one process: as after `update-ca-certificates`.

    An authority that is named, as a private endpoint's is, is trusted besides.
    """
    store = next((place for place in authorities.AUTHORITIES if Path(place).exists()), "")
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    if not store or subprocess.run([*apart, "true"], capture_output=True).returncode:
        need("unshare", "no namespace of mounts can be made here, or there is no store")
    with https(tmp_path) as (url, certificate):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        if name:
            made(tmp_path / "private.pem", tmp_path / "private.key", "-subj", "/CN=a private endpoint")
            monkeypatch.setenv(name, str(tmp_path / "private.pem"))
        script = f"mount --bind {certificate} {store} && exec {sys.executable} -m test_authorities {url}"
        said = subprocess.run(
            [*apart, "sh", "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True
        )
    assert (said.stderr, said.stdout.splitlines()) == ("", [trusted for trusted, _ in DOORS.values()])


def test_a_store_that_is_empty_takes_nothing_from_who_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.pem").touch()
    monkeypatch.setattr(authorities, "AUTHORITIES", (str(tmp_path / "store.pem"),))
    with https(tmp_path) as (url, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert of_an_endpoint(url) == DOORS[of_an_endpoint][0]


def test_a_named_file_that_is_not_there_keeps_nobody_from_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that costs can be ended in another folder, too: ca.pem is named for an endpoint."""
    monkeypatch.setenv("SSL_CERT_FILE", "ca.pem")
    with https(tmp_path) as (url, certificate):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert of_aws(url) == "NotAws"


if __name__ == "__main__":
    for each in DOORS:
        print(each(sys.argv[1]))
