"""On a host: REPOSITORY COMMIT FOLDER fetches, FOLDER alone verifies, --again FOLDER the bytes that a server reads.

The Hub's token is the first line of the input, in this process and nowhere else. What fails ends with one sentence and
the exit code of its kind.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import CorralError, DocumentError, UsageError
from infra.fetch.confirming import confirm
from infra.fetch.download import Told, fetch
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import in_folder
from infra.fetch.verifying import verify

HUB = "https://huggingface.co"


def main(arguments: list[str]) -> int:
    """Fetch, or verify; 0 where all is right."""
    try:
        if len(arguments) == 1:
            return told(Path(arguments[0]), verify(Path(arguments[0])).problems)
        if arguments[0] == "--again":
            return again(Path(arguments[1]))
        repository, commit, folder = arguments
        return fetched(repository, commit, Path(folder), sys.stdin.readline().strip())
    except CorralError as error:
        print(f"{error.message} {error.hint}".rstrip(), file=sys.stderr)
        return error.exit_code


def fetched(repository: str, commit: str, folder: Path, token: str) -> int:
    """Fetch into a folder that is there for nothing else."""
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise UsageError(
            f"{commit} is no commit.", "A branch may move: name the commit, 40 letters of 0-9 and a-f."
        )
    source = Source(os.environ.get("HF_ENDPOINT", HUB).rstrip("/"), repository, commit, token)
    # How much is there is told by who looks at the folder.
    told = Told(lambda text: print(text, file=sys.stderr, flush=True), lambda there, total: None)
    fetch(source, in_folder(folder), told, is_ours=True)
    return 0


def again(folder: Path) -> int:
    """Read every byte of what was fetched, whatever its time says, and tell what is wrong, which the next fetch brings.

    What lies beside it does not matter. Raises DocumentError where nothing says what was fetched.
    """
    layout = in_folder(folder)
    if layout.known() is None:
        raise DocumentError(f"{folder} has no manifest.", "")
    return told(folder, confirm(layout, lambda text: None, is_doubted=True))


def told(folder: Path, problems: Sequence[tuple[str, str]]) -> int:
    """Say all that is wrong with a folder. Raises DocumentError where anything is."""
    for name, why in problems:
        print(f"{name} {why}", file=sys.stderr)
    if not problems:
        return 0
    raise DocumentError(f"{folder} is not what was fetched.", "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
