"""What the pages of explanation say in their own words is what the tables say; the rest of them is run or drawn."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_help import check_read

from infra import errors
from serving.model import roofline
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def page(name: str) -> str:
    """A page, each run of blanks one."""
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


VERBS = {
    "size": "corral size scout",
    "capacity": "corral capacity scout --requests-per-s 2",
    "compare": "corral compare scout",
    "ec2": "corral up plan.json --target ec2",
    "probe": "corral probe http://10.0.0.5:8000",
}
"""A how-to -> the command that the options in its tables are of."""


def options() -> Iterator[str]:
    """Each command with what a table of its how-to gives to type; not what it only names."""
    for name, command in VERBS.items():
        for row in re.findall(
            r"^\|.*\|$", (DOCS / "how-to" / f"{name}.md").read_text(encoding="utf-8"), re.M
        ):
            for code in re.findall(r"`([^`]+)`", row.strip("|").split("|", 1)[1]):
                if " " in code and code.startswith(("--", "corral ")) and "..." not in code:
                    yield code if code.startswith("corral ") else f"{command} {code}"


@pytest.mark.usefixtures("own_key")
@pytest.mark.parametrize("line", sorted(set(options())))
def test_what_a_table_says_to_type_is_read_by_its_verb(line: str) -> None:
    check_read(line)


BYTES = {"BF16": "bf16", "FP8 (RedHatAI)": "fp8", "W4A16 (RedHatAI)": "int4", "NVFP4": "nvfp4"}


@pytest.mark.parametrize("named", BYTES)
def test_the_bytes_of_a_checkpoint_are_those_of_the_plan(named: str) -> None:
    size = answer_for("scout", BYTES[named], "8xH100", Options()).weights_bytes
    assert f"| {named} | {size:,} |" in page("explanation/what-fills-a-gpu.md")


def test_the_bands_are_those_that_are_printed() -> None:
    rows = re.findall(r"\| [\d.]+ \| ([\d.]+) \|", page("explanation/where-the-speed-comes-from.md"))
    bands = roofline.data()["bands"]
    assert [float(each) for each in rows] == [bands[name]["factor"] for name in ("measured", "near", "none")]


def test_every_exit_code_is_explained_once() -> None:
    rows = [
        int(each) for each in re.findall(r"^\| (\d+) \|", (DOCS / "how-to/troubleshoot.md").read_text(), re.M)
    ]
    kinds: tuple[type[errors.CorralError], ...] = (errors.CorralError, *errors.CorralError.__subclasses__())
    assert rows == sorted({kind.exit_code for kind in kinds})


UNITS = {
    "replicas": ["corral connect scout"],
    "gateway": [
        "corral gateway scout --host 0.0.0.0 --port 8443 --tls-name llm.example",
        "corral gateway status scout",
        "corral gateway stop scout",
    ],
}
"""A how-to -> what the unit that it shows has corral do."""


def shown_unit(how_to: str) -> tuple[str, str]:
    """The name and the text of a unit of one's own systemd that a page shows, for `scout`."""
    shown = (DOCS / f"how-to/{how_to}.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"`~/\.config/systemd/user/([^`]+)`", shown)
    (text,) = re.findall(r"^```ini\n(.*?)^```$", shown, re.M | re.S)
    return name.replace("@", "@scout"), text


@pytest.mark.parametrize("how_to", UNITS)
def test_a_unit_that_starts_after_a_boot_is_read_by_systemd(how_to: str, tmp_path: Path, need: Any) -> None:
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd is not installed")
    for name, text in map(shown_unit, UNITS):
        (tmp_path / name).write_text(text)
    program = tmp_path / ".local/bin/corral"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    name, text = shown_unit(how_to)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", str(tmp_path / name)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = re.findall(r"%h/\.local/bin/(corral .*?)(?= && | >|$)", text, re.M)
    assert [line.replace("%i", "scout") for line in lines] == UNITS[how_to]
    for line in UNITS[how_to]:
        check_read(line)


def test_the_licence_is_the_text_that_is_asked_for() -> None:
    known = tomllib.loads((ROOT / "deploy/targets/licences.toml").read_text(encoding="utf-8"))["llama4"]
    said = page("explanation/llama-4-licence.md")
    assert all(
        each in said
        for each in (known["sha256"], known["url"], str(known["effective_on"]), str(known["checked_on"]))
    )


@pytest.mark.parametrize("named", ["english", "python", "json", "base", "low", "high"])
def test_the_count_of_tokens_is_that_of_the_table(named: str) -> None:
    table = tomllib.loads((ROOT / "deploy/costs/token_ratio.toml").read_text(encoding="utf-8"))
    said = page("explanation/what-a-token-costs.md")
    assert re.search(rf"(?<![\d.]){re.escape(table['newer'][named])}(?![\d])", said)
    assert str(table["checked_on"]) in said
