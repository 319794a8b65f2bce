"""botocore's models of AWS, read once for all tests: every boto3.Session would read these megabytes anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

from botocore.loaders import JSONFileLoader


@contextmanager
def models_read_once() -> Iterator[None]:
    """While it lasts, each file of botocore's is parsed once."""
    read = JSONFileLoader.load_file

    @cache
    def once(path: str) -> Any:
        return read(JSONFileLoader(), path)

    with patch.object(JSONFileLoader, "load_file", lambda _, path: once(path)):
        yield
