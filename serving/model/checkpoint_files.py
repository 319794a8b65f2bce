"""What of a folder is a checkpoint: the files that a server reads, by their names and its index, and nothing else.

What may leave this machine as a model is told by this list: a folder may hold keys too, or links to them.
"""

from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG

from infra.argument import pasted
from infra.errors import DocumentError
from serving.model import checkpoint

CONFIG = "config.json"
# Beside the weights that the index names. No code (*.py) and no pickles (*.bin, *.pth): a server that corral starts
# reads neither.
NAMES = (
    CONFIG,
    checkpoint.INDEX,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "tiktoken.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "quantization_config.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "recipe.yaml",
    "README.md",
)
LICENCES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
# A licence's name ends so, or in nothing.
OF_LICENCES = ("", ".md", ".txt", ".pdf", ".rst")


def own_files(folder: Path) -> tuple[Path, ...]:
    """The checkpoint's own files, by name.

    Raises DocumentError for a folder that is no whole checkpoint of a family of ours, or where one of them is no
    regular file, or a link to something that is not the checkpoint's.
    """
    files = files_there(folder)
    checkpoint.read(folder)
    return files


def draft_files(folder: Path) -> tuple[Path, ...]:
    """The same of a draft, which may be of any family: a config and whole weights are all that is looked for."""
    files = files_there(folder)
    checkpoint.config_of(folder)
    return files


def files_there(folder: Path) -> tuple[Path, ...]:
    """What a folder has of a checkpoint, of whatever family; its weights are all there. Raises as `own_files` does."""
    if not folder.is_dir():
        raise DocumentError(
            f"There is no checkpoint folder at {folder}.",
            f"Check the path: ls {pasted(folder.parent)}",
        )
    try:
        named = [path for path in folder.iterdir() if is_own_name(path.name)]
    except OSError as error:
        raise DocumentError(f"{folder} cannot be read: {error.strerror}.", "Check its owner.") from None
    # Before any of them is opened: what is no regular file may never end.
    for path in named:
        check_own(path, folder)
    weights = checkpoint.shards(folder)
    for path in weights:
        check_own(path, folder)
    return tuple(sorted({*named, *weights}))


def called_so(folder: Path) -> tuple[Path, ...]:
    """The files that are called as a checkpoint's are, whole or not. Raises DocumentError as `own_files` does."""
    named = tuple(
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if is_own_name(path.name) or checkpoint.is_shard_name(path.name)
    )
    for path in named:
        check_own(path, folder)
    return named


def is_own_name(name: str) -> bool:
    """Whether a checkpoint has a file of that name, weights excepted: which are its own, its index says."""
    return name in NAMES or is_licence(name)


def is_licence(name: str) -> bool:
    """Whether a file is called as licences are."""
    return any(fnmatch(name.upper(), f"{begun}*") for begun in LICENCES) and Path(name).suffix in OF_LICENCES


def check_own(path: Path, folder: Path) -> None:
    """Raise DocumentError for what is no regular file of the folder, nor of the Hub's cache that it is a part of."""
    try:
        target = path.resolve(strict=True)
        is_regular = S_ISREG(target.stat().st_mode)
    except (OSError, RuntimeError):  # a link that leads nowhere, or to itself
        raise DocumentError(f"{path} cannot be read.", f"See what it is: ls -l {pasted(folder)}") from None
    if not is_regular:
        raise DocumentError(f"{path} is no regular file.", f"See what it is: ls -l {pasted(folder)}")
    if not any(target.is_relative_to(place) for place in places(folder.resolve())):
        raise DocumentError(
            f"{path} is a link to {target}, which is no part of the checkpoint.",
            "Put the file itself there: what a link leads to elsewhere is not sent.",
        )


def places(folder: Path) -> tuple[Path, ...]:
    """Where a checkpoint's files may lie: in its folder; those of the Hub's cache are links into its `blobs`."""
    repository = folder.parent.parent
    blobs = repository / "blobs"
    if (
        folder.parent.name == "snapshots"
        and repository.name.startswith("models--")
        and not blobs.is_symlink()
    ):
        return folder, blobs
    return (folder,)


def size_bytes(files: tuple[Path, ...]) -> int:
    """What the files take."""
    return sum(path.stat().st_size for path in files)
