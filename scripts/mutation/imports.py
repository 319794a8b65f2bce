"""Which test files are near a source file, by who imports whom."""

import ast
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def rings(path: str) -> list[list[str]]:
    """The test files that are named for a source file; then the nearest others, by their imports; then the next."""
    far = importers(path)
    tests = [test for test in files() if Path(test).name.startswith("test_")]
    own = [test for test in tests if test.endswith(f"_{Path(path).stem}.py")]
    others = {test: far[test] for test in tests if test in far and test not in own}
    return [own, *([test for test in others if others[test] == step] for step in sorted({*others.values()}))]


def importers(path: str) -> dict[str, int]:
    """The files that import a file, directly or not, with the length of the chain."""
    found = {path: 0}
    waiting = deque([path])
    while waiting:
        imported = waiting.popleft()
        for file in imports_by_imported().get(imported, ()):
            if file not in found:
                found[file] = found[imported] + 1
                waiting.append(file)
    return found


@cache
def files() -> list[str]:
    """Every file of the tree."""
    return sorted(path.as_posix() for path in Path().rglob("*.py") if not path.parts[0].startswith("."))


@cache
def imports_by_imported() -> dict[str, list[str]]:
    """Each file of the tree that another imports, with those that do; imports within functions count too.

    What nobody imports is found by its name when it is run, as the file of a verb: there those count that say it.
    """
    found: dict[str, list[str]] = {}
    said: dict[str, list[str]] = {}
    for file in files():
        tree = ast.parse(Path(file).read_bytes())
        for name in set(imported_names(tree)):
            at = name.replace(".", "/")
            for imported in {f"{at}.py", f"{at}/__init__.py", f"tests/{at}.py"}.intersection(files()):
                found.setdefault(imported, []).append(file)
        for word in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}:
            if isinstance(word, str) and file.startswith("tests/"):
                said.setdefault(word, []).append(file)
    for file in files():
        if file not in found:
            found[file] = said.get(Path(file).stem.replace("_", "-"), [])
    return found


def imported_names(tree: ast.AST) -> Iterator[str]:
    """What a source imports: modules, and names that may be modules."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
