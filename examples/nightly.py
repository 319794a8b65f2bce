"""Probe an endpoint, and judge it: by its promise, and against the night before.

    python nightly.py NAME|URL --keep FOLDER [--requests 200] [--attainment 0.95]

Exit 0: it keeps its promise and is no slower than the night before. Exit 1: it is not; stderr says why. Any other code
is corral's own, 9 for a probe that must not be used. The results stay in FOLDER, a folder a night.
"""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

LOAD = ("--concurrency", "8", "--input-tokens", "500", "--output-tokens", "100", "--warmup-requests", "8")
PROMISE = ("--goodput", "ttft:1000", "--goodput", "tpot:100")  # milliseconds
SLOWER_IS_WORSE = ("ttft", "tpot", "itl", "e2e")


def corral(*words: str) -> dict:
    """What a verb prints with --json; where it fails this ends with its code, and stderr has its sentence."""
    done = subprocess.run(("corral", *words, "--json"), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def complaints(tonight: dict, change: dict | None, attainment: float) -> list[str]:
    """What is wrong with tonight's figures, a sentence each."""
    said = [f"{count} requests failed: {name}" for name, count in tonight["errors"].items()]
    kept = tonight["goodput"]["attainment"]
    if kept < attainment:
        said.append(f"{kept:.1%} of the requests kept {' '.join(PROMISE[1::2])} (ms), not {attainment:.1%}")
    for each in change["different"] if change else ():
        if each["figure"].startswith(SLOWER_IS_WORSE) and each["b"] > each["a"]:
            said.append(
                f"{each['figure']} went from {each['a']:.4g} to {each['b']:.4g}, more than the noise within both runs"
            )
    return said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("endpoint", metavar="NAME|URL")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--requests", default="200")
    parser.add_argument("--attainment", type=float, default=0.95)
    asked = parser.parse_args()

    before = sorted(path.parent for path in asked.keep.glob("*/results.jsonl"))
    night = asked.keep / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    words = (asked.endpoint, "--requests", asked.requests, *LOAD, *PROMISE, "--output", str(night))
    tonight = corral("probe", *words)
    change = corral("probe", "diff", str(before[-1]), str(night)) if before else None
    said = complaints(tonight, change, asked.attainment)
    print("\n".join(said), end="\n" if said else "", file=sys.stderr)
    print(
        f"{tonight['output_tokens_per_s']:.1f} tokens/s, {tonight['goodput']['attainment']:.1%} within the promise"
    )
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
