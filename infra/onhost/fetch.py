"""fetch REPOSITORY COMMIT FOLDER, on a rented box: the Hub's own library fetches, and each file is held to its sum.

What other hosts run (infra/fetch) is larger than the user data of a box. The Hub's token is the first line of the
input: it is in this process and nowhere else.
"""

import hashlib
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICEN[CS]E*", "NOTICE*", "USE_POLICY*")
TRIES = 2
BLOCK = 1 << 20


def main(arguments: list[str]) -> int:
    """Fetch; what fails is said in a line, without the token."""
    repository, commit, folder = arguments
    token = sys.stdin.readline().strip()
    try:
        fetch(repository, commit, token, Path(folder))
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        print(words.replace(token, "TOKEN") if token else words, file=sys.stderr)
        return 1
    return 0


def fetch(repository: str, commit: str, token: str, folder: Path) -> None:
    """Fetch what a server reads, and again what is not what the Hub tells. Raises ValueError where it never is."""
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repository, revision=commit, files_metadata=True, token=token or False)
    if info.sha != commit:
        raise ValueError(f"{commit} is no commit: a branch may move")
    files = {file.rfilename: file for file in info.siblings or () if is_fetched(file.rfilename)}
    if not any(name.endswith(".safetensors") for name in files):
        raise ValueError(f"{repository} holds no *.safetensors")
    wrong: list[str] = []
    for _ in range(TRIES):
        names = [*files]
        snapshot_download(
            repository, revision=commit, token=token or False, allow_patterns=names, local_dir=folder
        )
        wrong = [name for name, file in files.items() if not is_right(folder / name, file)]
        for name in wrong:
            (folder / name).unlink(missing_ok=True)
        if not wrong:
            return
    raise ValueError(f"{wrong[0]} of {repository} is not what the Hub tells: another checksum, {TRIES} times")


def is_fetched(name: str) -> bool:
    """Whether a file of a repository is one that a server reads."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in FETCHED)


def is_right(path: Path, file: Any) -> bool:
    """Whether a file's bytes come to what the Hub tells of it: SHA-256, or git's name of a small one."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    sum_of = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % file.size)
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            sum_of.update(block)
    return bool(sum_of.hexdigest() == (file.lfs.sha256 if file.lfs else file.blob_id))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
