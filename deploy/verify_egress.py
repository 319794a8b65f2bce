"""`corral egress verify`: a report held against itself, its signature, and what should have served."""

import hashlib
import os
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from deploy.bundle import named
from deploy.targets.abilities import KnowsWhatServes
from deploy.targets.choose import place_of
from deploy.targets.deployment import load
from infra import signature
from infra.argument import pasted
from infra.asked import Flag
from infra.columns import table
from infra.egress_checks import Expected, Finding, Verified, digests, verdict_of
from infra.egress_proof import NAMESPACE, Egress
from infra.errors import DocumentError, UsageError
from infra.record import read_text
from infra.say import progress
from infra.signed import Signers


class VerifyOptions(Signers):
    """What a report is held against."""

    heading: ClassVar[str] = "What it must hold up to"

    bundle: Annotated[Path | None, Flag(metavar="FOLDER")] = None
    """A bundle, whose engine and weights must have served."""
    deployment: Annotated[str | None, Flag(metavar="NAME")] = None
    """A deployment known here, whose rules, and engine and weights as brought from here, must have served."""
    html: Annotated[Path | None, Flag(metavar="FILE")] = None
    """Write what was found as a page, for a reader without corral."""


class Checked(NamedTuple):
    """A report, and what was found of it."""

    report: Egress
    verified: Verified


def verify(path: Path, asked: VerifyOptions) -> Checked:
    """Check all that was asked for.

    Raises DocumentError for a file that is no report as it was made, or not signed by who must have; UsageError for a
    signed one where nobody says whose signature counts, for a deployment of another name, where neither engine nor
    weights are known here, and for a page that would change what is read.
    """
    check_page(path, asked)
    text = read_text(path, Egress.kind)
    report = Egress.parse(text, str(path))
    signed = signed_by(path, text, report, asked)
    verified = Verified(
        name=report.name,
        made_at=report.made_at,
        verdict=report.verdict,
        file_sha256=hashlib.sha256(text.encode()).hexdigest(),
        signer=asked.identity or "",
        findings=(verdict_of(report), signed, *digests(report, tuple(should_have_served(report, asked)))),
    )
    return Checked(report, verified)


def check_page(path: Path, asked: VerifyOptions) -> None:
    """Raise UsageError where the page would change the report or what it is held against."""
    if asked.html:
        read = filter(None, (path, signature.beside(path), asked.allowed_signers, asked.bundle))
        page = Path(os.path.realpath(asked.html))
        if {page, *page.parents} & {Path(os.path.realpath(each)) for each in read}:
            raise UsageError(
                f"The page would change what is verified: {asked.html}.",
                "Name another file: --html egress.html",
            )


def signed_by(path: Path, text: str, report: Egress, asked: VerifyOptions) -> Finding:
    """Whose signature lies beside the report. Raises as `verify` does."""
    beside = signature.beside(path)
    if asked.allowed_signers and asked.identity:
        if not beside.exists():
            raise DocumentError(
                f"{path} is not signed: there is no {beside}.",
                f"Ask for that file too, or make a signed one: corral egress {report.name} -o {pasted(path)} "
                "--sign-key ~/.ssh/id_ed25519",
            )
        said = signature.verified(
            text.encode(), beside, asked.allowed_signers, asked.identity, NAMESPACE, report.made_at
        )
        return Finding(what="signature", holds=True, said=said)
    if beside.exists():
        raise UsageError(
            f"{path} is signed, and nobody says whose signature counts.",
            f"corral egress verify {pasted(path)} --allowed-signers signers --identity ops@bank",
        )
    return Finding(
        what="signature", holds=None, said="unsigned: its sha256 shows damage to it, not who wrote it"
    )


def should_have_served(report: Egress, asked: VerifyOptions) -> list[Expected]:
    """What engine, weights and rules are held against."""
    found = [named.expected(asked.bundle, progress)] if asked.bundle else []
    if asked.deployment:
        if asked.deployment != report.name:
            raise UsageError(
                f"The report is of {report.name}, not of {asked.deployment}.",
                f"Name its own: --deployment {pasted(report.name)}",
            )
        deployment = load(asked.deployment)
        place = place_of(deployment)
        if not isinstance(place, KnowsWhatServes):
            raise UsageError(
                f"What {report.name} should serve from is known of hosts over SSH; it is on {deployment.target}.",
                "Leave out --deployment.",
            )
        found.append(place.should_have_served(deployment))
    if found and not any(each.engine_sha256 or each.model for each in found):
        raise UsageError(
            f"Neither the engine nor the weights of {report.name} are known here: neither was brought from here.",
            "Leave out --deployment, or hold the report against the bundle that was served: --bundle bundle",
        )
    return found


HELD = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}


def verified_text(path: Path, checked: Checked) -> str:
    """What a person is told: the sum that the report holds, and that of the file that holds it."""
    report, verified = checked
    rows = [(finding.what, HELD[finding.holds], finding.said) for finding in verified.findings]
    head = f"{path}: {verified.name}, {verified.verdict}, {verified.made_at:%Y-%m-%d %H:%M:%S} UTC"
    sums = [
        ("sha256", HELD[True], f"{report.sha256} (as the report says of itself)"),
        ("file", "", f"{verified.file_sha256} (sha256sum {pasted(path)})"),
    ]
    return f"{head}\n{table([*sums, *rows])}"
