"""The door itself: what boto3 raises becomes what we know, and it never retries on its own."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock
from renting import door

from infra.aws.api import ASK_FOR_S
from infra.aws.ec2 import Boto, checked_regions
from infra.aws.failures import CODES, ApiFailure, LostResponse, Refused, kind_of, plain_code, translated
from infra.aws.request import Request, ec2
from infra.errors import AuthError, CapacityError, CloudError, UsageError

ASKED = ec2("us-east-1", "DescribeRegions")


class Answering(BaseHTTPRequestHandler):
    """Gives one canned answer, and counts."""

    status, body, kind, count = 200, b"", "text/xml", 0

    def do_POST(self) -> None:
        cls = type(self)
        cls.count += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if cls.status == 0:
            self.close_connection = True
            return
        self.send_response(cls.status)
        self.send_header("Content-Type", cls.kind)
        self.send_header("Content-Length", str(len(cls.body)))
        self.end_headers()
        self.wfile.write(cls.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answering]]:
    class Here(Answering):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Here) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{http.server_address[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        yield Here
        http.shutdown()
        thread.join()


def error_xml(code: str) -> bytes:
    return f"<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>".encode()


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "InternalError", "RequestLimitExceeded"])
def test_boto3_does_not_retry_a_5xx_by_itself(code: str, server: type[Answering]) -> None:
    server.status, server.body = 500, error_xml(code)
    with pytest.raises(ApiFailure) as failure:
        Boto().send(ASKED)
    assert (failure.value.code, server.count) == (code, 1)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"<!doctype html><p>Internal Server Error", "text/html"),
        (200, b"<!doctype html>a proxy", "text/html"),
    ],
)
def test_a_page_that_is_not_aws_is_a_failure_of_the_server(
    status: int, body: bytes, kind: str, server: type[Answering]
) -> None:
    server.status, server.body, server.kind = status, body, kind
    with pytest.raises(ApiFailure) as failure:
        Boto().send(ASKED)
    assert kind_of(failure.value.code) == "server"


def test_a_connection_that_breaks_after_the_request_is_a_lost_response(server: type[Answering]) -> None:
    server.status = 0
    with pytest.raises(LostResponse):
        Boto().send(ASKED)


def test_nobody_listening_is_no_lost_response(
    monkeypatch: pytest.MonkeyPatch, server: type[Answering]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ApiFailure) as failure:
        Boto().send(ASKED)
    assert failure.value.code == "Unreachable"


def test_no_route_to_aws_is_told_within_seconds_until_it_was_reached_once(
    monkeypatch: pytest.MonkeyPatch, server: type[Answering], tmp_path: Path
) -> None:
    server.status, server.body = 400, error_xml("InvalidParameterValue")
    there = str(os.environ["AWS_ENDPOINT_URL"])
    waited = {}
    for reached in (False, True):
        clock = Clock()
        aws = door(Boto(), clock, tmp_path)
        if reached:
            monkeypatch.setenv("AWS_ENDPOINT_URL", there)
            with pytest.raises(Refused, match="InvalidParameterValue"):
                aws.call(ASKED)
            aws.transport = Boto()
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        begun = clock()
        with pytest.raises(Refused) as refused:
            aws.call(ASKED)
        assert translated(refused.value).message.startswith("AWS cannot be reached: ec2:DescribeRegions in")
        waited[reached] = clock() - begun
    assert waited[False] < ASK_FOR_S < waited[True]


def test_no_credentials_are_told_with_where_they_are_looked_for(tmp_path: Path) -> None:
    clock = Clock()
    with pytest.raises(Refused) as refused:
        door(Boto(), clock, tmp_path).call(ASKED)
    error = translated(refused.value)
    assert isinstance(error, AuthError)
    assert error.message.startswith("No AWS credentials were found: not in the environment, ~/.aws")


def test_an_unknown_profile_is_an_auth_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AuthError, match="nobody"):
        Boto()


def test_regions_are_known_without_asking() -> None:
    assert checked_regions(("us-east-1", "eu-central-1")) == ("us-east-1", "eu-central-1")
    with pytest.raises(UsageError) as error:
        checked_regions(("us-est-1",))
    assert error.value.hint == "Did you mean us-west-1 or us-east-1 or us-west-2?"


@pytest.mark.parametrize(
    ("code", "kind", "error"),
    [
        ("InsufficientInstanceCapacity", "capacity", CapacityError),
        ("Unsupported", "capacity", CapacityError),
        ("VcpuLimitExceeded", "quota", CapacityError),
        ("UnauthorizedOperation", "auth", AuthError),
        ("AccessDeniedException", "auth", AuthError),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "auth", AuthError),
        ("ExpiredTokenException", "auth", AuthError),
        ("OptInRequired", "auth", AuthError),
        ("ThrottlingException", "throttle", CloudError),
        ("InternalError", "server", CloudError),
        ("LostResponse", "lost", CloudError),
        ("InvalidAMIID.Malformed", "input", CloudError),
        ("IdempotentParameterMismatch", "input", CloudError),
        ("InvalidVolume.NotFound", "gone", CloudError),
        ("DependencyViolation", "in use", CloudError),
        ("SomethingNew", "other", CloudError),
    ],
)
def test_every_code_has_its_meaning(code: str, kind: str, error: type[Exception]) -> None:
    request = Request(service="ec2", operation="RunInstances", region="us-east-1", parameters={})
    told = translated(Refused(request, code, "words."))
    assert (kind_of(code), type(told)) == (kind, error)
    assert f"ec2:RunInstances in us-east-1: {code}: words." in told.message


def test_no_code_is_listed_twice() -> None:
    listed = [code for codes in CODES.values() for code in codes]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (
            "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            "NotYetSpread",
        ),
        (
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
            "NotYetSpread",
        ),
        ("Network interface 'eni-1' is currently in use.", "StillInUse"),
        ("The parameter groupName is not valid", "InvalidParameterValue"),
    ],
)
def test_words_tell_apart_what_one_code_means(message: str, code: str) -> None:
    assert plain_code(ApiFailure("InvalidParameterValue", message)) == code


def test_the_ledger_keeps_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    class Saying:
        def send(self, request: Request) -> dict[str, Any]:
            return {"Instances": [{"InstanceId": "i-1"}]}

    asked = ec2("us-east-1", "RunInstances", ClientToken="t", UserData="long")
    door(Saying(), Clock(), tmp_path).call(asked)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [(line["event"], line.get("parameters"), line.get("answer")) for line in lines] == [
        ("intent", {"ClientToken": "t"}, None),
        ("done", None, {"Instances": [{"InstanceId": "i-1"}]}),
    ]
