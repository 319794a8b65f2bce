"""KMS of one region of the fake account: what EBS is told to encrypt with."""

from typing import Any

from infra.aws.failures import ApiFailure

ACCOUNT = "123456789012"
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


class FakeKms:
    """Keys and their aliases."""

    def __init__(self, region: str) -> None:
        self.base = f"arn:aws:kms:{region}:{ACCOUNT}"
        self.keys: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}

    def have(self, key: str = KEY, alias: str = "alias/llm", **changes: str) -> str:
        """Let the user have a key; its ARN."""
        like = {"KeyState": "Enabled", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"}
        self.keys[key] = {"KeyId": key, "Arn": f"{self.base}:key/{key}", **like, **changes}
        self.aliases[alias] = key
        return f"{self.base}:key/{key}"

    def describe_key(self, KeyId: str) -> dict[str, Any]:  # noqa: N803
        name = KeyId
        if name.startswith("arn:"):
            if not name.startswith(f"{self.base}:"):
                raise ApiFailure("NotFoundException", f"Invalid arn {name.split(':')[3]}")
            name = name.removeprefix(f"{self.base}:").removeprefix("key/")
        if name.startswith("alias/"):
            if name not in self.aliases:
                raise ApiFailure("NotFoundException", f"Alias {self.base}:{name} is not found.")
            name = self.aliases[name]
        if name not in self.keys:
            raise ApiFailure("NotFoundException", f"Key '{self.base}:key/{name}' does not exist")
        return {"KeyMetadata": self.keys[name]}

    def encrypts(self, key_id: str) -> bool:
        """Whether EBS can use it: there, enabled, symmetric."""
        try:
            found = self.describe_key(key_id)["KeyMetadata"]
        except ApiFailure:
            return False
        return (found["KeyState"], found["KeySpec"]) == ("Enabled", "SYMMETRIC_DEFAULT")
