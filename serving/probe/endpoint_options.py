"""Whom a probe asks, and how: each option once; and what is behind a URL."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from infra.argument import pasted
from infra.asked import Asked, Flag
from infra.errors import UsageError
from infra.printable import one_line
from serving.probe import headers
from serving.probe.apis import API_NAMES, APIS, Api, ApiName
from serving.probe.spec import Share, Target
from serving.vllm.unix_url import SCHEME, is_socket, spelt_out
from serving.vllm.zone import canonical, wants_zone

DEPLOYED = re.compile("/deployments/([^/]+)/")
"""Azure says the model in the path."""
MOST_SHARE = 1e9


class ServerOptions(Asked):
    """What an endpoint is asked for, and with which key."""

    heading: ClassVar[str] = "The endpoint"

    model: Annotated[tuple[str, ...], Field(examples=["scout"]), Flag(metavar="<name>")] = ()
    """The name it serves; several share the load, evenly or as NAME=3. [the first it lists]"""
    api_key_file: Path | None = None
    """The file that holds the server's key."""


class EndpointOptions(ServerOptions):
    """Whom to ask, beside the URL."""

    heading: ClassVar[str] = "The endpoint"

    api: Annotated[ApiName, Field(description=API_NAMES)] = "completions"
    header: Annotated[tuple[str, ...], Flag(metavar="<name:value>")] = ()
    """Sent with every request, e.g. 'api-key: $VARIABLE' or 'api-key: @key.txt'; repeatable."""
    api_key_variable: str = "CORRAL_API_KEY"
    """The environment variable that holds the server's key."""
    ca_file: Path | None = None
    """Certificates to trust, PEM."""
    metrics: Annotated[tuple[str, ...], Flag(metavar="<url>")] = ()
    """Sample that page of metrics beside the load: the server's behind a gateway, DCGM's; repeatable. [its own]"""

    @field_validator("header")
    @classmethod
    def each_a_header(cls, header: tuple[str, ...]) -> tuple[str, ...]:
        """Headers. Raises UsageError."""
        return headers.checked(header)

    @field_validator("metrics")
    @classmethod
    def each_a_page(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        """Addresses. Raises UsageError."""
        for url in metrics:
            if not is_address(url):
                raise UsageError(
                    f"--metrics {one_line(repr(url), 200)} is not the URL of a page.",
                    "Say, for example, --metrics http://127.0.0.1:9400/metrics",
                )
        return metrics


class Address(NamedTuple):
    """What a URL says: the base without /v1, the API that its path names, and its path where that is not the usual."""

    base_url: str
    api: ApiName | None = None
    path: str | None = None


def target_of(url: str, asked: EndpointOptions) -> Target:
    """At whom; the path of the URL may name the API, and the model. Raises UsageError."""
    address = split_url(url)
    shares = tuple(map(share_of, asked.model))
    [(most, times)] = Counter(each.model for each in shares).most_common(1) or [("", 0)]
    if times > 1:
        raise UsageError(
            f"--model names {most} {times} times.", f"Say how much more of it: --model {most}={times}"
        )
    named = DEPLOYED.search(address.path or "")
    first = shares[0].model if shares else named and named[1]
    return Target(
        base_url=address.base_url,
        path=address.path,
        api=address.api or asked.api,
        model=first or None,
        models=shares if len(shares) > 1 else (),
        headers=asked.header,
        api_key_file=asked.api_key_file,
        api_key_variable=asked.api_key_variable,
        ca_file=asked.ca_file,
        metrics_urls=asked.metrics,
    )


def share_of(text: str) -> Share:
    """NAME, or NAME=SHARE. Raises UsageError."""
    name, equals, share = text.rpartition("=")
    if not equals:
        return Share(model=text)
    try:
        value = float(share)
    except ValueError:
        return Share(model=text)  # a name may hold that sign
    if not name or not 0 < value <= MOST_SHARE:
        raise UsageError(
            f"--model {one_line(text, 80)} is no share of the load.", "Say, e.g., --model scout=3"
        )
    return Share(model=name, share=value)


def split_url(url: str) -> Address:
    """What a URL says. Raises UsageError."""
    url = canonical(spelt_out(url))
    if not is_address(url):
        spaced = url.strip().replace(" ", "%20")
        raise UsageError(
            f"{one_line(repr(url), 200)} is not the URL of a server.",
            f"A space in a path is %20: {pasted(spaced)}"
            if " " in url and len(spaced) < 200 and is_address(spaced) and "%" not in urlsplit(spaced).netloc
            else "Say, for example, http://127.0.0.1:8000",
        )
    parts = urlsplit(url)
    if wants_zone(parts.hostname or ""):
        example = pasted(url.replace(f"{parts.hostname}]", f"{parts.hostname}%25eth0]"))
        raise UsageError(
            f"{parts.hostname} is an address of one link, and this machine may have several.",
            f"Name the interface to it, which ip link lists: {example}",
        )
    if parts.username or parts.password:
        raise UsageError("A URL must not hold a password.", "Leave it out, and use --api-key-file key.txt")
    if parts.fragment:
        raise UsageError(
            "What follows a # in a URL goes to no server.",
            f"Say {pasted(parts._replace(fragment='').geturl())}",
        )
    check_query(parts.query)
    path = parts.path.rstrip("/")
    here = f"{parts.scheme}://{parts.netloc}"
    if (api := ending(path, [(api.path, api) for api in APIS.values()])) and not parts.query:
        return Address(here + path.removesuffix(api.path), api.name)
    if api := ending(path, [(api.tail, api) for api in APIS.values()]):
        full = f"{path}?{parts.query}" if parts.query else path
        return Address(here + path.removesuffix(api.tail), api.name, full)
    if parts.query:
        raise UsageError(
            "A URL with a query says the whole path of its API.",
            "Say, e.g., 'http://host/openai/deployments/scout/chat/completions?api-version=2024-10-21'",
        )
    return Address(here + path.removesuffix("/v1"))


def ending(path: str, tails: list[tuple[str, Api]]) -> Api | None:
    """The API whose path that is, of those that it ends with the longest: a chat's ends with completions, too."""
    found = [(len(tail), api) for tail, api in tails if path.endswith(tail)]
    return max(found, key=lambda each: each[0])[1] if found else None


def check_query(query: str) -> None:
    """Raises UsageError for a secret in it: a command line is read by others, and a URL is kept in results."""
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if headers.SECRET.search(name) or name.lower() in ("sig", "signature"):
            raise UsageError(
                f"The {one_line(name, 40)} in the URL is read by others: a command line is no place for it.",
                f"Leave it out, and send it as a header: --header '{one_line(name, 40)}: $VARIABLE'",
            )


def is_address(url: str) -> bool:
    """Whether it is an HTTP address of a host that there can be."""
    try:
        parts = urlsplit(url)
        if parts.scheme == SCHEME:
            return is_socket(url) and url.isascii() and url.isprintable()
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and all(33 <= ord(letter) < 127 for letter in url) and can_be_a_host(parts.hostname or "")


def can_be_a_host(name: str) -> bool:
    """Whether a resolver takes it: no part of it is empty or too long."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False
