"""README and docs show what corral prints: scripts/readme runs their console blocks again. What is named is there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from test_help import check_read

ROOT = Path(__file__).parent.parent
COST = "$ corral claude-cost --model claude-sonnet-5-5 --input-tokens 1000 --output-tokens 100"
PRINTED = """$0.003 for 1 request to claude-sonnet-5-5 (live)
  input                            $0.002
  output                           $0.001"""


def readme(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/readme.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def written(folder: Path, block: str, above: str = "<!-- lines: 3 -->\n") -> Path:
    path = folder / "README.md"
    path.write_text(f"<!-- made on 2026-11-24 -->\n\n{above}```console\n{block}\n```\n\nThe end.\n")
    return path


def test_every_page_shows_what_is_printed() -> None:
    done = readme("--check")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", ""), "run scripts/readme"


def test_what_is_not_printed_any_more_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, f"{COST}\n$0.004 for 1 request to claude-sonnet-5-5 (live)")
    done = readme("--check", str(path))
    assert done.returncode == 1
    assert "-$0.004 for 1 request to claude-sonnet-5-5 (live)\n+$0.003 for 1 request" in done.stdout


def test_blocks_are_filled_one_after_the_other_in_one_folder(tmp_path: Path) -> None:
    size = "$ corral size scout --precision int4 --on g5.12xlarge -o plan.json"
    compare = "$ corral compare --plan plan.json \\\n    --token-ratio 1"
    path = written(tmp_path, f"{COST}\nold\n\n{size}\n\n{compare}")
    assert readme(str(path)).returncode == 0
    text = path.read_text()
    assert re.sub(r"made on [0-9-]{10} -->", "made on 2026-11-24 -->", text).startswith(
        f"<!-- made on 2026-11-24 -->\n\n<!-- lines: 3 -->\n```console\n{COST}\n{PRINTED}\n...\n\n{size}\n"
    )
    assert f"\n\n{compare}\nscout int4 on g5.12xlarge against the Claude API, " in text
    assert text.endswith("\n...\n```\n\nThe end.\n")
    assert readme("--check", str(path)).returncode == 0


@pytest.mark.parametrize(
    ("how", "code"), [("2026-11-24, 2 cores, no GPU", 0), ("the demo", 1), ("2026-11-24", 1), ("2 cores", 1)]
)
def test_a_volatile_block_stays_and_names_its_day_and_hardware(how: str, code: int, tmp_path: Path) -> None:
    path = written(tmp_path, "$ corral demo\nanything", f"<!-- volatile: {how} -->\n")
    before = path.read_text()
    assert readme("--check", str(path)).returncode == code
    assert path.read_text() == before


@pytest.mark.parametrize("line", ["$ rm -rf /", "$ corral version; reboot"])
def test_nothing_but_corral_is_run(line: str, tmp_path: Path) -> None:
    path = written(tmp_path, line)
    done = readme("--check", str(path))
    assert done.returncode == 1


def test_a_rewrite_puts_in_its_day(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# corral\n")
    assert readme("--check", str(path)).returncode == 1
    assert readme(str(path)).returncode == 0
    assert re.fullmatch(r"<!-- made on [0-9-]{10} -->\n# corral\n", path.read_text())


PLACEHOLDERS = {"BUCKET": "models", "CHECKSUM": "0" * 64}
"""What stands in a line for what only its reader has -> such a thing."""
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCED = re.compile(r"(?:<!-- (\w+)[^\n]* -->\n)?^( *)```(\w*)[^\n]*\n(.*?)^\2```$", re.M | re.S)


def to_paste(page: Path) -> Iterator[str]:
    """The lines of corral that a page shows and that are not run, without what a shell does with them."""
    for treated, _, kind, text in FENCED.findall(page.read_text(encoding="utf-8")):
        if kind not in ("", "sh", "bash", "console") or (kind == "console" and treated in ("", "lines")):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if (found := re.match(r" *(\$ )?(corral .*)", line)) and (found[1] or kind != "console"):
                yield from typed(found[2])


def typed(line: str) -> Iterator[str]:
    """The commands of corral in one line of a shell."""
    for placeholder, value in PLACEHOLDERS.items():
        line = line.replace(placeholder, value)
    words = shlex.split(line, comments=True)
    while words:
        command = list(takewhile(lambda word: word not in ("&&", ">", "|"), words))
        if command[0] == "corral":
            yield shlex.join(command)
        words = words[len(command) + 1 :]


NOT_READ = {"corral", "corral --install-completion"}
"""What is no verb."""


@pytest.mark.usefixtures("own_key")
@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in to_paste(page)} - NOT_READ))
def test_a_line_to_paste_is_read_by_the_parser_and_the_records_of_its_verb(line: str) -> None:
    check_read(line)


def test_lines_to_paste_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ corral run\n```\n\n"
        "<!-- parsed -->\n```console\n$ corral a && corral b | jq\ncorral printed\n```\n\n"
        "```sh\ncorral c \\\n  --d x > y\nother\n```\n\n1. In a list\n\n    ```\n    corral e # why\n    ```\n\n"
        "<!-- volatile: 2026-11-30, on a GPU -->\n```console\n$ corral f BUCKET\nno\n```\n\n```toml\ncorral = 1\n```\n"
    )
    assert list(to_paste(page)) == ["corral a", "corral b", "corral c --d x", "corral e", "corral f models"]


# A path of ours, as it is written in text and comments; or one of our tables by its name alone.
NAMED = re.compile(r"(?<![\w./-])(?:(?:deploy|serving|infra|scripts|tests)/[\w./*-]*[\w*/]|[\w-]+\.toml\b)")
SPEAKS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/**/*",
    "deploy/**/*",
    "serving/**/*",
    "infra/**/*",
    "scripts/**/*",
)
TEXT = {".py", ".toml", ".md", ".sh", ".c"}
OF_THE_USER = {"corral.toml", "gpus.toml"}
"""Files that a user may put into corral's home, or where they work."""


