"""The probe's bench, which nobody runs every day: it measures, and says which figures are within their bounds."""

import os
from pathlib import Path
from typing import Any


def test_a_figure_is_beside_its_bound(bench: Any) -> None:
    figures = {"near": (-0.4, 0.5), "far": (-0.6, 0.5), "exact": (0.0, 0.0), "none": (float("nan"), 1.0)}
    assert bench.judged(figures) == [
        "",
        "| judged | measured | bound | |",
        "|---|---|---|---|",
        "| near | -0.400 | 0.500 | ok |",
        "| far | -0.600 | 0.500 | MISSED |",
        "| exact | 0.000 | 0.000 | ok |",
        "| none | nan | 1.000 | MISSED |",
    ]
    assert bench.judged({}) == []


def test_every_bound_of_a_client_is_judged_where_it_is_measured(
    bench: Any, c_server: Path, need: Any
) -> None:
    if not {0, 1} <= os.sched_getaffinity(0):
        need("cores", "the bench puts the server on core 0 and its client on core 1")
    row = bench.one(c_server, (20, 10, 0, 0), (8, 16, 10), bench.clients.corral)
    assert row["events"] == 16 * 10
    bounds = bench.bounds.FIGURES["corral"]
    judged = bench.bounds.of_clients({"corral": row | {"peak_error": 0.0}, "vllm 0.32.0": row})
    assert {name: most for name, (_, most) in judged.items()} == {
        f"corral: {figure}": most for figure, most in bounds.items()
    }


def test_the_cpu_is_judged_beside_whoever_is_here(bench: Any) -> None:
    cpu = {"corral": 6.0, "corral read by Python": 17.0, "vllm 0.32.0": 40.0, "c": 5.0}
    rows = {client: {"cpu_s_per_million": cpu_s} for client, cpu_s in cpu.items()}
    assert bench.bounds.of_cpu(rows | {"vllm 0.31.0": {}}) == {
        "CPU of corral beside vllm 0.32.0": (0.15, 0.25),
        "CPU of corral beside c": (1.2, 2.2),
    }


def test_the_clients_of_a_round_take_turns_in_beginning(bench: Any, monkeypatch: Any) -> None:
    asked: list[str] = []

    def one(built: Path, server: object, load: object, client: str) -> dict[str, float]:
        asked.append(client)
        return {}

    monkeypatch.setattr(bench, "one", one)
    bench.measure(Path(), (), (1, 1, 1), {"corral": "ours", "c": "theirs"}, 3)
    assert asked == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_a_ratio_is_told_with_the_rounds_it_is_made_of(bench: Any) -> None:
    cpu = {"corral": (6.0, 9.0, 7.0), "c": (5.0, 6.0, 7.0), "corral of abc": (7.0, 7.0), "vllm 0.32.0": ()}
    rows = {client: [{"cpu_s_per_million": cpu_s} for cpu_s in each] for client, each in cpu.items()}
    assert bench.medians(rows, bench.FIGURES[:1])[-2:] == [
        "CPU of corral: 1.17x c (1.00 to 1.50), 1.00x corral of abc",
        "Ended without a result in the other rounds: corral of abc: 2 rounds, vllm 0.32.0: 0 rounds",
    ]


def test_an_even_load_is_no_poisson_process(bench: Any) -> None:
    judge = bench.bounds.of_poisson
    even = bench.kolmogorov_smirnov(bench.numpy.full(1000, 0.005), 200.0)
    assert bench.judged(judge(4200, 200.0, 20.0, even, {"by the probe": 2.1}))[3:] == [
        "| requests beside the mean | 200.000 | 189.737 | MISSED |",
        "| Kolmogorov-Smirnov distance | 0.632 | 0.025 | MISSED |",
        "| late by p99, by the probe, ms | 2.100 | 2.000 | MISSED |",
    ]
