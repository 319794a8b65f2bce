"""fetch REPOSITORY REVISION [FOLDER]: fetch the weights of one commit from the Hugging Face Hub.

Into the folder, or into the Hub's own cache. The Hub's token is read from the first line of the input, which may be
empty: it is in this process and nowhere else. Prints the folder that holds the files.
"""

import sys
from typing import Any

# What a server reads: no pickles (.bin, .pth), which may hold code, no second copy of the weights in another form.
FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = "*.safetensors"


def main(arguments: list[str]) -> None:
    """Fetch. The weights come last, so that where they are all else is."""
    from huggingface_hub import snapshot_download

    repository, revision, *folder = arguments
    where: dict[str, Any] = {"local_dir": folder[0]} if folder else {}
    token = sys.stdin.readline().strip() or False
    for patterns in ([name for name in FETCHED if name != WEIGHTS], [WEIGHTS]):
        found = snapshot_download(
            repository,
            revision=revision,
            token=token,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            **where,
        )
    print(found)


if __name__ == "__main__":
    main(sys.argv[1:])
