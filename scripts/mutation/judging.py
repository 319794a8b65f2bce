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
from imports import rings
from reach import Measuring, Test, chosen, passing
from trees import Tree, import_slow

KEPT = Path(".mutants/reach.json")
FIRST_S = 5.0  # of tests of one file are run before the others are even collected
MEASURING_S = 1800.0  # one test file takes at most
OWN_S, OWN_TEST_S = 120.0, 60.0  # the tests named for a file, and each of them, take at most
NO_END = "no end"

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
    # Nothing is measured for the tests of the very file: they are run whole, unless they take too long.
    long = set()
    asked: list[tuple[Mutant, Any]] = [(mutant, own) for mutant in mutants if (own := rings(mutant.path)[0])]
    for (mutant, _), killer in each(pool, judge_by_own, asked):
        if killer == NO_END:
            long.add(mutant)
        else:
            killers[mutant] = told(mutant, 0, killer)
    for step in range(1, far + 1):
        near = {
            mutant: [test for ring in rings(mutant.path)[step : step + 1] for test in ring]
            for mutant, killer in killers.items()
            if not killer
        }
        if step == 1:
            for mutant in long:
                near[mutant] += rings(mutant.path)[0]
        tests = measured(pool, sorted(set(chain(*near.values()))))
        asked = []
        for mutant, files in near.items():
            there = [test for test in tests if test.file in files]
            if those := chosen(there, mutant.path, mutant.scope, budget_s):
                asked.append((mutant, those))
        for (mutant, _), killer in each(pool, judge, asked):
            killers[mutant] = told(mutant, step, killer)
    return killers


def told(mutant: Mutant, step: int, killer: str) -> str:
    """Say what became of it, and hand it on."""
    fate = f"killed by {killer}" if killer else f"survives: {mutant.now}"
    progress(f"ring {step}: {mutant.path}:{mutant.line} {fate}")
    return killer


def broken(pool: ProcessPoolExecutor, killers: Collection[str]) -> str:
    """The first of the tests that fails without any change too; "" when none does."""
    names = sorted(name for name in killers if "::" in name)
    return pool.submit(run, dict.fromkeys(names, OWN_TEST_S)).result() if names else ""


def each(
    pool: ProcessPoolExecutor, what: Callable[[Any], Any], asked: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    """Have the workers do it with each; what was asked and the answer, as they come."""
    begun = {pool.submit(what, one): one for one in asked}
    return ((begun[future], future.result()) for future in as_completed(begun))


def progress(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


def judge_by_own(asked: tuple[Mutant, list[str]]) -> str:
    """What of the tests named for its file killed a mutant; "" when it survives, NO_END when they take too long."""
    mutant, files = asked
    with TREES[0].changed(mutant.path, mutant.text):
        answer = TREES[0].pytest(["-x", *files], Killing({}), OWN_S)
    return NO_END if answer is None else str(answer)


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
    limits = [{test.name: 10 + 5 * test.seconds for test in part} for part in (first, others)]
    with TREES[0].changed(mutant.path, mutant.text):
        return next((killer for part in limits if part and (killer := run(part))), "")


def run(limits: dict[str, float]) -> str:
    """Run tests, each within its time, in the tree as it is; the first that failed, NO_END, or "" when all passed."""
    files = dict.fromkeys(name.partition("::")[0] for name in limits)
    answer = TREES[0].pytest(["-x", *files], Killing(limits), 30 + sum(limits.values()))
    return NO_END if answer is None else str(answer)


class Killing:
    """The pytest plugin that runs chosen tests, each within its time; all of the files where none are chosen."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.failed: list[str] = []

    def begin(self) -> None:
        """Nothing is to be done before the tests are collected."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not self.limits or item.nodeid in self.limits]
        for item in items:
            limit_s = self.limits.get(item.nodeid, OWN_TEST_S)
            item.add_marker(pytest.mark.timeout(limit_s), append=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def answer(self, status: int) -> str:
        passed = status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        return "" if passed else next(iter(self.failed), "not even loaded")
