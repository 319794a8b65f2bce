"""`corral export --to prometheus`: its rules in promtool, its queries in a real Prometheus, its names on real pages."""

import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from ports import free_port

from deploy.cli.main import run
from deploy.export.watch_options import moment
from infra.errors import UsageError

DATA = Path(__file__).parent / "data"
PAGES = DATA / "metrics"
PLAN = DATA / "export" / "scout-int4.json"
ALL = [
    "export", str(PLAN), "--to", "prometheus", "--name", "scout-int4", "--endpoint", "http://127.9.9.9:8000",
    "--ttft", "2", "--budget-usd-per-month", "5000", "--ends-at", "1970-01-01T05:00:00Z",
    "--gpu-metrics", "http://127.9.9.9:9400", "--gateway-metrics", "http://127.9.9.9:8405",
]  # fmt: skip
OF_DCGM = {
    "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_ROW_REMAP_FAILURE", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_FB_USED",
}  # fmt: skip
"""Of the default counters of NVIDIA's exporter (etc/default-counters.csv, 2026-08)."""
STEPS = 41
"""So many times the recorded pages were scraped, every 15 s: ten minutes."""
UP_WITHIN_S = 120
NAME = re.compile(r"\b(?:vllm:|haproxy_|process_|DCGM_)\w+")
ask = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def programs(need: Callable[[str, str], NoReturn]) -> Path:
    """Where prometheus and promtool are, as scripts/ci-exporters brings them, or as they are installed."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests" / "prometheus"
    if (kept / "complete").exists():
        return kept / "usr" / "bin"
    if not (found := shutil.which("promtool")):
        need("prometheus", "no Prometheus is installed; run: scripts/ci-exporters")
    return Path(found).parent


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watching")
    assert run([*ALL, "-o", str(folder)]) == 0
    return folder


def alerts(folder: Path) -> set[str]:
    groups = yaml.safe_load((folder / "rules.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def panels(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "dashboard.json").read_text())["panels"])


def queries(folder: Path) -> list[str]:
    return [target["expr"] for panel in panels(folder) for target in panel["targets"]]


def told(page: str) -> set[str]:
    """The names of what a page of a real server tells."""
    lines = (PAGES / page).read_text().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


@pytest.mark.parametrize("file", ["rules.yml", "dashboard.json"])
def test_every_name_is_on_a_page_of_the_real_server(exported: Path, file: str) -> None:
    """One that a release renames would be an alert that never comes."""
    asked = set(NAME.findall((exported / file).read_text()))
    assert len(asked) > 10
    assert asked - told("vllm-0.32.0.txt") - told("haproxy-2.6.12.txt") - OF_DCGM == set()


def test_promtool_takes_the_configuration_and_each_alert_comes_when_it_should_and_not_before(
    exported: Path, programs: Path
) -> None:
    tests = ["alerts-test.yml", "alerts-of-weeks-test.yml"]
    for name in tests:
        shutil.copy(PAGES / name, exported / name)
    tested = re.findall(r"alertname: (\w+)", "".join((PAGES / name).read_text() for name in tests))
    assert alerts(exported) == set(tested)
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", *tests]):
        done = subprocess.run(
            [programs / "promtool", *words], cwd=exported, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def stamped(page: str, labels: str, at: int, share: float) -> Iterator[str]:
    """A recorded page as it was scraped then: counters and histograms are at a share of what they came to."""
    kinds: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
            continue
        series, _, value = line.rpartition(" ")
        name, _, own = series.partition("{")
        grows = kinds.get(re.sub(r"_(bucket|sum|count)$", "", name), kinds.get(name)) in (
            "counter",
            "histogram",
        )
        number = float(value) * (share if grows else 1)
        inner = ",".join(filter(None, (own.rstrip("}"), labels)))
        yield f"{name}{{{inner}}} {number!r} {at}\n"


def blocks(programs: Path, folder: Path, now: int) -> Path:
    """A database of Prometheus in which the recorded pages were scraped for the last ten minutes."""
    gpu = "".join(f'{name}{{gpu="0"}} 300.0\n' for name in sorted(OF_DCGM))
    jobs = {
        "corral-scout-int4": (PAGES / "vllm-0.32.0.txt").read_text() + "up 1.0\n",
        "corral-scout-int4-gateway": (PAGES / "haproxy-2.6.12.txt").read_text() + "up 1.0\n",
        "corral-scout-int4-gpus": gpu + "up 1.0\n",
    }
    series: dict[str, list[str]] = {}
    for step in range(STEPS):
        for job, page in jobs.items():
            labels = f'job="{job}",instance="a"'
            for line in stamped(page, labels, now - 15 * (STEPS - step), step / (STEPS - 1)):
                series.setdefault(line.rsplit(" ", 2)[0], []).append(line)
    text = "".join(line for lines in series.values() for line in lines)
    (folder / "pages.txt").write_text(f"{text}# EOF\n")
    made = [
        str(programs / "promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(folder / "pages.txt"),
    ]
    done = subprocess.run([*made, str(folder / "data")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "data"


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def asks(self, path: str, **given: Any) -> Any:
        with ask(f"{self.url}/api/v1/{path}?{urlencode(given)}") as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def prometheus(
    exported: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """With the exported files, and the recorded pages in its database until two hours ago."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    data = blocks(programs, folder, NOW)
    words = [
        str(programs / "prometheus"), f"--config.file={exported / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            found, until = Prometheus(f"http://127.0.0.1:{port}"), time.monotonic() + UP_WITHIN_S
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    found.asks("status/runtimeinfo")
                    break
                except (URLError, ValueError):
                    assert time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.1)
            yield found
        finally:
            process.kill()