def there(name: str) -> bool:
    """Whether a path of this repository, or a table's name, leads to something; `*` stands for anything."""
    return any(ROOT.glob(name.rstrip("/"))) or ("/" not in name and any(tables(name)))


def tables(name: str) -> Iterator[Path]:
    """The files of that name in the packages."""
    return (
        path for floor in ("deploy", "serving", "infra", "scripts") for path in (ROOT / floor).rglob(name)
    )


def test_every_file_that_is_named_is_there() -> None:
    files = (path for pattern in SPEAKS for path in ROOT.glob(pattern) if path.is_file())
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        if path.suffix in TEXT and "__pycache__" not in path.parts
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
        if name not in OF_THE_USER and not there(name)
    ]
    assert missing == []


def named_in_tree(lines: list[str]) -> Iterator[str]:
    """The paths in the tree of folders: the words before a line's gap, and what is below that folder after it."""
    top = ""
    for line in lines:
        words, _, says = line.strip().partition("  ")
        if not line.startswith(" "):
            top = words
            yield words
        else:
            yield from (top + word for word in words.split())
        inside = top if not line.startswith(" ") else top + words
        yield from (inside + word for word in re.findall(r"(?<!\S)[\w-]+(?:/|\.py)", says))


def test_every_file_of_the_tree_of_folders_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = list(named_in_tree(("infra/" + text.split("```\ninfra/")[1].split("\n```")[0]).splitlines()))
    assert len(named) > 30
    assert [name for name in named if not there(name)] == []


LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"])
def test_every_link_leads_to_a_file(page: str) -> None:
    """Those of docs are followed by what builds them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_readme_is_three_screens() -> None:
    """What it is, how it is used, what was measured; the rest is in docs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)", text, re.M) == ["How", "What was measured"]
    assert [len(part.splitlines()) <= 50 for part in text.split("\n## ")] == [True, True, True]
    first = "\n".join(text.splitlines()[:50])
    assert [
        line for line in ("uv tool install ", "corral demo", "corral up scout") if line not in first
    ] == []
