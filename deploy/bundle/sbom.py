"""The bundle's bill of materials, as CycloneDX 1.6 has it: the engine's packages, corral's wheels, and what is served.

It has no time and no serial number of its own, so that equal inputs make it equal to the byte. A package is what its
environment says it is: of a wheel that is in the bundle there is a checksum, of an installed one there is none. Weights
are their files, each with its checksum; a repository and a commit are named where these are the files of it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.bundle.manifest import ADAPTERS, DRAFT, ENGINE, MODEL, WHEELS
from deploy.bundle.sources import Sources, model_files
from deploy.targets import licence
from infra.errors import DocumentError
from infra.fetch.checksums import Manifest
from infra.fetch.discrepancies import LICENCE
from serving.model import checkpoint_files, fetching
from serving.vllm.pack import python_of

Component = dict[str, Any]


def text(sources: Sources, wheels: Path, sums: Mapping[str, str]) -> str:
    """The document; `sums` are those of the files of weights, by their names in the bundle."""
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
        "components": [*served(sources, sums), *packages(sources.prefix), *wheel_files(wheels)],
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


def served(sources: Sources, sums: Mapping[str, str]) -> Iterator[Component]:
    """The model, and what is loaded beside it."""
    serve, files = sources.plan.serve, model_files(sources.model)
    model = weights(MODEL, sources.model, called(serve.model, sources.model), sums)
    yield model | licensed(MODEL, sources.model, files)
    if sources.draft:
        draft = weights(DRAFT, sources.draft, called(serve.draft or "", sources.draft), sums)
        yield draft | licensed(DRAFT, sources.draft, checkpoint_files.draft_files(sources.draft))
    for name, folder in sources.adapters.items():
        yield weights(f"{ADAPTERS}/{name}", folder, name, sums)


def called(said: str, folder: Path) -> str:
    """What weights are called that nobody vouches for: as their folder, which in the Hub's cache is a commit."""
    return said if folder.parent.name == "snapshots" else folder.name


def weights(where: str, folder: Path, name: str, sums: Mapping[str, str]) -> Component:
    """Weights by their files; of a repository at a commit where corral's own manifest in the folder says these are."""
    files = {path.removeprefix(f"{where}/"): sums[path] for path in sums if path.startswith(f"{where}/")}
    origin = origin_of(folder)
    listed = [
        {
            "type": "file",
            "bom-ref": f"{where}/{file}",
            "name": file,
            "hashes": [{"alg": "SHA-256", "content": summed}],
        }
        for file, summed in files.items()
    ]
    of_repository: Component = {}
    if origin and is_of(origin, files):
        name = origin.repository
        purl = f"pkg:huggingface/{quote(name)}@{origin.commit}"
        of_repository = {"version": origin.commit, "purl": purl}
    return component("machine-learning-model", where, name, where) | of_repository | {"components": listed}


def origin_of(folder: Path) -> Manifest | None:
    """What corral noted of a folder; nothing is told by a manifest that was changed."""
    try:
        return fetching.origin(folder)
    except DocumentError:
        return None


def is_of(origin: Manifest, files: Mapping[str, str]) -> bool:
    """Whether files are those of a repository's commit, as the Hub listed it; a licence may be put beside them."""
    own = origin.files
    others = {name for name, summed in files.items() if name not in own or own[name].sha256 != summed}
    return bool(origin.commit) and origin.others is not None and others <= {LICENCE} - own.keys()


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
