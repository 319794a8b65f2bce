"""fetch REPOSITORY REVISION [FOLDER]: fetch the weights of one commit from the Hugging Face Hub.

Into the folder, or into the Hub's own cache. The Hub's token is the first line of the input, which may be empty: it
is in this process and nowhere else. Exit code 5 where the Hub does not let it in, 11 for a full disk, 8 for all else.
"""

import errno
import json
import os
import sys
import threading
from pathlib import Path

# What a server reads: no pickles (.bin, .pth), which may hold code, no second copy of the weights in another form.
FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = "*.safetensors"
NOT_LET_IN, NO_ROOM, FAILED = 5, 11, 8
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(arguments: list[str]) -> int:
    """Fetch. The weights come last, so that where they are all else is."""
    repository, revision, *folder = arguments
    token = sys.stdin.readline().strip()
    if not folder:
        threading.Thread(target=end_with_the_asker, daemon=True).start()
    try:
        fetch(repository, revision, token, folder[0] if folder else None)
    except Exception as error:
        cause = innermost(error)
        words = " ".join(str(cause).split()) or type(cause).__name__
        print(words.replace(token, "TOKEN") if token else words, file=sys.stderr)
        return code_of(error)
    return 0


def fetch(repository: str, revision: str, token: str, folder: str | None) -> None:
    """Fetch what lies in no folder of the repository. Raises FileNotFoundError where a file has not come."""
    from huggingface_hub import snapshot_download

    for patterns in ([name for name in FETCHED if name != WEIGHTS], [WEIGHTS]):
        place = snapshot_download(
            repository,
            revision=revision,
            token=token or False,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            local_dir=folder,
        )
    # Where the Hub cannot be reached, its library is content with a folder that holds something.
    missing = [name for name in wanted(Path(place)) if not (Path(place) / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{missing[0]} has not come")


def wanted(place: Path) -> list[str]:
    """The files without which there is no checkpoint."""
    index = place / "model.safetensors.index.json"
    if not index.is_file():
        return ["config.json", *([] if any(place.glob(WEIGHTS)) else ["model.safetensors"])]
    return ["config.json", *sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))]


def innermost(error: BaseException) -> BaseException:
    """What the library's own words stand for."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def code_of(error: BaseException | None) -> int:
    """What kind of failure it is; the library hides some behind one of its own."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    while error is not None:
        if isinstance(error, RepositoryNotFoundError):  # a gated one is one too
            return NOT_LET_IN
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            return NOT_LET_IN
        if isinstance(error, OSError) and error.errno in FULL:
            return NO_ROOM
        error = error.__cause__
    return FAILED


def end_with_the_asker() -> None:
    """Who asks for this machine holds our input open: when it is killed, nobody is left to fetch for."""
    sys.stdin.read()
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
