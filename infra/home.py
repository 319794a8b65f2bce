"""Where this user's documents are kept."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that keeps documents: $CORRAL_HOME, else ~/.corral."""
    return Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral").absolute()
