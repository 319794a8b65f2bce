"""PURE: the least IAM policy for a person who rents with corral: what the calls need, on corral's own resources."""

from infra.aws.order import TAG
from infra.aws.policy import PolicyDocument, allow, document

# None of these can be narrowed to a resource; all only read.
READS = [
    "ec2:DescribeAddresses",
    "ec2:DescribeCapacityBlockOfferings",
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeRegions",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVolumes",
    "iam:SimulatePrincipalPolicy",
    "pricing:GetProducts",
    "scheduler:ListScheduleGroups",
    "service-quotas:GetServiceQuota",
    "service-quotas:ListServiceQuotas",
    "sts:GetCallerIdentity",
]
CREATES = [
    "ec2:CreatePlacementGroup",
    "ec2:CreateSecurityGroup",
    "ec2:PurchaseCapacityBlock",
    "ec2:RunInstances",
]
# Only on what carries corral's tag.
ON_OURS = [
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CancelCapacityReservation",
    "ec2:CancelSpotInstanceRequests",
    "ec2:DeleteKeyPair",
    "ec2:DeleteLaunchTemplate",
    "ec2:DeleteNetworkInterface",
    "ec2:DeletePlacementGroup",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
    "ec2:GetConsoleOutput",
    "ec2:ReleaseAddress",
    "ec2:TerminateInstances",
    "ssm:StartSession",
]
ROLES = [
    "iam:AddRoleToInstanceProfile",
    "iam:CreateInstanceProfile",
    "iam:CreateRole",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetInstanceProfile",
    "iam:GetRole",
    "iam:PutRolePolicy",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:TagInstanceProfile",
    "iam:TagRole",
]
SCHEDULES = [
    "scheduler:CreateSchedule",
    "scheduler:CreateScheduleGroup",
    "scheduler:DeleteSchedule",
    "scheduler:DeleteScheduleGroup",
    "scheduler:ListTagsForResource",
    "scheduler:TagResource",
    "scheduler:UpdateSchedule",
]
CREATING_CALLS = [action.removeprefix("ec2:") for action in CREATES]


def policy() -> PolicyDocument:
    """The policy; `corral iam-policy` prints it. A test holds it against the calls that are made."""
    return document(
        allow(READS, "*"),
        allow(["ssm:GetParameter"], "arn:aws:ssm:*::parameter/aws/service/deeplearning/*"),
        allow(CREATES, "*"),
        allow(["ec2:CreateTags"], "*")
        | {"Condition": {"StringEquals": {"ec2:CreateAction": CREATING_CALLS}}},
        allow(["ec2:CreateTags", *ON_OURS], "*")
        | {"Condition": {"StringLike": {f"aws:ResourceTag/{TAG}": "*"}}},
        allow(["ssm:StartSession"], "arn:aws:ssm:*::document/AWS-Start*"),
        # By the tag Session Manager gives each session: the name of one user may begin with that of another.
        allow(["ssm:TerminateSession"], "arn:aws:ssm:*:*:session/*")
        | {"Condition": {"StringEquals": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}}},
        allow(ROLES, ["arn:aws:iam::*:role/corral-*", "arn:aws:iam::*:instance-profile/corral-*"]),
        allow(["iam:PassRole"], "arn:aws:iam::*:role/corral-*")
        | {
            "Condition": {
                "StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "scheduler.amazonaws.com"]}
            }
        },
        allow(
            SCHEDULES,
            ["arn:aws:scheduler:*:*:schedule-group/corral-*", "arn:aws:scheduler:*:*:schedule/corral-*/*"],
        ),
        allow(["iam:CreateServiceLinkedRole"], "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*"),
    )
