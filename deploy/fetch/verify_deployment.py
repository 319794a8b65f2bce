"""The weights of a deployment read byte by byte where they lie: here, on hosts over SSH, on rented machines."""

import os
from pathlib import Path

from deploy.targets import deployment as deployments
from deploy.targets.abilities import VerifiedFolder, VerifiesWeights
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from deploy.targets.table import PLACES
from infra.errors import DocumentError, UsageError
from infra.record import Record

GIB = 2**30


class VerifiedDeployment(Record):
    """What the weights of a deployment were found to be, folder by folder."""

    name: str
    folders: tuple[VerifiedFolder, ...]


def is_deployment(named: Path) -> bool:
    """Whether a deployment is meant, and no folder that is here."""
    return not os.path.isdir(named) and str(named) in deployments.names()


def verify_deployment(deployment: Deployment) -> VerifiedDeployment:
    """Read every byte. Raises UsageError for a place that cannot, DocumentError where nothing says what they should be.

    Of weights of one's own, in a folder or in S3, the sums are those that were noted when they were first started.
    """
    place = place_of(deployment)
    if not isinstance(place, VerifiesWeights):
        raise UsageError(
            f"The weights of {deployment.name} cannot be read where they lie: {place.where(deployment)}.", ""
        )
    folders = place.verified(deployment)
    if not any(folder.by for folder in folders):
        raise DocumentError(
            f"Nothing says what the weights of {deployment.name} should be: they were not fetched from the Hub, and no "
            "sums are noted.",
            "Weights of your own are summed up at their first start on a host or a rented machine, and held to that "
            "later; on this machine they are not.",
        )
    return VerifiedDeployment(name=deployment.name, folders=folders)


def must_not_be_served(found: VerifiedDeployment) -> DocumentError | None:
    """The error for weights that are wrong; None where all are right."""
    problems = sum(len(folder.problems) for folder in found.folders)
    if not problems:
        return None
    target = deployments.load(found.name).target
    anew = f"corral provision plan.json --target {target} --name {found.name}"
    return DocumentError(
        f"{found.name} must not be started with these weights: {problems} problem(s).",
        f"Take it away and bring it up anew: corral down {found.name}"
        if PLACES[target].rents
        else f"What was fetched comes again when it is stopped and made ready: corral stop {found.name}; {anew}",
    )


def verified_deployment_text(found: VerifiedDeployment) -> str:
    """For a person: what is wrong, a line each, and of each folder that is right by which sums."""
    return "\n".join(line for folder in found.folders for line in lines(folder))


def lines(folder: VerifiedFolder) -> tuple[str, ...]:
    """Those of one folder."""
    if folder.problems:
        return tuple(f"{folder.at}: {problem}" for problem in folder.problems)
    if not folder.by:
        return (f"{folder.at}: nothing says what it should be",)
    size = f"{folder.files} files, {folder.bytes / GIB:.2f} GiB"
    return (f"{folder.at}: {size}, every checksum right by {folder.by} sums",)
