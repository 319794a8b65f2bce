"""What AWS can answer instead of a result, and what each code means to us: the one table of translation."""

import re
from functools import cache
from typing import Literal

from infra.aws import unsent
from infra.aws.request import Request
from infra.aws.unsent import LOST, NOT_AWS, UNREACHABLE
from infra.errors import AuthError, CapacityError, CloudError, CorralError

Kind = Literal[
    "local",
    "capacity",
    "quota",
    "auth",
    "throttle",
    "server",
    "lost",
    "eventual",
    "input",
    "exists",
    "gone",
    "in use",
    "other",
]


class ApiFailure(Exception):
    """AWS answered with an error code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class LostResponse(Exception):
    """No answer came: the call may have been carried out or not."""


class Refused(Exception):
    """A call that came to nothing after all retries. Becomes a CorralError at the edge, by `translated`."""

    def __init__(self, request: Request, code: str, message: str) -> None:
        super().__init__(f"{request.operation}: {code}: {message}")
        self.request = request
        self.code = code
        self.message = message

    @property
    def kind(self) -> Kind:
        """What the code means to us."""
        return kind_of(self.code)


NOT_SPREAD = "NotYetSpread"

# The codes of each kind; a name that ends in * stands for all that begin so.
# capacity: the fast-failover set of aws-parallelcluster-node PR #673; the rest: EC2 API error codes.
CODES: dict[Kind, tuple[str, ...]] = {
    "local": tuple(code for code in unsent.CAUSES if code not in (UNREACHABLE, NOT_AWS)),
    "capacity": (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "ReservationCapacityExceeded",
        "Unsupported",
    ),
    "quota": (
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "VolumeLimitExceeded",
        "MaxIOPSLimitExceeded",
        "SecurityGroupLimitExceeded",
        "PlacementGroupLimitExceeded",
        "ServiceQuotaExceeded*",
    ),
    "auth": (
        "UnauthorizedOperation",
        "AccessDenied*",
        "UnauthorizedAccess",
        "AuthFailure*",
        "OptInRequired",
        "PendingVerification",
        "ExpiredToken*",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "Blocked",
    ),
    "throttle": ("RequestLimitExceeded", "Throttling*", "TooManyRequests*", "EC2ThrottledException"),
    "server": (
        "ServiceUnavailable*",
        "InternalError",
        "InternalFailure",
        "InternalServer*",
        "ServerInternal",
        "ServiceFailure*",
        "Unavailable",
        UNREACHABLE,
        NOT_AWS,
        "500",
        "502",
        "503",
        "504",
    ),
    "lost": (LOST,),
    "eventual": ("InvalidInstanceID.NotFound", "InvalidGroup.NotFound", NOT_SPREAD),
    "exists": (
        "InvalidGroup.Duplicate",
        "InvalidPermission.Duplicate",
        "InvalidPlacementGroup.Duplicate",
        "EntityAlreadyExists*",
        "ConflictException",
    ),
    "gone": (
        "NoSuchEntity*",
        "NotFoundException",
        "ResourceNotFoundException",
        "ParameterNotFound",
        "*.NotFound",
        "*.Unknown",
    ),
    "in use": ("DependencyViolation", "DeleteConflict*", "VolumeInUse", "StillInUse", "*.InUse"),
    "input": (
        "Invalid*",
        "MissingParameter",
        "ValidationError",
        "ValidationException",
        "MalformedPolicyDocument*",
        "IdempotentParameterMismatch",
        "OperationNotPermitted",
    ),
}


# AWS uses general codes for some things; only the words tell them apart.
WORDS = {
    "invalid iam instance profile": NOT_SPREAD,
    "iaminstanceprofile": NOT_SPREAD,
    "scheduler to assume the role": NOT_SPREAD,
    "currently in use": "StillInUse",
}


def plain_code(failure: ApiFailure) -> str:
    """The code, made unambiguous where AWS uses one code for several things."""
    if failure.code not in ("InvalidParameterValue", "ValidationException"):
        return failure.code
    words = failure.message.lower()
    return next((code for part, code in WORDS.items() if part in words), failure.code)


@cache
def kind_of(code: str) -> Kind:
    """What a code means to us; the first kind of the table that knows it."""
    for kind, patterns in CODES.items():
        if any(matches(code, pattern) for pattern in patterns):
            return kind
    return "other"


def matches(code: str, pattern: str) -> bool:
    """Whether a code is meant by a pattern with one * at its begin or end."""
    if pattern.endswith("*"):
        return code.startswith(pattern[:-1])
    return code.endswith(pattern[1:]) if pattern.startswith("*") else code == pattern


def translated(refused: Refused) -> CorralError:
    """The error a user sees: AWS's own code and words, and the next step."""
    request, code = refused.request, refused.code
    if error_here := unsent.told(code, refused.message or request.operation):
        return error_here
    said = f"{request.service}:{request.operation} in {request.region}: {code}"
    words = f"{said}: {plain_words(refused.message)}." if refused.message else f"{said}."
    error, hint = TRANSLATIONS.get(refused.kind, (CloudError, "Look the code up in the EC2 API error codes."))
    hint = next((better for part, better in HINTS.items() if part in code), hint)
    if refused.kind == "auth" and request.action in BOUNDED:
        hint = BOUNDED_HINT
    return error(
        f"AWS {SAYS.get(refused.kind, 'refused')}: {words}",
        hint.format(action=request.action, region=request.region),
    )


