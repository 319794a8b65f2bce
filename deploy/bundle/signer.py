"""Who signed a bundle: its manifest, that is, which has the checksum of everything else."""

import os
import stat
from pathlib import Path

from deploy.bundle.manifest import NAMESPACE, SIGNATURE, Opened
from infra import signature
from infra.argument import pasted
from infra.beneath import Beneath
from infra.errors import DocumentError
from infra.signed import Signers

ANYBODY = Signers()
UNSIGNED = "unsigned: its checksum shows damage to it, not who made it"
UNCHECKED = "signed, not checked by whom: --allowed-signers signers --identity ops@bank"


def signer(folder: Path, opened: Opened, signers: Signers) -> str:
    """What is known of who signed it.

    Raises DocumentError for one that is not signed by who must have, HostError where ssh-keygen cannot be asked.
    """
    is_signed = os.path.lexists(folder / SIGNATURE)
    if is_signed:
        check_file(folder)
    if not signers.allowed_signers or not signers.identity:
        return UNCHECKED if is_signed else UNSIGNED
    if not is_signed:
        raise DocumentError(
            f"The bundle in {folder} is not signed: it has no {SIGNATURE}.",
            f"Ask for that file too, or make a signed one: corral bundle create plan.json -o {pasted(folder)} "
            "--sign-key ~/.ssh/id_ed25519",
        )
    return signature.verified(
        opened.text, folder / SIGNATURE, signers.allowed_signers, signers.identity, NAMESPACE
    )


def check_file(folder: Path) -> None:
    """Raise DocumentError for a signature that is a link or a special file."""
    with Beneath(folder) as below:
        if not stat.S_ISREG(below.status(SIGNATURE).st_mode):
            raise DocumentError(
                f"{folder / SIGNATURE} is not a file but a link or a special file.",
                "Copy the bundle again from where it is whole.",
            )
