"""AWS in memory, under a simulated clock, stricter than moto where moto is known to be wrong.

It implements `Transport`. Documented behaviour it keeps to, each tested in test_fake_aws.py: client tokens make a call
idempotent and refuse other parameters; what was just made is not shown for some seconds; a security group in use
cannot be deleted; IAM needs time to spread; sizes, tags and gp3's ratios are checked; every request is checked against
botocore's own model of the service.
"""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.validate import ParamValidator
from fake_ec2 import FakeEc2
from fake_iam import FakeIam, FakeScheduler
from fake_prices import FakePrices
from fake_s3 import FakeS3

from infra.aws.failures import ApiFailure, LostResponse
from infra.aws.request import Request

ACCOUNT = "123456789012"
REGIONS = ("eu-west-1", "us-east-1", "us-east-2", "us-west-2")


# As EC2 says it of a service control policy.
DENIED = (
    f"You are not authorized to perform this operation. User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to "
    "perform this with an explicit deny in a service control policy. Encoded authorization failure message: 4GIoh-ZQ_x"
)
DENIED_TOLD = DENIED.partition(". Encoded")[0]


class Clock:
    """A clock that sleeping moves."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class FakeAws:
    """One account."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.iam = FakeIam(self.clock)
        self.regions = {name: FakeEc2(name, self.clock, self.iam) for name in REGIONS}
        self.schedulers = {name: FakeScheduler(self.clock, self.iam, self.regions[name]) for name in REGIONS}
        self.account = ACCOUNT
        """Whose it is, as it says itself; what is made is ACCOUNT's."""
        self.silent: set[str] = set()
        """Services that never answer."""
        self.denied: set[str] = set()
        """Actions, each everywhere or as REGION/ACTION."""
        self.denied_code = "UnauthorizedOperation"
        self.quotas: dict[str, float] = {"L-DB2E81BA": 192.0, "L-417A185B": 768.0, "L-3819A6DF": 192.0}
        self.prices = FakePrices()
        self.s3 = FakeS3(ACCOUNT)
        self.calls: list[Request] = []

    def send(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        self.calls.append(request)
        check_shape(request)
        if request.service in self.silent:
            raise LostResponse("silence")
        for scheduler in self.schedulers.values():
            scheduler.fire()
        if self.denied & {request.action, f"{request.region}/{request.action}"}:
            code = {"ec2": self.denied_code, "sts": "InvalidClientTokenId"}.get(
                request.service, "AccessDenied"
            )
            raise ApiFailure(code, DENIED)
        if request.parameters.get("DryRun"):
            raise ApiFailure("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        parameters = {key: value for key, value in request.parameters.items() if key != "DryRun"}
        return self.handler(request)(**parameters)

    def handler(self, request: Request) -> Callable[..., dict[str, Any]]:
        """What answers an operation."""
        place: Any = {
            "ec2": self.regions.get(request.region),
            "scheduler": self.schedulers.get(request.region),
            "iam": self.iam,
            "s3": self.s3,
            "kms": region.keys if (region := self.regions.get(request.region)) else None,
        }.get(request.service, self)
        handler: Callable[..., dict[str, Any]] = getattr(place, xform_name(request.operation))
        return handler

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.account, "Arn": f"arn:aws:iam::{self.account}:user/ann", "UserId": "AIDA"}

    def get_parameter(self, Name: str) -> dict[str, Any]:  # noqa: N803
        if not Name.startswith("/aws/service/deeplearning/ami/x86_64/"):
            raise ApiFailure("ParameterNotFound", Name)
        return {"Parameter": {"Name": Name, "Value": "ami-0123456789abcdef0"}}

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:  # noqa: N803
        if ServiceCode != "ec2" or QuotaCode not in self.quotas:
            raise ApiFailure("NoSuchResourceException", QuotaCode)
        return {"Quota": {"QuotaCode": QuotaCode, "Value": self.quotas[QuotaCode]}}

    def list_service_quotas(self, ServiceCode: str) -> dict[str, Any]:  # noqa: N803
        if ServiceCode != "ec2":
            raise ApiFailure(
                "NoSuchResourceException", f"The request failed because service {ServiceCode} is none."
            )
        value = self.quotas.get("by name", 0.0)
        return {"Quotas": [{"QuotaName": "All P5 Spot Instance Requests", "Value": value}]}

    def get_products(self, ServiceCode: str, FormatVersion: str, Filters: Any) -> dict[str, Any]:  # noqa: N803
        if (ServiceCode, FormatVersion) != ("AmazonEC2", "aws_v1"):
            raise ApiFailure("InvalidParameterException", f"{ServiceCode} {FormatVersion}")
        return self.prices.answer(Filters)

    def live(self) -> list[str]:
        """Everything that exists and could cost or block something, in every region: the truth behind the API."""
        return sorted(
            itertools.chain(
                self.iam.live(),
                *(region.live() for region in self.regions.values()),
                *(scheduler.live() for scheduler in self.schedulers.values()),
            )
        )


class Killed(BaseException):
    """kill -9: no handler of ours may see it."""


class Faulty:
    """A transport that fails at its k-th call (from 1), in one way."""

    def __init__(self, aws: FakeAws, fault: str, at: int) -> None:
        self.aws = aws
        self.fault = fault
        self.at = at
        self.count = 0

    def send(self, request: Request) -> dict[str, Any]:
        """Pass a call on, or fail it."""
        self.count += 1
        if self.count < self.at:
            return self.aws.send(request)
        return FAULTS[self.fault](self, request)

    def once(self, request: Request, fail: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Fail only the k-th call."""
        return fail() if self.count == self.at else self.aws.send(request)


def refuse(code: str) -> Callable[[], dict[str, Any]]:
    """Answer with an error."""

    def fail() -> dict[str, Any]:
        raise ApiFailure(code, "injected")

    return fail


def lose(faulty: Faulty, request: Request) -> dict[str, Any]:
    """Carry the call out and lose the answer."""
    done(faulty, request)
    raise LostResponse("injected: read timeout")


def break_after(faulty: Faulty, request: Request) -> dict[str, Any]:
    """Carry the call out and answer with a 5xx."""
    done(faulty, request)
    raise ApiFailure("InternalError", "injected")


def done(faulty: Faulty, request: Request) -> None:
    """Carry a call out; what AWS itself refuses is not carried out."""
    faulty.aws.send(request)


def kill(faulty: Faulty, request: Request, after: bool) -> dict[str, Any]:
    """Die right before or right after a call."""
    if after:
        done(faulty, request)
    raise Killed


FAULTS: dict[str, Callable[[Faulty, Request], dict[str, Any]]] = {
    "capacity": lambda f, r: f.once(r, refuse("InsufficientInstanceCapacity")),
    "denied": lambda f, r: f.once(r, refuse("UnauthorizedOperation")),
    "expired": lambda f, r: refuse("ExpiredToken")(),
    "throttled": lambda f, r: f.once(r, refuse("RequestLimitExceeded")),
    "throttled for ever": lambda f, r: refuse("RequestLimitExceeded")(),
    "server error": lambda f, r: f.once(r, refuse("InternalError")),
    "server error after": lambda f, r: f.once(r, lambda: break_after(f, r)),
    "server error for ever": lambda f, r: refuse("InternalError")(),
    "lost": lambda f, r: f.once(r, lambda: lose(f, r)),
    "lost for ever": lose,
    "killed before": lambda f, r: kill(f, r, after=False),
    "killed after": lambda f, r: kill(f, r, after=True),
}


def check_shape(request: Request) -> None:
    """Refuse what botocore would not send."""
    operation = model(request.service).operation_model(request.operation)
    report = ParamValidator().validate(request.parameters, operation.input_shape)
    if report.has_errors():
        raise AssertionError(f"{request.operation}: {report.generate_report()}")


@cache
def model(service: str) -> Any:
    """botocore's model of a service."""
    return botocore.session.get_session().get_service_model(service)
