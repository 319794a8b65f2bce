"""Door: a model's tokenizer.json, which the library `tokenizers` reads."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from infra.errors import DocumentError, HostError

NAME = "tokenizer.json"
LARGEST_BYTES = 512 * 1024 * 1024


@cache
def counter(path: Path) -> Callable[[str], int]:
    """What says how many tokens a text is, without any frame around it; `path` is the file or the model's folder.

    Raises DocumentError for what is no tokenizer, HostError where the library is not installed.
    """
    file = path / NAME if path.is_dir() else path
    hint = f"Give the model's folder, which holds {NAME}, or that file."
    try:
        if not file.is_file():
            raise DocumentError(
                f"{path} holds no {NAME}." if path.is_dir() else f"There is no file {path}.", hint
            )
        if file.stat().st_size > LARGEST_BYTES:
            raise DocumentError(f"{file} is too large to be a tokenizer.", hint)
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DocumentError(f"{file} cannot be read: {reason}.", hint) from None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise HostError(
            "--tokenizer needs the library tokenizers, which is not installed.", "pip install tokenizers"
        ) from None
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception:  # the library raises nothing narrower
        raise DocumentError(f"{file} is no tokenizer.", hint) from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
