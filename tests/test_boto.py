"""The door itself: what boto3 raises becomes what we know, and it never retries on its own."""

import itertools
import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore_once import models_read_once
from fake_aws import Clock
from renting import door

from infra import deadline
from infra.aws import boto, bounded_answer
from infra.aws.api import FIRST_ANSWER_FOR_S
from infra.aws.boto import Boto, checked_regions
from infra.aws.failures import CODES, ApiFailure, LostResponse, Refused, kind_of, plain_code, translated
from infra.aws.ledger import Ledger
from infra.aws.request import Request, ec2
from infra.aws.unsent import NOT_AWS
from infra.errors import AuthError, CapacityError, CloudError, UsageError

ASKED, ASKED_MACHINES = ec2("us-east-1", "DescribeRegions"), ec2("us-east-1", "DescribeInstances")


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    with models_read_once():
        yield


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
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
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


# Whoever answers in AWS's place may say anything, for as long as it likes


def saying(begin: bytes, rest: Callable[[], bytes | None], server: type[Answering]) -> None:
    """Have the server begin so, and go on until nobody listens or nothing comes."""

    def answer(self: Answering) -> None:
        server.count += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            self.wfile.write(begin)
            while piece := rest():
                self.wfile.write(piece)

    server.do_POST = answer  # type: ignore[method-assign]


BODY = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a body": (BODY, b"x"),
    "a length that is a lie": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk's extension": (CHUNKED, b"1;" + b"x" * 1000),
    "a chunk's trailer": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "goes on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "goes on with headers": (b"", b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nA: ", b"b"),
    "a status line": (b"", b"HTTP/1.1 200 "),
    "no status line": (b"", b"\0"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_an_end_has_a_most(
    kind: str, server: type[Answering], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_answer, "MOST_BYTES", 100_000)
    begin, piece = ENDLESS[kind]
    saying(begin, lambda: piece * 1000, server)
    with pytest.raises(LostResponse):
        Boto().send(ASKED)
    assert server.count == 1


@pytest.mark.parametrize("kind", ["a body", "chunks", "goes on", "one header", "no status line"])
def test_an_answer_that_drips_has_its_time(
    kind: str, server: type[Answering], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second goes by with each look at the clock."""
    seconds = itertools.count()
    monkeypatch.setattr(bounded_answer, "clock", lambda: float(next(seconds)))
    begin, piece = ENDLESS[kind]
    saying(begin, lambda: piece, server)
    with pytest.raises(LostResponse):
        Boto().send(ASKED)
    assert next(seconds) == bounded_answer.ANSWER_S + 1


def test_who_asks_with_little_patience_has_little_for_the_whole(
    server: type[Answering], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the search for the credentials of a machine's role, and a verb whose time is nearly over."""
    seconds = itertools.count()
    monkeypatch.setattr(bounded_answer, "clock", lambda: float(next(seconds)))
    monkeypatch.setattr(boto, "READ_TIMEOUT_S", 1)
    saying(BODY, lambda: b"x", server)
    with pytest.raises(LostResponse):
        Boto().send(ASKED)
    assert next(seconds) == bounded_answer.READS + 1
    with deadline.within(5.0, lambda: 0.0), pytest.raises(LostResponse):
        Boto().send(ASKED)
    assert next(seconds) == bounded_answer.READS + 1 + 5 + 2


def test_a_verb_whose_time_is_over_asks_aws_no_more(server: type[Answering], tmp_path: Path) -> None:
    server.status, server.body = 500, error_xml("InternalError")
    clock = Clock()
    with deadline.within(0.2, lambda: 0.0), pytest.raises(Refused) as refused:
        door(Boto(), clock, tmp_path).call(ASKED)
    assert (refused.value.code, server.count) == ("InternalError", 1)


def test_a_silent_aws_is_one_sentence_with_the_code_of_an_unreachable_one(
    server: type[Answering], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    over = threading.Event()

    def silent() -> None:
        over.wait(60)

    monkeypatch.setattr(boto, "READ_TIMEOUT_S", 0.2)
    saying(b"", silent, server)
    try:
        with deadline.within(0.2, lambda: 0.0), pytest.raises(Refused) as refused:
            door(Boto(), Clock(), tmp_path).call(ASKED)
    finally:
        over.set()
    error = translated(refused.value)
    assert error.message.startswith(
        "AWS did not answer: ec2:DescribeRegions in us-east-1: LostResponse: Read timeout"
    )
    assert (error.exit_code, error.message.count("\n")) == (CloudError.exit_code, 0)


def json_of(text: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text.encode()), text.encode())


PARAMETER = Request(
    service="ssm", operation="GetParameters", region="us-east-1", parameters={"Names": ["/x"]}
)
DEEP = 100_000


def machine(field: str) -> str:
    return f"<r><reservationSet><item><instancesSet><item>{field}</item></instancesSet></item></reservationSet></r>"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        *((PARAMETER, text) for text in (
            "null", "NaN", '{"Parameters": {"a": 1}}',
            "[" * DEEP, '{"a":' * DEEP, '"x"', "3", '{"Parameters": 3}', '{"Parameters": [3]}', "[]",
            '{"Parameters": [{"LastModifiedDate": "x"}]}', '{"Parameters": [{"LastModifiedDate": 1e999}]}',
            '{"Parameters": [{"LastModifiedDate": -1e300}]}', '{"Parameters": [{"LastModifiedDate": {}}]}',
        )),
        *((ASKED_MACHINES, text) for text in (
            "", "<", "<a>" * DEEP, "\0", '<!DOCTYPE a [<!ENTITY x "y">]><a>&z;</a>',
            machine("<launchTime>x</launchTime>"), machine("<amiLaunchIndex>x</amiLaunchIndex>"),
            machine("<launchTime>99999-01-01</launchTime>"),
        )),
    ],
    ids=lambda each: each[:40].replace("\0", "NUL") if isinstance(each, str) else each.service,
)  # fmt: skip
def test_what_botocore_cannot_read_is_not_of_aws(asked: Request, text: str, server: type[Answering]) -> None:
    saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text.encode()), lambda: None, server
    )
    with pytest.raises(ApiFailure) as failure:
        Boto().send(asked)
    error = translated(Refused(asked, failure.value.code, failure.value.message))
    assert (failure.value.code, error.exit_code) == (NOT_AWS, CloudError.exit_code)
    assert error.message.startswith("What answers is not AWS: ")


