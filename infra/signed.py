"""PURE: what a user says of signatures: by which key one is made, and whose counts."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from infra.asked import Asked, Flag
from infra.errors import UsageError


class Signing(Asked):
    """The key that signs."""

    sign_key: Annotated[Path | None, Flag(metavar="FILE")] = None
    """Sign it with this key of SSH, through ssh-keygen: as FILE.sig beside it, a bundle as manifest.json.sig in it."""

    @model_validator(mode="after")
    def _with_a_key(self) -> Self:
        if self.sign_key and not self.sign_key.is_file():
            raise UsageError(
                f"There is no key at {self.sign_key}.", "Make one: ssh-keygen -t ed25519 -f signing-key"
            )
        return self


class Signers(Asked):
    """Whose signature counts."""

    heading: ClassVar[str] = "What it must hold up to"

    allowed_signers: Annotated[Path | None, Flag(metavar="FILE")] = None
    """Lines of a name and a public key of SSH: whose signature counts (ssh-keygen, ALLOWED SIGNERS)."""
    identity: Annotated[str | None, Flag(metavar="NAME")] = None
    """Who must have signed, by the name in that file."""

    @model_validator(mode="after")
    def _signed_by_somebody(self) -> Self:
        if (self.allowed_signers is None) != (self.identity is None):
            raise UsageError(
                "--allowed-signers and --identity go together: whose key, and who must have signed.",
                "For example: --allowed-signers signers --identity ops@bank",
            )
        return self
