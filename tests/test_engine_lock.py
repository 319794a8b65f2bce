"""What a rented box installs: the locks that are shipped, how one is made, and where there is none."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from renting import an_order, door, fresh

from infra.aws import account_preflight
from serving.vllm.engine_lock import lock_of
from serving.vllm.versions import data

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "serving" / "vllm" / "locks").glob("vllm-*.toml"))


def test_every_version_that_keeps_users_apart_has_a_lock() -> None:
    """From the one whose answers reach only who asked (versions.toml, CVE-2026-73558) to the newest."""
    table = data()
    (since,) = (advisory["below"] for advisory in table["advisory"] if "CVE-2026-73558" in advisory["what"])
    assert [path.stem for path in LOCKS] == [
        f"vllm-{version}"
        for version in ("0.27.0", "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0")
    ]
    assert (since, table["newest"]) == ("0.27.0", "0.33.0")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_shipped_lock_is_whole(path: Path) -> None:
    version = path.stem.removeprefix("vllm-")
    lock = lock_of(version)
    assert lock is not None
    pins = dict(pin.split("==") for pin in lock.pins.split())
    assert pins["vllm"] == version
    assert list(pins) == sorted(pins)
    assert {"torch", "transformers", "nvidia-nccl-cu13"} <= pins.keys()
    assert (len(lock.sha256), lock.python, lock.size_bytes > 3e9) == (64, "3.12", True)


def test_a_version_without_a_lock_has_none_and_that_is_said(tmp_path: Path) -> None:
    assert lock_of("0.1.0") is None
    aws, clock = fresh()
    order = an_order(engine_unlocked="vllm==0.32.0")
    said = account_preflight.survey(door(aws, clock, tmp_path), order).findings
    assert [(one.outcome, one.found) for one in said if one.topic == "engine"] == [
        ("warning", "vllm==0.32.0 has no lock: the box installs what the package index has that day")
    ]
    silent = account_preflight.survey(door(aws, clock, tmp_path / "2"), an_order()).findings
    assert [one for one in silent if one.topic == "engine"] == []


def wheel(name: str) -> dict[str, Any]:
    return {"url": f"https://index.invalid/packages/{name}"}


def test_of_several_wheels_the_one_is_locked_that_pip_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "lock_engine", raising=False)
    lock_engine = import_module("lock_engine")
    old, new = "a-1-cp312-cp312-manylinux2014_x86_64.whl", "a-1-cp312-cp312-manylinux_2_28_x86_64.whl"
    limited, pure = "a-1-cp38-abi3-manylinux_2_28_x86_64.whl", "a-1-py3-none-any.whl"
    others = ["a-1-cp313-cp313-manylinux_2_28_x86_64.whl", "a-1-cp312-cp312-musllinux_1_2_x86_64.whl"]
    others += ["a-1-cp312-cp312-manylinux_2_28_aarch64.whl", "a-1-cp312-cp312-manylinux_2_40_x86_64.whl"]
    rank = lock_engine.ranks()
    left, taken = [pure, limited, old, new, *others], []
    for _ in range(4):
        best = lock_engine.taken([wheel(name) for name in left], rank)["url"].rsplit("/", 1)[1]
        taken.append(best)
        left.remove(best)
    assert taken == [new, old, limited, pure]
    with pytest.raises(ValueError, match="no wheel fits"):
        lock_engine.taken([wheel(name) for name in left], rank)
