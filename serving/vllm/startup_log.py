"""How far a starting vLLM is, read from its log: before it is ready, it answers nothing else."""

import re
from collections.abc import Iterable

LISTENS = "the server listens"
# The lines vLLM 0.32 and 0.33 print, in order, and what they mean. {0}, {1} are the pattern's groups.
PHASES = (
    (r"non-default args:", "vLLM is up and reads the model's configuration"),
    (r"Resolved architecture: (\S+)", "the architecture is {0}"),
    (r"Initializing a V1 LLM engine \(v([\w.+]+)\)", "the engine (vLLM {0}) starts"),
    (r"Starting to load model", "the weights are being loaded"),
    (r"checkpoint shards:\s+(\d+)% Completed \| (\d+/\d+)", "weights {0} % ({1} shards)"),
    (r"Loading weights took ([\d.]+) seconds", "the weights are loaded, in {0} s"),
    (r"Model loading took ([\d.]+) GiB", "the model takes {0} GiB per GPU"),
    (r"torch\.compile takes ([\d.]+) s", "compiled, in {0} s"),
    (
        r"KV cache size: ([\d,]+) tokens, Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x",
        "the KV cache holds {0} tokens: {2} requests of {1}",
    ),
    (r"Graph capturing finished in (\d+) secs", "CUDA graphs captured, in {0} s"),
    (r"init engine .* took ([\d.]+) s", "the engine is ready, after {0} s"),
    (r"Application startup complete", LISTENS),
)
LONGEST_LINE = 4096
# Slow disks exist: weights are counted at 200 MB/s, half as long again, and ten minutes for compiling and graphs.
BYTES_PER_S, MARGIN, COMPILE_S = 200e6, 1.5, 600


def phases(lines: Iterable[str]) -> tuple[str, ...]:
    """What each line of the log means for someone who waits; lines that mean nothing are left out."""
    return tuple(said for line in lines if (said := phase(line)))


def phase(line: str) -> str:
    """What one line means, or "" when it is not one of the known ones."""
    for pattern, words in PHASES:
        match = re.search(pattern, line[:LONGEST_LINE])
        if match:
            return words.format(*match.groups())
    return ""


def load_budget_s(weights_bytes: int) -> int:
    """How long a server may take until it is ready; also what vLLM itself is told, whose default is 600 s."""
    return COMPILE_S + int(weights_bytes / BYTES_PER_S * MARGIN)
