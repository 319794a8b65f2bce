"""The door to AWS: boto3, and nothing else of ours imports it."""

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from infra import offline
from infra.aws import unsent
from infra.aws.bounded_answer import BoundedResponse
from infra.aws.failures import ApiFailure, LostResponse
from infra.aws.partitions import iam_region
from infra.aws.request import Request
from infra.cloud_init import packed
from infra.errors import UsageError
from infra.fetch.authorities import bundle, trust_named
from infra.prices import DEFAULT_REGION

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 60
# What botocore's readers raise where an answer holds something else than the service's own would.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
# Where the AWS CLI keeps the credentials of roles it assumed.
CLI_CACHE = Path("~/.aws/cli/cache")


class Boto:
    """Sends requests with the user's own credentials. Every retry is ours: botocore's own would repeat a launch that
    found no capacity, because EC2 answers that with a 5xx.
    """

    def __init__(self) -> None:
        offline.refuse("AWS")
        self.session = new_session()
        self.clients: dict[tuple[str, str], Any] = {}
        self.iam_region = iam_region(named_region())

    def send(self, request: Request) -> dict[str, Any]:
        """Send one request, once. Raises ApiFailure or LostResponse."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        given = as_sent(request.parameters)
        try:
            client = self.client(request.service, self.where(request))
            answer: dict[str, Any] = getattr(client, xform_name(request.operation))(**given)
        except ClientError as error:
            raise ApiFailure(error.response["Error"]["Code"], error.response["Error"]["Message"]) from None
        except (BotoCoreError, ResponseParserError) as error:
            raise failure(error) from None
        except EOFError:
            raise ApiFailure(unsent.MFA, "nobody can be asked") from None
        except UNREADABLE:
            raise ApiFailure(unsent.NOT_AWS, f"its answer to {request.operation} cannot be read") from None
        answer.pop("ResponseMetadata", None)
        return answer

    def where(self, request: Request) -> str:
        """The region to ask: of IAM, the one of the partition the other requests are in."""
        if request.service == "iam":
            return self.iam_region
        self.iam_region = iam_region(request.region)
        return request.region

    def client(self, service: str, region: str) -> Any:
        """One client a service and region; making one costs tens of milliseconds. Raises UsageError."""
        from botocore.config import Config

        if (service, region) not in self.clients:
            config = Config(
                retries={"total_max_attempts": 1},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                user_agent_extra="corral",
            )
            # Services and regions are data here, not literals the stubs could check.
            make: Any = self.session.client
            try:
                self.clients[service, region] = make(service, region_name=region, config=config)
            except ValueError as error:  # so botocore says it of an endpoint that is no URL
                raise UsageError(
                    f"AWS cannot be asked: {error}.", "Correct or unset AWS_ENDPOINT_URL."
                ) from None
        return self.clients[service, region]


def as_sent(parameters: dict[str, Any]) -> dict[str, Any]:
    """User data is text up to here, so that it can be read; it goes out packed."""
    text = parameters.get("UserData")
    return parameters if text is None else parameters | {"UserData": packed(text)}


def failure(error: Exception) -> ApiFailure | LostResponse:
    """What an error of botocore itself means."""
    words = " ".join(str(error).split())[:300]
    code = unsent.code_of(error)
    return LostResponse(words) if code == unsent.LOST else ApiFailure(code, words)


def checked_regions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the regions, or raise UsageError for one that does not exist. Asks nobody."""
    for name in names:
        if name not in known_regions():
            from difflib import get_close_matches

            near = sold_elsewhere(name) or get_close_matches(name, known_regions(), n=3)
            raise UsageError(
                f"{name!r} is not a region of AWS.",
                f"Did you mean {' or '.join(near)}?" if near else "For example: --region us-east-1",
            )
    return names


CITIES = {
    "frankfurt": "eu-central-1",
    "zurich": "eu-central-2",
    "dublin": "eu-west-1",
    "ireland": "eu-west-1",
    "london": "eu-west-2",
    "paris": "eu-west-3",
    "stockholm": "eu-north-1",
    "milan": "eu-south-1",
    "spain": "eu-south-2",
    "madrid": "eu-south-2",
    "virginia": "us-east-1",
    "ashburn": "us-east-1",
    "ohio": "us-east-2",
    "california": "us-west-1",
    "oregon": "us-west-2",
    "montreal": "ca-central-1",
    "tokyo": "ap-northeast-1",
    "osaka": "ap-northeast-3",
    "seoul": "ap-northeast-2",
    "singapore": "ap-southeast-1",
    "sydney": "ap-southeast-2",
    "mumbai": "ap-south-1",
    "saopaulo": "sa-east-1",
}
"""Regions of AWS by the places that they are in, as AWS's list of regions calls them; other clouds name theirs so."""


