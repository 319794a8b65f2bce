"""Whatever botocore raises without an answer of AWS's is told as what it is, at once, with a remedy of its own."""

import inspect
import io
import socket
import string
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.parsers import ResponseParserError
from botocore_once import models_read_once
from fake_aws import Clock
from own_tls import https
from renting import door

from infra.aws import unsent
from infra.aws.boto import Boto, failure, mfa_code, new_session
from infra.aws.failures import LostResponse, Refused, kind_of, translated
from infra.aws.request import Request, ec2
from infra.errors import AuthError, CloudError, CorralError, HostError, UsageError

ASKED = ec2("us-east-1", "DescribeRegions")


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    with models_read_once():
        yield


def botocores_own() -> list[type[Exception]]:
    """Every class of botocore's but the one that holds an answer of AWS's."""
    return [
        cls
        for _, cls in inspect.getmembers(botocore.exceptions, inspect.isclass)
        if issubclass(cls, BotoCoreError) and cls.__module__ == "botocore.exceptions"
    ]


def raised(cls: type[Exception]) -> Exception:
    """One of that class, as botocore makes it."""
    words = {
        name: "some words" for _, name, _, _ in string.Formatter().parse(getattr(cls, "fmt", "")) if name
    }
    if cls is botocore.exceptions.WaiterError:
        return cls("some words", "some words", {})
    return cls(**words)


def test_every_class_of_botocore_is_told_as_a_cause_on_this_side() -> None:
    told = defaultdict(set)
    for cls in [*botocores_own(), ResponseParserError]:
        error = raised(cls) if cls is not ResponseParserError else ResponseParserError("some words")
        found = failure(error)
        code = unsent.LOST if isinstance(found, LostResponse) else found.code
        told[code].add(cls.__name__)
    assert sum(map(len, told.values())) > 85
    assert {code: kind_of(code) for code in told} == dict.fromkeys(told, "local") | {
        "LostResponse": "lost",
        "Unreachable": "server",
        "NotAws": "server",
        "InvalidParameter": "input",
    }
    # What is named in the table is there, so that a class botocore renames is seen here.
    assert {name for names in unsent.CLASSES.values() for name in names} <= set().union(*told.values())
    assert told["NoCredentials"] == {"NoCredentialsError", "UnknownCredentialError", "NoAuthTokenError"}
    assert told["SsoLoginExpired"] == {"SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"}
    assert told["LoginExpired"] == {
        "LoginError",
        "LoginAuthorizationCodeError",
        "LoginInsufficientPermissions",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
    }
    assert told["BadConfiguration"] >= {"InfiniteLoopConfigError", "InvalidRetryModeError", "ProfileNotFound"}
    assert told["Unreachable"] == {"ConnectionError", "ConnectTimeoutError", "EndpointConnectionError"}
    assert told["BadProxy"] == {"ProxyConnectionError", "InvalidProxiesConfigError"}
    assert told["BadCertificates"] == {"SSLError"}
    assert told["NotAws"] == {"ResponseParserError"}
    assert told["LostResponse"] >= {"ReadTimeoutError", "ConnectionClosedError", "IncompleteReadError"}


def test_only_what_was_sent_may_be_lost() -> None:
    asked = Request(service="ec2", operation="RunInstances", region="us-east-1", parameters={})
    for code in unsent.CAUSES:
        error = translated(Refused(asked, code, "Some words."))
        assert "some words" in error.message.lower() or code == "NoCredentials", code
        assert error.hint, code
        assert isinstance(error, AuthError | CloudError | HostError | UsageError), code


SEEN: dict[str, tuple[dict[str, str], type[CorralError], str, str]] = {
    "a proxy that is not there": (
        {"HTTPS_PROXY": "http://127.0.0.1:9"},
        HostError,
        "The proxy on the way to AWS cannot be used: ",
        "Check HTTPS_PROXY",
    ),
    "a proxy of a kind nobody knows": (
        {"HTTPS_PROXY": "gopher://127.0.0.1:9"},
        HostError,
        "The proxy on the way to AWS cannot be used: ",
        "Check HTTPS_PROXY",
    ),
    "a retry mode that does not exist": (
        {"AWS_RETRY_MODE": "sometimes"},
        AuthError,
        "The AWS configuration cannot be used: ",
        "Check --profile",
    ),
    "an address that is none": (
        {"AWS_ENDPOINT_URL": "localhost:9"},
        UsageError,
        "AWS cannot be asked: Invalid endpoint",
        "Correct or unset AWS_ENDPOINT_URL.",
    ),
    "nobody there": (
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        CloudError,
        "AWS cannot be reached: ",
        "Check this machine's network",
    ),
}


def asked_once(clock: Clock, folder: Path) -> CorralError:
    """What a user is told of one call, and no more waiting than a second of retries."""
    begun = clock()
    try:
        door(Boto(), clock, folder).call(ASKED)
    except Refused as refused:
        assert clock() - begun <= 1
        return translated(refused)
    except CorralError as error:
        assert clock() == begun
        return error
    raise AssertionError("it was answered")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
        "AWS_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.mark.parametrize("case", SEEN)
