"""The key by which a probe by name asks a gateway: no limit of keys holds it back, only those of its servers."""

from pathlib import Path

from deploy.gateway import gateway, key_store
from deploy.gateway.keys import KeyLimits, hashed
from infra.record import write_text_atomically

PERSON, FILE = "corral-probe", "probe-key"
LIMITS = KeyLimits(requests_per_minute=1_000_000, requests_at_once=100_000, tokens_per_month=10**12)


def file(name: str) -> Path:
    """Where it is, for its owner alone; made where there is none that is good."""
    place, asked = gateway.folder(name), gateway.load(name).asked
    path = place / FILE
    good = {key.sha256 for key in key_store.good(place)}
    if not path.exists() or hashed(path.read_text().strip()) not in good:
        made = key_store.add(place, asked, PERSON, LIMITS)
        write_text_atomically(path, f"{made.key}\n", mode=0o600)
    return path