def sold_elsewhere(name: str) -> list[str]:
    """The region of AWS in the place that a name of another cloud's, or of a place, holds; none where it holds none."""
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return [region for city, region in CITIES.items() if city in plain][:1]


@cache
def known_regions() -> tuple[str, ...]:
    """Every region botocore knows, in all of AWS's partitions; what AWS is configured to here is not looked at."""
    from botocore.loaders import create_loader

    partitions = create_loader().load_data("endpoints")["partitions"]
    return tuple(
        name
        for partition in partitions
        for name in partition["services"].get("ec2", {}).get("endpoints", {})
        if name in partition["regions"]
    )


def default_region() -> str:
    """The region of the user's AWS configuration, else us-east-1: where to ask which regions there are.

    Raises UsageError where that is none of AWS's, AuthError for a profile that does not exist.
    """
    return checked_regions((named_region() or DEFAULT_REGION,))[0]


def configured_region() -> str:
    """The region of the user's AWS configuration. Raises UsageError where it names none, or one that AWS has not.

    Asks nobody. Raises AuthError for a profile that does not exist.
    """
    region = named_region()
    if not region:
        raise UsageError(
            "No AWS region is named: where a machine stands is not for corral to choose.",
            f"Say it: --region {DEFAULT_REGION}; or set AWS_REGION, or the profile's: aws configure set region "
            f"{DEFAULT_REGION}",
        )
    return checked_regions((region,))[0]


def named_region() -> str:
    """What AWS_REGION says, which the AWS CLI heeds and boto3 does not, else boto3's own answer; empty for none."""
    return os.environ.get("AWS_REGION") or str(new_session().region_name or "")


def new_session() -> Any:
    """boto3's session. Raises AuthError for a profile that does not exist, or a configuration that cannot be read."""
    import boto3
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
    from botocore.exceptions import BotoCoreError

    # Of each session, and of what finds the credentials.
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        reading: Any = connection
        reading.response_class = BoundedResponse
    try:
        session = boto3.Session()
        trust_as_the_system_does(session)
        as_the_cli_assumes(session)  # which reads the configuration
    except BotoCoreError as error:
        raise unsent.error_of(error) from None
    except OSError as error:
        raise unsent.said_of(unsent.BAD_CONFIGURATION, str(error)) from None
    return session


def has_credentials() -> bool:
    """Whether credentials are found here; whether they hold, AWS will say.

    Raises AuthError and its like for a configuration that cannot be used.
    """
    from botocore.exceptions import BotoCoreError

    try:
        return new_session().get_credentials() is not None
    except BotoCoreError as error:
        raise unsent.error_of(error) from None
    except EOFError:
        raise unsent.said_of(unsent.MFA, "nobody can be asked") from None


def trust_as_the_system_does(session: Any) -> None:
    """Trust this system's authorities, where AWS_CA_BUNDLE and the profile name none: boto3 brings its own.

    Those of the files that are named are trusted besides: botocore's setting takes one file, so they go past it.
    """
    from botocore import httpsession

    def context(_: object) -> Any:
        made = httpsession.create_urllib3_context()
        trust_named(made)
        return made

    sending: Any = httpsession.URLLib3Session
    sending._get_ssl_context = context
    core = session._session
    if not core.get_config_variable("ca_bundle") and (file := bundle()):
        core.set_config_variable("ca_bundle", file)


def as_the_cli_assumes(session: Any) -> None:
    """Keep the credentials of assumed roles where the AWS CLI keeps them: an MFA code is asked once for both."""
    from botocore.utils import JSONFileCache

    class Cache(JSONFileCache):
        """The CLI's; a disk that is full keeps nobody from ending a machine."""

        def __setitem__(self, key: str, value: Any) -> None:
            with suppress(OSError):
                super().__setitem__(key, value)

    provider = session._session.get_component("credential_provider").get_provider("assume-role")
    provider.cache = Cache(str(CLI_CACHE.expanduser()))
    provider._prompter = mfa_code


def mfa_code(prompt: str) -> str:
    """What the user types. Raises EOFError where nobody sits."""
    from getpass import getpass

    if not (sys.stdin and sys.stdin.isatty()):
        raise EOFError
    return getpass(prompt)
