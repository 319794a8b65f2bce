"""`corral export` of a deployment: by its name, and before every server that it has; a page of metrics as pasted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.main import run
from deploy.targets import deployment as deployments
from serving.sizing.plan import Plan

PLAN = Path(__file__).parent / "data" / "export" / "scout-int4.json"


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment of two hosts, neither of which can be asked; where an export goes."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    made = deployments.make(Plan.read(PLAN), "ssh", "bank").model_copy(
        update={"hosts": ("ops@gpu-1", "ops@gpu-2")}
    )
    folder = deployments.folder("bank")
    folder.mkdir(parents=True)
    made.write(folder / "deployment.json")
    return tmp_path / "watch"


def scraped(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Job -> where."""
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    return [(each["job_name"], each["static_configs"]) for each in config["scrape_configs"]]


def test_every_replica_is_scraped_under_the_name_of_the_deployment(bank: Path) -> None:
    assert run(["export", "bank", "--to", "prometheus", "-o", str(bank)]) == 0
    assert scraped(bank) == [
        ("corral-bank", [{"targets": ["127.0.0.1:8000"]}, {"targets": ["127.0.0.1:8001"]}])
    ]
    assert 'job="corral-bank"' in (bank / "rules.yml").read_text()


def test_what_is_named_on_the_line_comes_first(bank: Path) -> None:
    words = ["export", "bank", "--to", "prometheus", "--name", "other", "--endpoint", "http://10.0.0.5:8000"]
    assert run([*words, "-o", str(bank)]) == 0
    assert scraped(bank) == [("corral-other", [{"targets": ["10.0.0.5:8000"]}])]


def test_a_router_stands_before_every_replica(bank: Path) -> None:
    assert run(["export", "bank", "--to", "litellm", "-o", str(bank)]) == 0
    config = yaml.safe_load((bank / "config.yaml").read_text())
    assert [each["litellm_params"]["api_base"] for each in config["model_list"]] == [
        "http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1",
    ]  # fmt: skip


@pytest.mark.parametrize("pasted", ["", "/", "/metrics", "/metrics/", "/v1", "/v1/"])
def test_an_address_is_taken_as_it_is_pasted(pasted: str, tmp_path: Path) -> None:
    words = ["export", str(PLAN), "--to", "prometheus", "--name", "bank", "-o", str(tmp_path)]
    for flag, port in (("--endpoint", 8000), ("--gpu-metrics", 9400), ("--gateway-metrics", 9101)):
        words += [flag, f"http://127.0.0.1:{port}{pasted}"]
    assert run(words) == 0
    assert scraped(tmp_path) == [
        ("corral-bank", [{"targets": ["127.0.0.1:8000"]}]),
        ("corral-bank-gpus", [{"targets": ["127.0.0.1:9400"]}]),
        ("corral-bank-gateway", [{"targets": ["127.0.0.1:9101"]}]),
    ]


def test_a_page_below_a_folder_keeps_the_folder(tmp_path: Path) -> None:
    words = ["export", str(PLAN), "--to", "prometheus", "--endpoint", "https://llm.example/a/metrics"]
    assert run([*words, "--name", "bank", "-o", str(tmp_path)]) == 0
    labels = {"__scheme__": "https", "__metrics_path__": "/a/metrics"}
    assert scraped(tmp_path) == [("corral-bank", [{"targets": ["llm.example"], "labels": labels}])]
