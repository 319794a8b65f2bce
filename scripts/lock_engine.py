"""A lock of uv's made into ours: of each package the wheel that pip takes on the image, and one digest over all."""

import hashlib
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

PYTHON = (3, 12)
GLIBC_MINOR = 39
OLD_NAMES = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}


def ranks() -> dict[Tag, int]:
    """The tags that the image's Python takes, the best first."""
    platforms = []
    for minor in range(GLIBC_MINOR, 4, -1):
        platforms += [f"manylinux_2_{minor}_x86_64", *([OLD_NAMES[minor]] if minor in OLD_NAMES else [])]
    platforms.append("linux_x86_64")
    python = f"cp{PYTHON[0]}{PYTHON[1]}"
    tags = [*cpython_tags(PYTHON, [python], platforms), *compatible_tags(PYTHON, python, platforms)]
    return {tag: rank for rank, tag in enumerate(tags)}


def taken(wheels: list[dict[str, Any]], rank: dict[Tag, int]) -> dict[str, Any]:
    """The wheel that pip takes: the one with the best tag. Raises ValueError where none fits."""

    def best(wheel: dict[str, Any]) -> int:
        name = str(wheel["url"]).rsplit("/", 1)[1].replace("%2B", "+")
        return min((rank[tag] for tag in parse_wheel_filename(name)[3] if tag in rank), default=len(rank))

    best_wheel = min(wheels, key=best)
    if best(best_wheel) == len(rank):
        raise ValueError(f"no wheel fits: {best_wheel['url']}")
    return best_wheel


def main(version: str, pylock: str) -> None:
    """Print our lock."""
    packages = tomllib.loads(Path(pylock).read_text(encoding="utf-8"))["packages"]
    rank = ranks()
    wheels = [taken(package["wheels"], rank) for package in packages]
    hashes = sorted(wheel["hashes"]["sha256"] for wheel in wheels)
    digest = hashlib.sha256("".join(f"{one}\n" for one in hashes).encode()).hexdigest()
    print(f"# What vllm {version} needs, as PyPI had it on the day below: by scripts/lock-engine.")
    print(f'python = "{PYTHON[0]}.{PYTHON[1]}"')
    print(f'platform = "manylinux_2_{GLIBC_MINOR}_x86_64"')
    print(f"locked_on = {datetime.now(UTC):%Y-%m-%d}")
    print("# sha256 over the sorted sha256 of all wheels, a line each.")
    print(f'sha256 = "{digest}"')
    print(f"size_bytes = {sum(wheel['size'] for wheel in wheels)}")
    print('pins = """')
    print("\n".join(f"{package['name']}=={package['version']}" for package in packages))
    print('"""')


if __name__ == "__main__":
    main(*sys.argv[1:])
