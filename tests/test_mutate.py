"""scripts/mutate: a change that a test notices is told from one that none notices."""

import subprocess
import sys
from pathlib import Path

import pytest

MUTATE = Path(__file__).parent.parent / "scripts" / "mutation" / "mutate.py"
SOURCE = '''"""Left alone."""

from typing import Literal

__all__ = ["kept", "lost"]


def kept(one: "int") -> Literal["a lot", "little"]:
    """Left alone."""
    return "a lot" if one > 2 else "little"


def lost(one: int) -> None:
    assert one > 7
    del one
    print()
'''
TEST = """import pytest
from toy import size


@pytest.mark.parametrize(("one", "said"), [(2, "little"), (3, "a lot")])
def test_kept(one: int, said: str) -> None:
    assert size.kept(one) == said


def test_lost() -> None:
    size.lost(8)
"""
SURVIVOR = """
toy/size.py:16
- print()
+ pass
"""
EQUIVALENT = """[[equivalent]]
file = "toy/size.py"
was = "print()"
now = "pass"
reason = "Nobody reads it."
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in {
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
        "toy/__init__.py": "",
        "toy/size.py": SOURCE,
        "tests/test_size.py": TEST,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def mutate(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    command = [sys.executable, str(MUTATE), *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_change_that_no_test_notices_survives(toy: Path) -> None:
    code, out, _ = mutate(toy, "toy", "--at-least", "90")
    head, line, *survivors = out.splitlines(keepends=True)
    assert head.split() == ["package", "drawn", "equivalent", "killed", "survived"]
    assert line.split() == ["toy", "7", "0", "6", "1", "86", "%", "killed"]
    assert ("".join(survivors), code) == (SURVIVOR, 1)
    assert (toy / "toy" / "size.py").read_text(encoding="utf-8") == SOURCE


def test_what_the_nearest_tests_let_live_the_next_ones_judge(toy: Path) -> None:
    """Those that import it come first, then those that import what does; what they reach is measured."""
    (toy / "tests" / "test_size.py").unlink()
    for name, text in {
        "test_near.py": "from toy.size import kept\n\n\ndef test_kept() -> None:\n    assert kept\n",
        "between.py": "from toy import size as size\n",
        "test_other.py": TEST.replace("from toy", "from between"),
    }.items():
        (toy / "tests" / name).write_text(text, encoding="utf-8")
    code, out, err = mutate(toy, "toy", "--far", "1")
    assert (code, out.splitlines()[1].split()[1:5], "test_other" in err) == (1, ["7", "0", "0", "7"], False)
    code, out, err = mutate(toy, "toy")
    assert (code, out.splitlines()[1].split()[1:5]) == (0, ["7", "0", "6", "1"])
    measured = [line.split(":")[0] for line in err.splitlines() if line.startswith("measured")]
    assert measured == ["measured tests/test_other.py"]


def test_what_is_listed_as_equivalent_is_counted_and_not_run(toy: Path) -> None:
    (toy / "scripts" / "mutation").mkdir(parents=True)
    (toy / "scripts" / "mutation" / "equivalent.toml").write_text(EQUIVALENT, encoding="utf-8")
    code, out, _ = mutate(toy, "toy", "--at-least", "100")
    assert (code, out.splitlines()[1].split()) == (0, ["toy", "7", "1", "6", "0", "100", "%", "killed"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "No source file is named."),
        (["nothing"], "There is no source at nothing."),
        (["toy/size.py:x"], "There is no source at toy/size.py:x."),
        (["--since", "nowhere"], "git knows no commit nowhere."),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], sentence: str, toy: Path) -> None:
    code, out, err = mutate(toy, *arguments)
    assert (code, out, err.splitlines()[0]) == (2, "", f"error: {sentence}")
    assert err.splitlines()[1].startswith("hint: ")


def test_what_differs_from_a_commit_is_what_changed_since(toy: Path) -> None:
    as_somebody = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*as_somebody, "commit", "--quiet", "-m", "toy"]):
        subprocess.run(["git", *command], cwd=toy, check=True)
    (toy / "toy" / "other.py").write_text("TWO = 2\n", encoding="utf-8")
    subprocess.run(["git", "add", "--intent-to-add", "."], cwd=toy, check=True)
    code, out, _ = mutate(toy, "--since", "HEAD")
    assert (code, out.splitlines()[-3:]) == (1, ["toy/other.py:1", "- TWO = 2", "+ TWO = 3"])