@pytest.mark.parametrize("text", ["9" * 10_000, '{"__type": 3}'])
def test_what_says_nothing_is_an_answer_that_says_nothing(text: str, server: type[Answering]) -> None:
    saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text.encode()), lambda: None, server
    )
    assert Boto().send(PARAMETER) == {}


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
        assert translated(refused.value).message == (
            'AWS cannot be reached: Could not connect to the endpoint URL: "http://127.0.0.1:9/".'
        )
        waited[reached] = clock() - begun
    assert waited[False] < FIRST_ANSWER_FOR_S < waited[True]


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


# As AWS sends them: the EC2 API's "Error codes", and the exceptions of IAM, Scheduler, SSM and Service Quotas.
SENT = {
    "capacity": """InsufficientInstanceCapacity InsufficientHostCapacity InsufficientReservedInstanceCapacity
        InsufficientCapacity UnfulfillableCapacity SpotMaxPriceTooLow ReservationCapacityExceeded Unsupported""",
    "quota": """VcpuLimitExceeded InstanceLimitExceeded MaxSpotInstanceCountExceeded VolumeLimitExceeded
        MaxIOPSLimitExceeded SecurityGroupLimitExceeded PlacementGroupLimitExceeded ServiceQuotaExceededException""",
    "local": "NoCredentials BadProxy BrokenBoto3",
    "auth": """UnauthorizedOperation AccessDenied AccessDeniedException UnauthorizedAccess AuthFailure
        AuthFailure.ServiceLinkedRoleCreationNotPermitted OptInRequired PendingVerification ExpiredToken
        ExpiredTokenException InvalidClientTokenId UnrecognizedClientException RequestExpired RequestTimeTooSkewed
        SignatureDoesNotMatch InvalidSignatureException MissingAuthenticationToken Blocked""",
    "throttle": """RequestLimitExceeded Throttling ThrottlingException TooManyRequestsException
        EC2ThrottledException""",
    "server": """ServiceUnavailable ServiceUnavailableException InternalError InternalFailure InternalServerException
        ServerInternal ServiceFailureException Unavailable Unreachable NotAws 500 502 503 504""",
    "lost": "LostResponse",
    "eventual": "InvalidInstanceID.NotFound InvalidGroup.NotFound NotYetSpread",
    "exists": """InvalidGroup.Duplicate InvalidPermission.Duplicate InvalidPlacementGroup.Duplicate
        EntityAlreadyExists EntityAlreadyExistsException ConflictException""",
    "gone": """NoSuchEntity NoSuchEntityException ResourceNotFoundException ParameterNotFound InvalidVolume.NotFound
        InvalidPlacementGroup.Unknown""",
    "in use": """DependencyViolation DeleteConflict DeleteConflictException VolumeInUse StillInUse
        InvalidPlacementGroup.InUse""",
    "input": """InvalidAMIID.Malformed InvalidParameterValue MissingParameter ValidationError ValidationException
        MalformedPolicyDocument MalformedPolicyDocumentException IdempotentParameterMismatch OperationNotPermitted""",
    "other": "SomethingNew",
}


def test_every_code_has_its_meaning() -> None:
    assert {
        kind: [code for code in codes.split() if kind_of(code) != kind] for kind, codes in SENT.items()
    } == (dict.fromkeys(SENT, []))


def told(code: str, words: str = "Words.") -> tuple[type[Exception], str, str]:
    """The error, its sentence and its hint."""
    request = Request(service="ec2", operation="RunInstances", region="us-east-1", parameters={})
    error = translated(Refused(request, code, words))
    return type(error), error.message, error.hint


