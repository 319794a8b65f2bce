"""scripts/setup: whom it trusts where a proxy inspects TLS, and what it installs for whom; pip and uv are stand-ins."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.fetch.authorities import bundle

ROOT = Path(__file__).parent.parent
VENV = """#!/bin/sh
[ "$1" != -c ] || exit 0
mkdir -p .venv/bin
for name in python uv; do
    printf '#!/bin/sh\\necho "%s $*" >>said\\ncat "$PIP_CERT" >%s.pip\\ncat "$SSL_CERT_FILE" >%s.ssl\\n' \\
        $name $name $name >.venv/bin/$name
    chmod +x .venv/bin/$name
done
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's scripts, and a Python whose environments install nothing."""
    place = tmp_path / "clone"
    (place / "scripts").mkdir(parents=True)
    for name in ("setup", "demo"):
        shutil.copy(ROOT / "scripts" / name, place / "scripts" / name)
    (place / "pyproject.toml").touch()
    os.utime(place / "pyproject.toml", (1, 1))
    (tmp_path / "python").write_text(VENV)
    (tmp_path / "python").chmod(0o755)
    return place


def setup(clone: Path, *words: str, **variables: str) -> list[str]:
    """Run it; what pip and uv were told in it and before."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHON": str(clone.parent / "python"),
        "TMPDIR": str(clone.parent),
    }
    subprocess.run(
        [clone / "scripts/setup", *words], env=environ | variables, check=True, capture_output=True
    )
    return (clone / "said").read_text().splitlines()


def test_whom_the_system_and_whom_a_file_trusts_are_trusted_together(clone: Path, tmp_path: Path) -> None:
    """Each of pip and uv heeds one file, in place of the system's."""
    own = tmp_path / "proxy.pem"
    own.write_text("THE PROXY'S OWN\n")
    setup(clone, SSL_CERT_FILE=str(own))
    told = {name: (clone / name).read_text() for name in ("python.pip", "uv.ssl")}
    system = Path(bundle()).read_text() if bundle() else ""
    assert {name: ("THE PROXY'S OWN" in text, system in text) for name, text in told.items()} == {
        "python.pip": (True, True),
        "uv.ssl": (True, True),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clone", "proxy.pem", "python"]


def test_a_user_is_not_brought_what_developers_need(clone: Path) -> None:
    assert "setup --for-use" in (clone / "scripts/demo").read_text()
    installs = [line.split()[-1] for line in setup(clone, "--for-use") if line.startswith("uv pip install")]
    assert installs == [".[plots]"]
    assert setup(clone, "--for-use") == setup(clone, "--for-use")  # nothing more is said
    installs = [line.split()[-1] for line in setup(clone) if line.startswith("uv pip install")]
    assert installs == [".[plots]", ".[dev]"]
    before = (clone / "said").read_text()
    assert "\n".join(setup(clone, "--for-use")) + "\n" == before
