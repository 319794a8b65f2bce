"""Exports as the very programs read them that they are for: Docker Compose of Debian 13, and SkyPilot."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from test_export import CACHE, PLANS, plan, rendered, vllm_command

from deploy.export.skypilot import SKYPILOT

COMPOSE = CACHE / "compose"
SKY = CACHE / f"skypilot-{SKYPILOT}"
READ = """
import json, sys, yaml
from sky import Task
keys = [("VLLM_API_KEY", "k"), ("HF_TOKEN", "t")]
for text in json.load(sys.stdin):
    task = Task.from_yaml_config(yaml.safe_load(text), secrets_overrides=keys)
    (resources,) = task.resources
    print(json.dumps({
        "num_nodes": task.num_nodes, "accelerators": resources.accelerators, "setup": task.setup, "run": task.run,
        "envs": task.envs, "secrets": sorted(task.secrets),
    }))
"""


@pytest.mark.parametrize("name", PLANS[:2])
def test_docker_compose_reads_the_plans_command(
    name: str, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not (COMPOSE / "complete").exists():
        need("compose", "docker-compose is not installed; run: scripts/ci-exporters")
    for file in rendered("compose", name).files:
        (tmp_path / file.path).write_text(file.content)
    (tmp_path / "secrets.env").write_text("VLLM_API_KEY=k\nHF_TOKEN=t\n")
    done = subprocess.run(
        [COMPOSE / "usr/libexec/docker/cli-plugins/docker-compose", "config", "--format", "json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    vllm: dict[str, Any] = json.loads(done.stdout)["services"]["vllm"]
    words = [word.replace("$$", "$") for word in (*vllm["entrypoint"], *vllm["command"])]
    assert words == vllm_command("compose", name)
    assert (vllm["environment"]["VLLM_API_KEY"], vllm["environment"]["HF_HUB_OFFLINE"]) == ("k", "1")


def test_skypilot_reads_the_plans_task(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> None:
    """Of those without an instance type, which it looks up in the network; in one process, for its import is slow."""
    if not (SKY / "complete").exists():
        need("skypilot", "SkyPilot is not installed; run: scripts/ci-exporters")
    names = PLANS[1:]
    texts = [rendered("skypilot", name).files[0].content for name in names]
    done = subprocess.run(
        [SKY / "bin/python", "-c", READ],
        input=json.dumps(texts),
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "num_nodes": plan(name).machine.hosts,
            "accelerators": {"H100": 8},
            "setup": task["setup"],
            "run": task["run"],
            "envs": task["envs"],
            "secrets": ["HF_TOKEN", "VLLM_API_KEY"],
        }
        for name, task in zip(names, map(yaml.safe_load, texts), strict=True)
    ]
