"""Whether a change is noticed: one worker a core, each with a tree of its own, runs the tests likeliest to."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import accumulate, chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from drawing import Mutant
from imports import distance, test_files
from reach import Measuring, Test, chosen, passing
from trees import Tree, import_slow

KEPT = Path(".mutants/reach.json")
FIRST_S = 5.0  # of tests of one file are run before the others are even collected
MEASURING_S = 1800.0  # one test file takes at most

TREES: list[Tree] = []
"""A worker's one tree."""


def workers(place: Path, number: int | None) -> ProcessPoolExecutor:
    """So many, one a core by default."""
    import_slow()
    return ProcessPoolExecutor(
        number or os.cpu_count(),
        get_context("fork"),
        initializer=lambda: TREES.append(Tree(Path.cwd(), place)),
    )


def measured(pool: ProcessPoolExecutor, files: Iterable[str]) -> list[Test]:
    """The tests of some files that pass, with what they reach; a file is measured once, and again when it changes."""
    digests = {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    new = [file for file, digest in digests.items() if kept.get(file, {}).get("digest") != digest]
    for file, reach in each(pool, measure, new):
        seconds = sum(seconds for seconds, _ in reach["tests"].values())
        failed = f"; left out, because they fail: {' '.join(reach['failed'])}" if reach["failed"] else ""
        progress(f"measured {file}: {seconds:.0f} s{failed}")
        kept[file] = {"digest": digests[file], **reach}
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept), encoding="utf-8")
    return [test for file in digests for test in passing(kept[file])]


def measure(file: str) -> dict[str, Any]:
    """What the tests of a file reach."""
    nothing = {"failed": [], "loaded": [], "functions": [], "tests": {}}
    return TREES[0].pytest([file], Measuring(), MEASURING_S) or nothing


def judged(pool: ProcessPoolExecutor, mutants: list[Mutant], far: int, budget_s: float) -> dict[Mutant, str]:
    """What killed each mutant; "" when it survives. What the nearest tests let live is shown to those further away."""
    killers = dict.fromkeys(mutants, "")
    for step in range(far + 1):
        alive = [mutant for mutant, killer in killers.items() if not killer]
        near = {
            mutant: [file for file in test_files() if distance(file, mutant.path) == step] for mutant in alive
        }
        tests = measured(pool, sorted(set(chain(*near.values()))))
        asked = []
        for mutant, files in near.items():
            there = [test for test in tests if test.file in files]
            if those := chosen(there, mutant.path, mutant.scope, budget_s):
                asked.append((mutant, those))
        for (mutant, _), killers[mutant] in each(pool, judge, asked):
            fate = f"killed by {killers[mutant]}" if killers[mutant] else f"SURVIVED: {mutant.now}"
            progress(f"distance {step}: {mutant.path}:{mutant.line} {fate}")
    return killers


def broken(pool: ProcessPoolExecutor, killers: Collection[str]) -> str:
    """The first of the tests that fails without any change too; "" when none does."""
    tests = measured(pool, sorted({name.partition("::")[0] for name in killers if "::" in name}))
    of_them = [test for test in tests if test.name in killers]
    return pool.submit(run, of_them).result() if of_them else ""


def each(
    pool: ProcessPoolExecutor, what: Callable[[Any], Any], asked: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    """Have the workers do it with each; what was asked and the answer, as they come."""
    begun = {pool.submit(what, one): one for one in asked}
    return ((begun[future], future.result()) for future in as_completed(begun))


def progress(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


def judge(asked: tuple[Mutant, list[Test]]) -> str:
    """What killed a mutant; "" when it survives. The likeliest file is tried before the others are even loaded."""
    mutant, tests = asked
    spent = accumulate(test.seconds for test in tests)
    first = [
        test
        for test, s in zip(tests, spent, strict=True)
        if test is tests[0] or (s < FIRST_S and test.file == tests[0].file)
    ]
    others = [test for test in tests if test not in first]
    with TREES[0].changed(mutant.path, mutant.text):
        return next((killer for part in (first, others) if part and (killer := run(part))), "")


def run(tests: list[Test]) -> str:
    """Run tests in the tree as it is; the first that failed, or how it ended otherwise, "" when all passed."""
    files = dict.fromkeys(test.file for test in tests)
    answer = TREES[0].pytest(["-x", *files], Killing(tests), 30 + 5 * sum(test.seconds for test in tests))
    return "no end" if answer is None else str(answer)


class Killing:
    """The pytest plugin that runs chosen tests, each within its time."""

    def __init__(self, tests: list[Test]) -> None:
        self.limits = {test.name: 10 + 5 * test.seconds for test in tests}
        self.failed: list[str] = []

    def begin(self) -> None:
        """Nothing is to be done before the tests are collected."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.limits]
        for item in items:
            item.add_marker(pytest.mark.timeout(self.limits[item.nodeid]), append=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def answer(self, status: int) -> str:
        passed = status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        return "" if passed else next(iter(self.failed), "not even loaded")
