"""How far a test file is from a source file, by who imports whom."""

import ast
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path

AWAY = 99
"""What no chain of imports leads to: what finds a module by its name only, or starts it as a process."""


def test_files() -> list[str]:
    """Every test file of the tree."""
    return sorted(path.as_posix() for path in Path("tests").rglob("test_*.py"))


def distance(test_file: str, path: str) -> int:
    """0 for the test file named for the source, 1 for one that imports it, 2 for one that imports that, and so on."""
    if test_file.endswith(f"_{Path(path).stem}.py"):
        return 0
    return importers(path).get(test_file, AWAY)


@cache
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
def imports_by_imported() -> dict[str, list[str]]:
    """Each file of the tree that another imports, with those that do; imports within functions count too."""
    files = sorted(path for path in Path().rglob("*.py") if not path.parts[0].startswith("."))
    known = {path.as_posix() for path in files}
    found: dict[str, list[str]] = {}
    for path in files:
        for name in set(imported_names(ast.parse(path.read_bytes()))):
            at = name.replace(".", "/")
            for file in {f"{at}.py", f"{at}/__init__.py", f"tests/{at}.py"} & known:
                found.setdefault(file, []).append(path.as_posix())
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
