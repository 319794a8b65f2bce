"""What is told of each cause on this side that keeps a request from AWS: its sentence and its remedy, whole."""

import botocore.exceptions
import pytest
from botocore.exceptions import HTTPClientError

from infra.aws import unsent
from infra.errors import AuthError, CloudError, CorralError, HostError, UsageError

TOLD: dict[str, tuple[type[CorralError], str, str]] = {
    "NoCredentials": (
        AuthError,
        "No AWS credentials were found: not in the environment, ~/.aws, or a role of this machine.",
        "Log in (aws sso login, or aws configure), or name one of aws configure list-profiles: --profile",
    ),
    "PartialCredentials": (
        AuthError,
        "The AWS credentials are incomplete: so it is.",
        "Give both parts, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile's: aws configure",
    ),
    "CredentialsNotGiven": (
        AuthError,
        "What should give the AWS credentials did not: so it is.",
        "Try it alone, it asks the same way: aws sts get-caller-identity",
    ),
    "SsoLoginExpired": (
        AuthError,
        "The AWS SSO login cannot be used: so it is.",
        "Log in again: aws sso login --profile 'my own'",
    ),
    "LoginExpired": (
        AuthError,
        "The AWS login cannot be used: so it is.",
        "Log in again: aws login --profile 'my own'",
    ),
    "MfaRequired": (
        AuthError,
        "The AWS profile asks for an MFA code, and there is no terminal to ask at: so it is.",
        'Take a session first: eval "$(aws configure export-credentials --format env)"',
    ),
    "MissingDependency": (
        HostError,
        "boto3 lacks a part that these AWS credentials need: so it is.",
        "Install it beside corral: pip install 'boto3[crt]'",
    ),
    "BadConfiguration": (
        AuthError,
        "The AWS configuration cannot be used: so it is.",
        "Check --profile, the AWS_ variables and ~/.aws/config: aws configure list",
    ),
    "NoEndpoint": (
        UsageError,
        "There is no such place of AWS: so it is.",
        "Check --region, AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT.",
    ),
    "BadCertificates": (
        HostError,
        "This machine does not trust the certificate that answers for AWS: so it is.",
        "Where a proxy inspects TLS, name its authority: AWS_CA_BUNDLE=/etc/ssl/company.pem; else compare date -u "
        "with the true time.",
    ),
    "BadProxy": (
        HostError,
        "The proxy on the way to AWS cannot be used: so it is.",
        "Check HTTPS_PROXY and NO_PROXY: env | grep -i proxy",
    ),
    "Unreachable": (
        CloudError,
        "AWS cannot be reached: so it is.",
        "Check this machine's network, its proxy and AWS_ENDPOINT_URL, then run the same command again.",
    ),
    "NotAws": (
        CloudError,
        "What answers is not AWS: so it is.",
        "A proxy or a login page may stand between: check HTTPS_PROXY and AWS_ENDPOINT_URL.",
    ),
    "BrokenBoto3": (
        HostError,
        "boto3 on this machine does not know how to ask this: so it is.",
        "Renew it: pip install --upgrade boto3 botocore",
    ),
}


def test_each_cause_has_its_sentence_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "named", lambda: "my own")
    assert unsent.CAUSES.keys() == TOLD.keys()
    errors = {code: unsent.told(code, "so \n it is.") for code in TOLD}
    assert {code: (type(error), error.message, error.hint) for code, error in errors.items() if error} == TOLD
    assert unsent.told("AccessDenied", "so it is.") is None
    monkeypatch.setattr(unsent, "named", lambda: None)
    assert [unsent.said_of(code, "x").hint for code in ("SsoLoginExpired", "LoginExpired")] == [
        "Log in again: aws sso login",
        "Log in again: aws login",
    ]


def test_what_is_known_before_anything_was_asked_is_an_error_of_this_side() -> None:
    """An answer that was lost before one was asked for is a way that leads nowhere."""
    for error, code in (
        (botocore.exceptions.NoCredentialsError(), "NoCredentials"),
        (HTTPClientError(error=RuntimeError("x")), "Unreachable"),
        (RuntimeError("x"), "BrokenBoto3"),
    ):
        found = unsent.error_of(error)
        assert (type(found), found.message.partition(":")[0]) == (
            TOLD[code][0],
            TOLD[code][1].partition(":")[0],
        )
