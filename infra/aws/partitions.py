"""PURE: AWS's partitions: separate clouds with accounts, names (ARNs) and an IAM of their own."""

# Region prefix -> partition (botocore 1.44's endpoints.json).
PREFIXES = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "eusc-": "aws-eusc",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
}
# Where each partition's IAM answers.
IAM_REGIONS = {
    "aws": "us-east-1",
    "aws-cn": "cn-north-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-eusc": "eusc-de-east-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-iso-f": "us-isof-south-1",
    "aws-iso-e": "eu-isoe-west-1",
}


def partition_of(region: str) -> str:
    """The partition a region lies in."""
    return next((name for prefix, name in PREFIXES.items() if region.startswith(prefix)), "aws")


def iam_region(region: str) -> str:
    """Where IAM is asked by an account that uses a region."""
    return IAM_REGIONS[partition_of(region)]
