"""PURE: what keeps a request from ever reaching AWS, or its answer from being read: the causes on this side, each
with its remedy. botocore raises some ninety classes of its own; none of them is AWS's doing.
"""

from typing import NamedTuple

from infra.argument import pasted
from infra.aws.profile import named
from infra.errors import AuthError, CloudError, CorralError, HostError, UsageError

LOST = "LostResponse"
NO_CREDENTIALS = "NoCredentials"
UNREACHABLE = "Unreachable"
NOT_AWS = "NotAws"
INVALID = "InvalidParameter"
BAD_CERTIFICATES = "BadCertificates"
BAD_PROXY = "BadProxy"
BAD_CONFIGURATION = "BadConfiguration"
MFA = "MfaRequired"
BROKEN = "BrokenBoto3"


class Cause(NamedTuple):
    """What a user is told; `{said}` is botocore's own sentence, `{profile}` how a profile that is meant is named."""

    error: type[CorralError]
    sentence: str
    hint: str


CAUSES = {
    NO_CREDENTIALS: Cause(
        AuthError,
        "No AWS credentials were found: not in the environment, ~/.aws, or a role of this machine.",
        "Log in (aws sso login, or aws configure), or name one of aws configure list-profiles: --profile",
    ),
    "PartialCredentials": Cause(
        AuthError,
        "The AWS credentials are incomplete: {said}.",
        "Give both parts, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile's: aws configure",
    ),
    "CredentialsNotGiven": Cause(
        AuthError,
        "What should give the AWS credentials did not: {said}.",
        "Try it alone, it asks the same way: aws sts get-caller-identity",
    ),
    "SsoLoginExpired": Cause(
        AuthError, "The AWS SSO login cannot be used: {said}.", "Log in again: aws sso login{profile}"
    ),
    "LoginExpired": Cause(
        AuthError, "The AWS login cannot be used: {said}.", "Log in again: aws login{profile}"
    ),
    MFA: Cause(
        AuthError,
        "The AWS profile asks for an MFA code, and there is no terminal to ask at: {said}.",
        'Take a session first: eval "$(aws configure export-credentials --format env)"',
    ),
    "MissingDependency": Cause(
        HostError,
        "boto3 lacks a part that these AWS credentials need: {said}.",
        "Install it beside corral: pip install 'boto3[crt]'",
    ),
    BAD_CONFIGURATION: Cause(
        AuthError,
        "The AWS configuration cannot be used: {said}.",
        "Check --profile, the AWS_ variables and ~/.aws/config: aws configure list",
    ),
    "NoEndpoint": Cause(
        UsageError,
        "There is no such place of AWS: {said}.",
        "Check --region, AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT.",
    ),
    BAD_CERTIFICATES: Cause(
        HostError,
        "This machine does not trust the certificate that answers for AWS: {said}.",
        "Where a proxy inspects TLS, name its authority: AWS_CA_BUNDLE=/etc/ssl/company.pem; else compare date -u "
        "with the true time.",
    ),
    BAD_PROXY: Cause(
        HostError,
        "The proxy on the way to AWS cannot be used: {said}.",
        "Check HTTPS_PROXY and NO_PROXY: env | grep -i proxy",
    ),
    UNREACHABLE: Cause(
        CloudError,
        "AWS cannot be reached: {said}.",
        "Check this machine's network, its proxy and AWS_ENDPOINT_URL, then run the same command again.",
    ),
    NOT_AWS: Cause(
        CloudError,
        "What answers is not AWS: {said}.",
        "A proxy or a login page may stand between: check HTTPS_PROXY and AWS_ENDPOINT_URL.",
    ),
    BROKEN: Cause(
        HostError,
        "boto3 on this machine does not know how to ask this: {said}.",
        "Renew it: pip install --upgrade boto3 botocore",
    ),
}

# A class is meant by its nearest ancestor that is named here. botocore 1.44's exceptions.py.
CLASSES = {
    NO_CREDENTIALS: ("NoCredentialsError", "UnknownCredentialError", "NoAuthTokenError"),
    "PartialCredentials": ("PartialCredentialsError",),
    "CredentialsNotGiven": (
        "CredentialRetrievalError",
        "MetadataRetrievalError",
        "TokenRetrievalError",
        "UnknownTokenProviderError",
    ),
    "SsoLoginExpired": ("SSOError",),
    "LoginExpired": ("LoginError",),
    MFA: ("RefreshWithMFAUnsupportedError",),
    "MissingDependency": ("MissingDependencyException", "MD5UnavailableError"),
    BAD_CONFIGURATION: (
        "ProfileNotFound",
        "ConfigNotFound",
        "ConfigParseError",
        "InvalidConfigError",
        "InvalidChecksumConfigError",
        "InvalidDefaultsMode",
        "InvalidEndpointDiscoveryConfigurationError",
        "InvalidIMDSEndpointError",
        "InvalidIMDSEndpointModeError",
        "InvalidRetryConfigurationError",
        "InvalidS3AddressingStyleError",
        "InvalidS3UsEast1RegionalEndpointConfigError",
        "InvalidSTSRegionalEndpointsConfigError",
        "UnsupportedS3AccesspointConfigurationError",
        "UnsupportedS3ConfigurationError",
        "UnsupportedS3ControlConfigurationError",
        "UnsupportedSignatureVersionError",
        "UnknownSignatureVersionError",
    ),
    "NoEndpoint": (
        "BaseEndpointResolverError",
        "EndpointProviderError",
        "InvalidEndpointConfigurationError",
        "InvalidHostLabelError",
        "InvalidRegionError",
        "ServiceNotInRegionError",
        "UnknownRegionError",
    ),
    BAD_CERTIFICATES: ("SSLError",),
    BAD_PROXY: ("ProxyConnectionError", "InvalidProxiesConfigError"),
    UNREACHABLE: ("ConnectionError",),
    LOST: (
        "HTTPClientError",
        "IncompleteReadError",
        "ChecksumError",
        "FlexibleChecksumError",
        "AwsChunkedWrapperError",
    ),
    INVALID: (
        "AliasConflictParameterError",
        "InvalidDNSNameError",
        "MissingParametersError",
        "ParamValidationError",
        "UnsupportedOutpostResourceError",
        "UnsupportedS3ArnError",
        "UnsupportedS3ControlArnError",
        "ValidationError",
    ),
    NOT_AWS: ("ResponseParserError",),
}
BY_CLASS = {name: code for code, names in CLASSES.items() for name in names}


def code_of(error: Exception) -> str:
    """The code of ours for an error that boto3 raised without an answer of AWS's."""
    named = (BY_CLASS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in BY_CLASS)
    code = next(named, BROKEN)
    # botocore's HTTP client hides what it does not know: an address of a proxy that is none, before anything was sent.
    is_no_address = isinstance(getattr(error, "kwargs", {}).get("error"), ValueError)
    return BAD_PROXY if code == LOST and is_no_address else code


def error_of(error: Exception) -> CorralError:
    """The error a user sees for one that boto3 raised before anything was asked of AWS."""
    code = code_of(error)
    return said_of(code if code in CAUSES else UNREACHABLE, str(error))


def told(code: str, words: str) -> CorralError | None:
    """The error a user sees for a code of ours; None for one of AWS's."""
    return said_of(code, words) if code in CAUSES else None


def said_of(code: str, words: str) -> CorralError:
    """The error of one of the causes."""
    cause = CAUSES[code]
    profile = f" --profile {pasted(named())}" if named() else ""
    return cause.error(
        cause.sentence.format(said=" ".join(words.split()).rstrip(".")),
        cause.hint.replace("{profile}", profile),
    )
