"""EC2: what to ask for (pure), the boto3 door, preflight and teardown."""