NOW = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp())


def test_each_query_of_the_dashboard_has_an_answer_in_a_real_prometheus(
    exported: Path, prometheus: Prometheus
) -> None:
    """Of the real engine's page, read by the same queries that are recorded."""
    answers = {
        query: prometheus.asks("query", query=query, time=NOW - 20)["result"] for query in queries(exported)
    }
    empty = {
        query
        for query, series in answers.items()
        if not series or any(not math.isfinite(float(each["value"][1])) for each in series)
    }
    assert empty == set()
    by_title = {
        panel["title"]: [float(answers[target["expr"]][0]["value"][1]) for target in panel["targets"]]
        for panel in panels(exported)
    }
    page = (PAGES / "vllm-0.32.0.txt").read_text()
    (written,) = re.findall(r"^vllm:generation_tokens_total{.*} (\S+)$", page, re.M)
    assert by_title["Tokens a second"][0] == pytest.approx(float(written) / (15 * (STEPS - 1)), rel=0.01)
    assert by_title["Servers"] == [1, 1]
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in panels(exported)}
    assert units["GPU memory"] == "mbytes", "DCGM tells MiB, which Grafana calls so"
    assert by_title["Cost"] == [pytest.approx(5.672)]
    assert 0 < by_title["Time to first token"][0] <= by_title["Time to first token"][1] < 60


def test_it_takes_the_rules_and_scrapes_what_was_named(exported: Path, prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.asks("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == alerts(exported)
    while not (targets := prometheus.asks("targets")["activeTargets"]):
        time.sleep(0.2)
    assert {(target["labels"]["job"], target["scrapeUrl"]) for target in targets} == {
        ("corral-scout-int4", "http://127.9.9.9:8000/metrics"),
        ("corral-scout-int4-gpus", "http://127.9.9.9:9400/metrics"),
        ("corral-scout-int4-gateway", "http://127.9.9.9:8405/metrics"),
    }


def test_what_nobody_named_is_not_alerted_of_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "export",
        str(PLAN),
        "--to",
        "prometheus",
        "--endpoint",
        "https://llm.example/a/v1",
        "-o",
        str(tmp_path),
    ]
    assert run(words) == 0
    assert (
        "Not alerted of without --ttft (a promise that is broken), --budget-usd-per-month, --ends-at (the end of a "
        "rented machine), --gpu-metrics (faults of GPUs), --gateway-metrics.\n"
    ) in capsys.readouterr().err
    assert alerts(tmp_path) == {
        "CorralServerNotAnswering", "CorralNoServers", "CorralServerHangs", "CorralServerRestarts", "CorralQueue",
        "CorralKvCacheFull",
    }  # fmt: skip
    (scraped,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["static_configs"] == [
        {"targets": ["llm.example"], "labels": {"__scheme__": "https", "__metrics_path__": "/a/metrics"}}
    ]


def test_a_time_is_of_a_zone() -> None:
    assert moment("2026-12-24T19:00:00+01:00") == "2026-12-24T18:00:00Z"
    for text in ("tomorrow", "2026-12-24", "2026-12-24T18:00:00"):
        with pytest.raises(UsageError, match="is no time with its zone"):
            moment(text)
