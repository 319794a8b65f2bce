"""Are changes noticed? Draws wrong single changes at random, makes each in a copy of the tree, and runs its tests.

A change is killed when a test fails or comes to no end; it survives when none notices it. One that cannot be noticed,
because what is run does the same, is in equivalent.toml with the reason.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NoReturn

from drawing import PACKAGES, Mutant, draw, known_equivalent, package_of, sources
from judging import broken, judged, workers


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, judge and report; 1 when too many survive in a package."""
    wish = wished(arguments)
    lines = lines_named(wish.where, wish.since)
    drawn = [
        mutant
        for package in sorted({package_of(path) for path in lines})
        for mutant in draw(
            {path: lines[path] for path in lines if package_of(path) == package}, wish.draw, wish.seed
        )
    ]
    equivalent = known_equivalent()
    mutants = [mutant for mutant in drawn if mutant.key not in equivalent]
    with tempfile.TemporaryDirectory(prefix="mutate-") as place, workers(Path(place), wish.jobs) as pool:
        killers = judged(pool, mutants, wish.far, wish.budget)
        failed = broken(pool, set(killers.values()))
    code = report(drawn, killers, wish.at_least)
    if failed:
        refuse(f"{failed} fails without any change too.", f"Mend it first: scripts/test '{failed}'")
    return code


def wished(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/mutate", description="Draw wrong changes, and see whether a test notices."
    )
    parser.add_argument("where", nargs="*", help="packages, folders, files, or FILE:LINE")
    parser.add_argument("--since", metavar="REV", help="the files changed since a commit")
    parser.add_argument("--draw", type=int, default=100, help="changes drawn in each package (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="which are drawn (default: 1)")
    parser.add_argument("--at-least", type=float, default=85, help="per cent that must die (default: 85)")
    parser.add_argument(
        "--far",
        type=int,
        default=2,
        help="whose tests judge: 0 those named for the file, 1 the nearest others too, by their imports, "
        "2 the next ones too, and so on (default: 2)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=30,
        help="seconds of tests for a change from each such ring (default: 30)",
    )
    parser.add_argument("--jobs", type=int, help="changes tried at a time (default: one a core)")
    return parser.parse_args(arguments)


def refuse(sentence: str, hint: str) -> NoReturn:
    """Say what is wrong with the request."""
    print(f"error: {sentence}\nhint: {hint}", file=sys.stderr)
    raise SystemExit(2)


def lines_named(where: Sequence[str], since: str | None) -> dict[Path, int]:
    """The files asked for, each with the line asked for; 0 for all its lines."""
    names = [*where, *(changed_since(since) if since else ())]
    if not names:
        refuse("No source file is named.", f"Name some, or a package: {', '.join(PACKAGES)}.")
    lines: dict[Path, int] = {}
    for name in names:
        path, _, line = name.partition(":")
        files = sources(Path(path))
        if not files or not (line or "0").isdigit():
            refuse(
                f"There is no source at {name}.",
                f"Name a package ({', '.join(PACKAGES)}), a folder, FILE or FILE:LINE.",
            )
        lines |= dict.fromkeys(files, int(line or 0))
    return lines


def changed_since(commit: str) -> list[str]:
    """The source files that differ from a commit."""
    command = ["git", "diff", "--name-only", "--diff-filter=d", "--relative", commit, "--"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        refuse(f"git knows no commit {commit}.", "See which there are: git log --oneline")
    return [name for name in done.stdout.split() if sources(Path(name))]


def report(drawn: list[Mutant], killers: dict[Mutant, str], at_least: float) -> int:
    """Print the table and the survivors; 1 when too many survive in a package."""
    survived = [mutant for mutant in drawn if killers.get(mutant) == ""]
    print(f"{'package':16}{'drawn':>8}{'equivalent':>12}{'killed':>8}{'survived':>10}")
    enough = True
    for package, of_package in groupby(drawn, lambda mutant: package_of(Path(mutant.path))):
        mutants = list(of_package)
        judged = [mutant for mutant in mutants if mutant in killers]
        killed = sum(killers[mutant] != "" for mutant in judged)
        rate = 100 * killed / len(judged) if judged else 100
        enough = enough and rate >= at_least
        counts = f"{len(mutants):8}{len(mutants) - len(judged):12}{killed:8}{len(judged) - killed:10}"
        print(f"{package:16}{counts}   {rate:.0f} % killed")
    for mutant in survived:
        print(f"\n{mutant.path}:{mutant.line}\n- {mutant.was}\n+ {mutant.now}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
