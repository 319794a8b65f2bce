"""PURE: what the Hub says a repository holds at a commit, and which of its files a server reads."""

import json
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

from infra.errors import DocumentError
from infra.fetch.hub_answers import Source, lies

# What a server reads: no pickles, which may hold code, no second copy of the weights in another form. And licences,
# which want to be with the weights.
LICENCES = ("LICEN[CS]E*", "NOTICE*", "USE_POLICY*")
FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", *LICENCES)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill")
WEIGHTS = ".safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""What an adapter is; its repository may hold no checkpoint."""
LONGEST_NAME = 255
MOST_FILES = 20_000
MOST_NAMES_BYTES = 2 << 20
"""Of all names together: a manifest of them is to be read again (checksums.LARGEST_MANIFEST_BYTES)."""


class Wanted(NamedTuple):
    """A file of a repository."""

    name: str
    size: int
    sha256: str
    """Of a large file; empty where the Hub only tells git's name of it."""
    blob: str
    """git's own name of a small one."""

    @property
    def etag(self) -> str:
        """What the Hub's own cache calls it."""
        return self.sha256 or self.blob


def files_of(said: Any, source: Source) -> list[Wanted]:
    """The files of the Hub's answer. Raises EndpointError for one that cannot be true."""
    what = source.repository
    if not isinstance(said, dict) or not isinstance(said.get("siblings"), list):
        raise lies(what, "it lists no files")
    if said.get("sha") != source.commit:
        raise lies(what, f"it is asked for commit {source.commit}, and tells of another")
    if len(said["siblings"]) > MOST_FILES:
        raise lies(what, f"it lists more than {MOST_FILES:,} files")
    files = [file_of(row, what) for row in said["siblings"]]
    names = [file.name for file in files]
    if sum(len(name.encode(errors="replace")) for name in names) > MOST_NAMES_BYTES:
        raise lies(what, f"the names of its files have more than {MOST_NAMES_BYTES:,} bytes")
    check_names(names, what)
    return files


def file_of(row: Any, what: str) -> Wanted:
    """One file of the list."""
    if not isinstance(row, dict) or not isinstance(row.get("rfilename"), str):
        raise lies(what, "it lists a file without a name")
    name, large = row["rfilename"], row.get("lfs") or {}
    if not isinstance(large, dict):
        raise lies(what, f"what it says of {shown(name)} is no description")
    size, sha256, blob = row.get("size"), large.get("sha256") or "", row.get("blobId") or ""
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**50:
        raise lies(what, f"it tells no size of {shown(name)}")
    if large and large.get("size", size) != size:
        raise lies(what, f"it tells two sizes of {shown(name)}")
    if not (is_digest(sha256, 64) or (not sha256 and is_digest(blob, 40))):
        raise lies(what, f"it tells no checksum of {shown(name)}")
    return Wanted(name, size, sha256, blob)


def is_digest(text: object, letters: int) -> bool:
    """Whether it is one, of that length: it becomes a file's name."""
    return isinstance(text, str) and bool(re.fullmatch(f"[0-9a-f]{{{letters}}}", text))


def shown(name: str) -> str:
    """A name that somebody else chose."""
    return ascii(name[:LONGEST_NAME])


def check_names(names: Sequence[str], what: str) -> None:
    """Raise EndpointError for names that lead out of a folder, or that one folder cannot hold together."""
    folded: dict[str, str] = {}
    for name in names:
        if not is_safe(name):
            raise lies(what, f"it names a file {shown(name)}, which no folder can hold")
        other = folded.setdefault(name.casefold(), name)
        if other is not name and is_fetched(name) and is_fetched(other):
            raise lies(what, f"it names {shown(other)} and {shown(name)}, which are one file on many disks")


def is_safe(name: str) -> bool:
    """Whether a path stays below the folder it is put in."""
    parts = name.split("/")
    return (
        name.isprintable()
        and "\\" not in name
        and not any(part in ("", ".", "..") for part in parts)
        and all(len(part.encode()) <= LONGEST_NAME for part in parts)
    )


def is_fetched(name: str) -> bool:
    """Whether a file of a repository is one that a server reads."""
    if "/" in name or name.startswith((".", "-")) or is_pickle(name):
        return False
    return any(fnmatch(name, pattern) for pattern in FETCHED)


def is_pickle(name: str) -> bool:
    """Whether what lies in it may run code when it is loaded."""
    return name.lower().endswith(PICKLES)


def needed(files: Iterable[Wanted], index: Any, source: Source) -> list[Wanted]:
    """What is fetched, the weights last; of several copies of them the one that the index names.

    Raises DocumentError for a repository without weights that can be fetched.
    """
    known = {file.name: file for file in files}
    if CONFIG not in known and ADAPTER[0] in known:
        if ADAPTER[1] not in known:
            raise no_weights(known, source)
        return [known[name] for name in (*sorted(filter(is_licence, known)), *ADAPTER)]
    if CONFIG not in known:
        raise DocumentError(
            f"{source.repository} has no {CONFIG}, so it is no checkpoint that vLLM reads.",
            "Name the repository of the weights themselves.",
        )
    weights = named(index, source) if index is not None else sorted(n for n in known if is_weights(n))
    absent = [name for name in weights if name not in known or not is_weights(name)]
    if absent:
        raise DocumentError(
            f"{INDEX} of {source.repository} names {shown(absent[0])}, which the repository does not have.",
            "Use another revision: it was uploaded in part.",
        )
    if not weights:
        raise no_weights(known, source)
    others = [name for name in sorted(known) if is_fetched(name) and not is_weights(name)]
    return [known[name] for name in (*others, *weights)]


def is_licence(name: str) -> bool:
    """Whether a file that is fetched is called as licences are."""
    return is_fetched(name) and any(fnmatch(name, pattern) for pattern in LICENCES)


def is_weights(name: str) -> bool:
    """Whether it is a file of weights that is fetched."""
    return is_fetched(name) and name.endswith(WEIGHTS)


def named(index: Any, source: Source) -> list[str]:
    """The files that an index names. Raises DocumentError for what is none."""
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise DocumentError(
            f"{INDEX} of {source.repository} is no index of weights.", "Use another revision."
        )
    return sorted(set(names.values()))


def no_weights(names: Iterable[str], source: Source) -> DocumentError:
    """There are none, or none that are safe to load."""
    pickles = sorted(name for name in names if is_pickle(name))
    if pickles:
        return DocumentError(
            f"{source.repository} holds its weights as pickles alone ({shown(pickles[0])}), which may run code "
            "when they are loaded.",
            "Choose a repository with *.safetensors.",
        )
    return DocumentError(
        f"{source.repository} holds no *.safetensors.", "Choose a repository that does: vLLM reads those."
    )


def parsed(text: bytes) -> Any:
    """A JSON text; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