@pytest.mark.parametrize(
    ("code", "error", "begin", "hint"),
    [
        (
            "Unsupported",
            CapacityError,
            "AWS has no capacity",
            "Allow more: --region, --zone, --instance-type or --purchase, each repeatable.",
        ),
        (
            "VcpuLimitExceeded",
            CapacityError,
            "AWS holds to a quota",
            "Ask for more: https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
        ),
        (
            "UnauthorizedOperation",
            AuthError,
            "AWS does not accept these credentials for this",
            "Check who you are and that ec2:RunInstances is allowed: aws sts get-caller-identity; corral iam-policy",
        ),
        (
            "ExpiredTokenException",
            AuthError,
            "AWS does not accept these credentials for this",
            "Log in again (aws sso login), then run the same command again: what was begun is kept track of.",
        ),
        (
            "RequestExpired",
            AuthError,
            "AWS does not accept these credentials for this",
            "This machine's clock is probably wrong: compare date -u with the true time, and set it.",
        ),
        (
            "RequestTimeTooSkewed",
            AuthError,
            "AWS does not accept these credentials for this",
            "This machine's clock is wrong: compare date -u with the true time, and set it.",
        ),
        (
            "SignatureDoesNotMatch",
            AuthError,
            "AWS does not accept these credentials for this",
            "The secret key is wrong, or this machine's clock: aws sts get-caller-identity; date -u",
        ),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            AuthError,
            "AWS does not accept these credentials for this",
            "Once for the account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
        ),
        (
            "OptInRequired",
            AuthError,
            "AWS does not accept these credentials for this",
            "Subscribe the account to the service, or have its region enabled.",
        ),
        (
            "Throttling",
            CloudError,
            "AWS throttled the call until we gave up",
            "Try again in some minutes; whatever was begun is kept track of.",
        ),
        (
            "InternalError",
            CloudError,
            "AWS failed on its side until we gave up",
            "Try again; see https://health.aws.amazon.com for the region.",
        ),
        (
            "LostResponse",
            CloudError,
            "AWS did not answer",
            "Check the network, then run the same command again: nothing is made twice.",
        ),
        (
            "NotYetSpread",
            CloudError,
            "AWS refused",
            "Try again in a minute: AWS had not yet spread what was just made.",
        ),
        (
            "InvalidAMIID.Malformed",
            CloudError,
            "AWS refused",
            "The parameter AWS names is the one to change; corral provision --dry-run shows them all.",
        ),
        (
            "DependencyViolation",
            CloudError,
            "AWS refused",
            "Something else still uses it; remove that first.",
        ),
        ("SomethingNew", CloudError, "AWS refused", "Look the code up in the EC2 API error codes."),
    ],
)
def test_a_refusal_is_awss_own_code_and_words_and_the_next_step(
    code: str, error: type[Exception], begin: str, hint: str
) -> None:
    assert told(code) == (error, f"{begin}: ec2:RunInstances in us-east-1: {code}: Words.", hint)
    assert told(code, "")[1] == f"{begin}: ec2:RunInstances in us-east-1: {code}."


class Refusing:
    """Answers with one code so many times, then well."""

    def __init__(self, code: str, times: int) -> None:
        self.left = [code] * times

    def send(self, request: Request) -> dict[str, Any]:
        if self.left:
            raise ApiFailure(self.left.pop(), "m")
        return {"Regions": []}


def test_what_was_just_made_is_given_a_minute_to_spread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    clock = Clock(0.0)
    assert door(Refusing("InvalidGroup.NotFound", 7), clock, tmp_path).call(ASKED) == {"Regions": []}
    assert clock() == 7 * 8.0
    clock = Clock(0.0)
    with pytest.raises(Refused, match=r"InvalidGroup\.NotFound"):
        door(Refusing("InvalidGroup.NotFound", 8), clock, tmp_path).call(ASKED)
    assert clock() == 7 * 8.0


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
            if request.operation == "TerminateInstances":
                raise ApiFailure("OperationNotPermitted", "it is protected")
            return {"Instances": [{"InstanceId": "i-1"}]}

    aws = door(Saying(), Clock(), tmp_path)
    aws.call(ec2("us-east-1", "RunInstances", ClientToken="t", UserData="long"))
    with pytest.raises(Refused):
        aws.call(ec2("us-west-2", "TerminateInstances", InstanceIds=["i-1"]))
    shared = {"at": "2026-09-21T14:13:20Z", "service": "ec2"}
    launch = shared | {"operation": "RunInstances", "region": "us-east-1", "number": 1}
    end = shared | {"operation": "TerminateInstances", "region": "us-west-2", "number": 2}
    wanted = [
        launch | {"event": "intent", "parameters": {"ClientToken": "t"}},
        launch | {"event": "done", "answer": {"Instances": [{"InstanceId": "i-1"}]}},
        end | {"event": "intent", "parameters": {"InstanceIds": ["i-1"]}},
        end | {"event": "failed", "code": "OperationNotPermitted"},
    ]
    written = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == wanted
    empty: dict[str, Any] = {"parameters": {}, "answer": {}, "code": ""}
    read = [entry.model_dump(mode="json") for entry in Ledger(tmp_path / "ledger.jsonl").entries()]
    assert read == [empty | one for one in wanted]
