"""The weights of a deployment read byte by byte where they lie: here, on hosts over SSH, on rented machines."""

import os

from deploy.by_name import is_named
from deploy.targets import deployment as deployments
from deploy.targets.abilities import PreparesToServe, VerifiedFolder, VerifiesWeights
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from deploy.targets.table import PLACES
from infra.errors import DocumentError, UsageError
from infra.record import Record

GIB = 2**30


class VerifiedDeployment(Record):
    """What the weights of a deployment were found to be, folder by folder."""

    name: str
    """The deployment's."""
    folders: tuple[VerifiedFolder, ...]
    """Of the weights, a draft and each adapter, on each machine."""


def is_deployment(word: str) -> bool:
    """Whether a deployment is called so, and no folder is meant. Raises DocumentError for a name that nothing has."""
    if is_named(word):
        return True
    if "/" in word or os.path.isdir(word):
        return False
    known = deployments.names()
    raise DocumentError(
        f"Neither a deployment nor a folder here is called {word!r}.",
        f"Deployments known here: {', '.join(known)}." if known else "Look what lies here: ls -l",
    )


def verify_deployment(deployment: Deployment) -> VerifiedDeployment:
    """Read every byte. Raises UsageError for a place that cannot.

    Of weights of one's own, in a folder or in S3, the sums are those that were noted when they were first started.
    """
    place = place_of(deployment)
    if not isinstance(place, VerifiesWeights):
        raise UsageError(
            f"The weights of {deployment.name} cannot be read where they lie: {place.where(deployment)}.", ""
        )
    return VerifiedDeployment(name=deployment.name, folders=place.verified(deployment))


def error_of(found: VerifiedDeployment) -> DocumentError | None:
    """The error for weights that are wrong, or a model that nothing vouches for; None where all are right."""
    if problems := sum(len(folder.problems) for folder in found.folders):
        return DocumentError(
            f"{found.name} must not be started with these weights: {problems} problem(s).",
            how_anew(found.name),
        )
    models = [folder for folder in found.folders if folder.is_model]
    if models and all(folder.by for folder in models):
        return None
    return DocumentError(
        f"Nothing says what the weights of {found.name} should be: they were not fetched from the Hub, and no sums are "
        "noted.",
        "Weights of your own that are brought to a host or a rented machine are summed up at their first start there, "
        "and held to that later; those of this machine, and those that a plan names by a path of the host's, are not.",
    )


def how_anew(name: str) -> str:
    """How what is right comes in place of weights that are wrong."""
    deployment = deployments.load(name)
    if PLACES[deployment.target].rents:
        return f"Take it away and bring it up anew: corral down {name}"
    if isinstance(place_of(deployment), PreparesToServe):
        return (
            "What lies in the Hub's cache comes again with the next start, a folder of your own is to be fetched into "
            f"again (--to): corral stop {name}; corral serve {name}"
        )
    return (
        "Stop it, then run the command that made it again, provision or up: what is of the Hub is fetched again, a "
        f"folder of your own brought as it lies here: corral stop {name}"
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
