"""An endpoint: where an OpenAI-compatible server answers, under which name."""

from pathlib import Path

from infra.record import Record


class Endpoint(Record):
    """Where to send requests. The key itself is never part of a record: only the file that holds it is."""

    base_url: str
    """Without the /v1, e.g. http://127.0.0.1:8000"""
    served_model_name: str
    """What a request names as its model."""
    api_key_file: Path | None = None
    """The file that holds its key; null where it asks for none."""