def plain_words(message: str) -> str:
    """AWS's words without the blob that only AWS can read."""
    return re.sub(r"\s*Encoded authorization failure message: \S+", "", message).strip().rstrip(".")


# What many accounts allow only within a permissions boundary, or not at all.
BOUNDED = ("iam:CreateRole", "iam:PutRolePolicy")
BOUNDED_HINT = (
    "Name the boundary that your administrator set (--permissions-boundary, by its ARN), or roles of your own "
    "(--instance-profile, --scheduler-role); what either needs: corral iam-policy --help"
)

# Codes with a remedy of their own; the first that is part of the code.
HINTS = {
    "ExpiredToken": "Log in again (aws sso login), then run the same command again: what was begun is kept track of.",
    "RequestExpired": "This machine's clock is probably wrong: compare date -u with the true time, and set it.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: compare date -u with the true time, and set it.",
    "Signature": "The secret key is wrong, or this machine's clock: aws sts get-caller-identity; date -u",
    "ServiceLinkedRoleCreation": "Once for the account: aws iam create-service-linked-role --aws-service-name "
    "spot.amazonaws.com",
    "AuthFailure": "The keys are wrong, or {region} is not enabled for the account: aws account list-regions",
    "OptInRequired": "Subscribe the account to the service, or have its region enabled.",
}

SAYS: dict[Kind, str] = {
    "capacity": "has no capacity",
    "quota": "holds to a quota",
    "auth": "does not accept these credentials for this",
    "throttle": "throttled the call until we gave up",
    "server": "failed on its side until we gave up",
    "lost": "did not answer",
}

TRANSLATIONS: dict[Kind, tuple[type[CorralError], str]] = {
    "capacity": (
        CapacityError,
        "Allow more: --region, --zone, --instance-type or --purchase, each repeatable.",
    ),
    "quota": (
        CapacityError,
        "Ask for more: https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
    ),
    "auth": (
        AuthError,
        "Check who you are and that {action} is allowed: aws sts get-caller-identity; corral iam-policy",
    ),
    "throttle": (CloudError, "Try again in some minutes; whatever was begun is kept track of."),
    "server": (CloudError, "Try again; see https://health.aws.amazon.com for the region."),
    "lost": (CloudError, "Check the network, then run the same command again: nothing is made twice."),
    "eventual": (CloudError, "Try again in a minute: AWS had not yet spread what was just made."),
    "input": (
        CloudError,
        "The parameter AWS names is the one to change; corral provision --dry-run shows them all.",
    ),
    "in use": (CloudError, "Something else still uses it; remove that first."),
}