def test_what_is_wrong_here_is_told_at_once(
    case: str, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, kind, begin, hint = SEEN[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    error = asked_once(Clock(), tmp_path)
    assert (type(error), error.message[: len(begin)], error.hint[: len(hint)]) == (kind, begin, hint)


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_proxy_that_lets_nothing_through_is_told_at_once(
    refusal: str, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with listener.accept()[0] as asking:
                    asking.recv(4096)
                    asking.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse, args=[listener], daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        error = asked_once(Clock(), tmp_path)
        listener.shutdown(socket.SHUT_RDWR)
    assert type(error) is HostError
    assert error.message.startswith(
        "The proxy on the way to AWS cannot be used: Failed to connect to proxy URL"
    )


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ("", "SSL validation failed for https://localhost:"),
        ("/nowhere/company.pem", "SSL validation failed for https://localhost:"),
        ("NONE", "SSL validation failed for https://localhost:"),
    ],
)
def test_a_certificate_nobody_knows_is_told_at_once(
    bundle: str, said: str, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bundle == "NONE":
        bundle = str(tmp_path / "none.pem")
        Path(bundle).write_text("no certificate\n")
    if bundle:
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    with https(tmp_path) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        error = asked_once(Clock(), tmp_path)
    begin = f"This machine does not trust the certificate that answers for AWS: {said}"
    assert (type(error), error.message[: len(begin)], error.hint[:52]) == (
        HostError,
        begin,
        "Where a proxy inspects TLS, name its authority: AWS_",
    )


CONFIGURED: dict[str, tuple[str, type[CorralError], str, str]] = {
    "a login that ended": (
        "[profile p]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = r\n",
        AuthError,
        "The AWS SSO login cannot be used: ",
        "Log in again: aws sso login",
    ),
    "a login of the new kind, never made": (
        "[profile p]\nlogin_session = arn:aws:iam::123456789012:user/ann\nregion = us-east-1\n",
        AuthError,
        "The AWS login cannot be used: ",
        "Log in again: aws login",
    ),
    "a program that fails": (
        "[profile p]\ncredential_process = /bin/false\n",
        AuthError,
        "What should give the AWS credentials did not: ",
        "Try it alone",
    ),
    "half a key": (
        "[profile p]\naws_access_key_id = AKIA\n",
        AuthError,
        "The AWS credentials are incomplete: ",
        "Give both parts",
    ),
    "a profile that leads to itself": (
        "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n"
        "[profile q]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = p\n",
        AuthError,
        "The AWS configuration cannot be used: ",
        "Check --profile",
    ),
    "no configuration at all": (
        "profile p\n",
        AuthError,
        "The AWS configuration cannot be used: ",
        "Check --profile",
    ),
    "another profile": (
        "[profile q]\nregion = us-east-1\n",
        AuthError,
        "The AWS configuration cannot be used: ",
        "Check --profile",
    ),
}


@pytest.mark.parametrize("case", CONFIGURED)
def test_a_profile_that_gives_nothing_is_told_at_once(
    case: str, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, kind, begin, hint = CONFIGURED[case]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "p")
    error = asked_once(Clock(), tmp_path)
    assert (type(error), error.message[: len(begin)], error.hint[: len(hint)]) == (kind, begin, hint)


def test_a_code_nobody_can_be_asked_for_is_told(
    keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/ann\n"
    )
    (tmp_path / "credentials").write_text("[q]\naws_access_key_id = x\naws_secret_access_key = x\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "p")

    monkeypatch.setattr("sys.stdin", io.StringIO("123456\n"))  # no terminal: not its code to take
    error = asked_once(Clock(), tmp_path)
    assert type(error) is AuthError
    assert error.message.startswith("The AWS profile asks for an MFA code")


def test_an_assumed_role_is_kept_where_the_aws_cli_keeps_it(
    keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provider = new_session()._session.get_component("credential_provider").get_provider("assume-role")
    provider.cache["of a role"] = {"Credentials": 1}
    assert (tmp_path / ".aws/cli/cache/of a role.json").read_text() == '{"Credentials": 1}'
    assert provider.cache["of a role"] == {"Credentials": 1}
    (tmp_path / ".aws/cli/cache/of a role.json").unlink()
    (tmp_path / ".aws/cli/cache").rmdir()
    (tmp_path / ".aws/cli/cache").write_text("no folder can be made here")
    provider.cache["of a role"] = {"Credentials": 1}  # nothing is raised


def test_an_address_of_a_proxy_that_is_none_is_no_lost_answer() -> None:
    met: dict[Any, str] = {ValueError("x"): unsent.BAD_PROXY, RuntimeError("x"): unsent.LOST}
    assert {cause: unsent.code_of(HTTPClientError(error=cause)) for cause in met} == met


def test_the_code_is_asked_for_at_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"typed after {prompt}")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert mfa_code("Code: ") == "typed after Code: "
    for nobody in (SimpleNamespace(isatty=lambda: False), None):
        monkeypatch.setattr("sys.stdin", nobody)
        with pytest.raises(EOFError):
            mfa_code("Code: ")
