"""Which tests reach which function, and how long they take: measured once a test file, then kept."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pytest
from coverage import Coverage
from sites import scopes


class Test(NamedTuple):
    """A test that passes, its seconds under measurement, and what it reaches: functions, and files it only loads."""

    name: str
    seconds: float
    functions: frozenset[str]
    loaded: frozenset[str]

    @property
    def file(self) -> str:
        """The file it is in."""
        return self.name.partition("::")[0]


class Measuring:
    """The pytest plugin that runs tests under coverage, each a context of its own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def begin(self) -> None:
        self.root = Path.cwd()
        ours = [f"{self.root}/*"]
        others = [f"{self.root}/{folder}/*" for folder in ("tests", "scripts", ".venv")]
        self.coverage = Coverage(data_file=None, config_file=False, include=ours, omit=others)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        began = perf_counter()
        answer = yield
        self.seconds[item.nodeid] = perf_counter() - began
        self.coverage.switch_context("")
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def answer(self, status: int) -> dict[str, Any]:
        self.coverage.stop()
        data = self.coverage.get_data()
        reached: dict[str, set[str]] = {name: set() for name in self.seconds}
        files = {path: Path(path).relative_to(self.root).as_posix() for path in data.measured_files()}
        for path, file in files.items():
            scope_of = scopes(Path(path).read_bytes())
            for line, names in data.contexts_by_lineno(path).items():
                for name in reached.keys() & set(names):
                    reached[name].add(f"{file}::{scope_of.get(line, '')}")
        functions = sorted(set().union(*reached.values()))
        numbers = {function: number for number, function in enumerate(functions)}
        return {
            "failed": sorted(self.failed),
            "loaded": sorted(files.values()),
            "functions": functions,
            "tests": {
                name: [seconds, sorted(numbers[one] for one in reached[name])]
                for name, seconds in self.seconds.items()
            },
        }


def passing(measured: dict[str, Any]) -> Iterator[Test]:
    """The tests of a measured file that can tell a wrong change: those that pass without one."""
    functions, loaded = measured["functions"], frozenset(measured["loaded"])
    for name, (seconds, numbers) in measured["tests"].items():
        if name not in measured["failed"]:
            yield Test(name, seconds, frozenset(functions[number] for number in numbers), loaded)


def chosen(tests: list[Test], path: str, scope: str, budget_s: float) -> list[Test]:
    """Of some tests those most likely to notice a change in a function, up to a budget of time.

    Those that run it come first. As much time is for others that load its file, a third where some run it: what another
    process runs is not seen, nor what is run as a file is loaded. Among those, the quickest of each test file comes
    before the second of any.
    """
    function = f"{path}::{scope}"
    near = sorted((test for test in tests if path in test.loaded), key=lambda test: test.seconds)
    running = [test for test in near if function in test.functions]
    loading = [test for test in near if function not in test.functions]
    seen: Counter[str] = Counter()
    turn = {}
    for test in loading:
        seen[test.file] += 1
        turn[test] = seen[test.file]
    return [
        *affordable(running, budget_s),
        *affordable(
            sorted(loading, key=lambda test: (turn[test], len(test.loaded))),
            budget_s / 3 if running else budget_s,
        ),
    ]


def affordable(tests: list[Test], budget_s: float) -> Iterator[Test]:
    """Those that fit into a budget of time; the first in any case."""
    left_s = budget_s
    for number, test in enumerate(tests):
        if test.seconds <= left_s or number == 0:
            left_s -= test.seconds
            yield test
