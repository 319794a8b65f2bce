"""The bundle's bill of materials, as CycloneDX 1.6 has it: the engine's packages, corral's wheels, and what is served.

It has no time and no serial number of its own, so that equal inputs make it equal to the byte. A package is what its
environment says it is: of a wheel that is in the bundle there is a checksum, of an installed one there is none.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.bundle.manifest import ADAPTERS, DRAFT, ENGINE, MODEL, WHEELS
from deploy.bundle.sources import Sources, model_files
from deploy.targets import licence
from serving.model import checkpoint_files
from serving.vllm.pack import python_of

Component = dict[str, Any]


def text(sources: Sources, wheels: Path) -> str:
    """The document."""
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "corral", "version": version_of("corral")}]
            },
            "component": {"type": "application", "bom-ref": "bundle", "name": sources.name},
        },
        "components": [*served(sources), *packages(sources.prefix), *wheel_files(wheels)],
    }
    return json.dumps(document, indent=2) + "\n"


def packages(prefix: Path) -> Iterator[Component]:
    """The engine's, by the folders of their metadata."""
    folder = prefix / "lib" / f"python{python_of(prefix)}" / "site-packages"
    for path in sorted(folder.glob("*-*.dist-info")):
        name, version = path.name.removesuffix(".dist-info").split("-")[:2]
        yield package(name, version, ENGINE)


def wheel_files(folder: Path) -> Iterator[Component]:
    """Corral's own and what it depends on."""
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        where = f"{WHEELS}/{path.name}"
        yield package(name, version, where) | {"hashes": [{"alg": "SHA-256", "content": sha256}]}


def package(name: str, version: str, where: str) -> Component:
    """One of Python, by its name as indexes have it."""
    name = re.sub("[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{name}@{quote(version, safe='')}"
    return component("library", f"{where}#{purl}", name, where) | {"version": version, "purl": purl}


def served(sources: Sources) -> Iterator[Component]:
    """The model, and what is loaded beside it; a commit is the plan's, a folder has none."""
    serve = sources.plan.serve
    yield weights(MODEL, serve.model, serve.revision) | licensed(
        MODEL, sources.model, model_files(sources.model)
    )
    if sources.draft:
        files = checkpoint_files.draft_files(sources.draft)
        yield weights(DRAFT, serve.draft or "", serve.draft_revision) | licensed(DRAFT, sources.draft, files)
    for name in sources.adapters:
        yield component("machine-learning-model", f"{ADAPTERS}/{name}", name, f"{ADAPTERS}/{name}")


def weights(where: str, said: str, commit: str | None) -> Component:
    """Weights by the name of their repository, or of their folder: where that lies is of this machine alone."""
    name = Path(said).name if Path(said).is_absolute() else said
    found = component("machine-learning-model", where, name, where)
    return found | {"version": commit, "purl": f"pkg:huggingface/{quote(said)}@{commit}"} if commit else found


def licensed(where: str, folder: Path, files: tuple[Path, ...]) -> Component:
    """The licence: by its name where corral knows the text, else by the file that has it; empty where none is there."""
    known = licence.in_folder(folder)
    texts = [f"{where}/{path.name}" for path in files if checkpoint_files.is_licence(path.name)]
    names = [known] if known else texts
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def component(kind: str, ref: str, name: str, where: str) -> Component:
    """One part, and which file or folder of the bundle it lies in."""
    return {
        "type": kind,
        "bom-ref": ref,
        "name": name,
        "properties": [{"name": "corral:path", "value": where}],
    }
