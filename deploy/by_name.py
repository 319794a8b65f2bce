"""A word that may be a deployment's name or a file here: which is meant, and the plan of either."""

import os
from pathlib import Path

from deploy.costs.measured_load import read_measured
from deploy.costs.operating_point import Promised
from deploy.newest import newest
from deploy.targets.abilities import Replicated
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, load, names
from infra.errors import DocumentError
from infra.near import is_called_json
from infra.printable import sentence
from infra.say import progress
from serving.model.models import models
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan


def is_named(word: str) -> bool:
    """Whether a deployment is called so, which is then meant; told where something else here is called so, too."""
    is_one = word in names()
    if is_one and os.path.lexists(word):
        progress(sentence(f"{word} is the deployment of that name; what lies here is called ./{word}"))
    return is_one


def is_file(word: str) -> bool:
    """Whether a word means a file where no deployment is called so: it has a path or an ending, or there is one."""
    return "/" in word or is_called_json(word) or os.path.isfile(word)


def plan_of(word: str) -> tuple[Plan, Path | None]:
    """The plan of a deployment, or of a file and the folder it lies in. Raises DocumentError where there is neither."""
    if is_named(word) or not is_file(word):
        return load(word).plan, None
    return Plan.read(Path(word)), Path(word).parent


def plan_of_deployment(word: str) -> Plan | None:
    """The plan of the deployment that is called so, which is told where a model is, too; None where none is."""
    if not is_named(word):
        return None
    if word in models():
        progress(f"{word} is the deployment of that name; the model has a machine: --on g5.12xlarge")
    return load(word).plan


def machines_of(deployment: Deployment) -> int:
    """How many equal machines it has, each with a server of its own; asks nobody."""
    place = place_of(deployment)
    return place.count(deployment) if isinstance(place, Replicated) else 1


def newest_results(word: str) -> Path:
    """The folder of the newest probe of the deployment that is called so, else the path itself."""
    if not is_named(word):
        return Path(word)
    if (found := newest("probes", word)) is None:
        raise unprobed(word)
    return found


def unprobed(name: str) -> DocumentError:
    """What to say of a deployment that was not probed by its name."""
    return DocumentError(f"{name} was not probed by its name.", f"Probe it: corral probe {name}")


def newest_probe(name: str, is_needed: bool = True) -> ProbeReport | None:
    """Its newest probe, or the best step of a sweep. Raises DocumentError where there is none and one is needed."""
    if (found := newest("probes", name)) is None:
        if not is_needed:
            return None
        raise unprobed(name)
    return read_measured(found, Promised(), allow_invalid=True).probe


def newest_comparison(name: str) -> Path:
    """The folder of its newest comparison. Raises DocumentError where its newest probe was not compared."""
    if (found := newest("comparisons", name)) is None:
        raise DocumentError(f"{name} was not compared by its name.", f"Compare it: corral compare {name}")
    return found
