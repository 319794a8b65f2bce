"""Which changes are made: drawn over all places of the sources asked for, each as likely as any other."""

import tomllib
from pathlib import Path
from random import Random
from typing import NamedTuple

from sites import Site, sites

PACKAGES = ("serving/probe", "infra", "serving", "deploy")  # a file belongs to the first that holds it
EQUIVALENT = Path("scripts/mutation/equivalent.toml")


class Mutant(NamedTuple):
    """A file with one change, and the lines it is in, as they were and are now."""

    path: str
    line: int
    scope: str
    was: str
    now: str
    text: bytes

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it wherever its line has moved."""
        return self.path, self.was, self.now


def draw(lines: dict[Path, int], number: int, seed: int) -> list[Mutant]:
    """Mutants of some files, so many at most: each place of the source is as likely as any other."""
    places = [
        (path, site)
        for path, line in lines.items()
        for site in sites(path.read_bytes())
        if line in (0, site.line)
    ]
    random = Random(seed)
    taken = sorted(random.sample(places, min(number, len(places))))
    return [mutant(path, site, random.choice(site.variants)) for path, site in taken]


def mutant(path: Path, site: Site, variant: str) -> Mutant:
    """A file with a variant at a site."""
    source = path.read_bytes()
    first, last = source.rfind(b"\n", 0, site.start) + 1, source.find(b"\n", site.end)
    before, after = source[first : site.start], source[site.end : last]
    was, now = (before + part + after for part in (source[site.start : site.end], variant.encode()))
    text = source[:first] + now + source[last:]
    return Mutant(path.as_posix(), site.line, site.scope, on_one_line(was), on_one_line(now), text)


def on_one_line(source: bytes) -> str:
    """Some lines of source, as one."""
    return " ".join(source.decode().split())


def known_equivalent() -> set[tuple[str, str, str]]:
    """The mutants that do what the source does."""
    if not EQUIVALENT.exists():
        return set()
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    return {(one["file"], one["was"], one["now"]) for one in listed}


def sources(path: Path) -> list[Path]:
    """The source files at a path; of a package, those that are not another package's."""
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    package = path.as_posix()
    return [
        file
        for file in files
        if file.suffix == ".py"
        and file.parts[0] not in ("tests", "scripts", "..", "/")
        and (package not in PACKAGES or package_of(file) == package)
    ]


def package_of(path: Path) -> str:
    """The package a file is counted to."""
    return next((name for name in PACKAGES if path.is_relative_to(name)), path.parts[0])
