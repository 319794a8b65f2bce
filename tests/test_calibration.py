"""Calibration: a probe bends the prediction of its machine, and of no other."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra.catalog import gpus
from serving.model import calibration
from serving.model.models import model
from serving.model.roofline import Engine, prefill_s
from serving.model.throughput import Fit, Load, kernels_s
from serving.model.weights import Split
from serving.probe.report import ProbeReport
from serving.sizing import kept_calibrations
from serving.sizing.plan import Plan, Throughput
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.vllm.versions import rules

PROBE = {
    "document": "probe",
    "schema_version": 1,
    "url": "http://127.0.0.1:8000",
    "model": "llama-4-scout",
    "started_at": "2026-11-24T02:00:00+00:00",
    "load": {"concurrency": 16},
    "sent": 64,
    "succeeded": 64,
    "errors": {},
    "duration_s": 100.0,
    "input_tokens": 64_000,
    "output_tokens": 64_000,
    "output_tokens_per_s": 0.0,
    "total_tokens_per_s": 0.0,
    "request_per_s": 0.0,
    "ttft_s": None,
    "tpot_s": None,
    "itl_s": None,
    "e2e_s": None,
    "goodput": {},
    "client": {"cpu_fraction": 0.1, "max_lag_s": 0.001},
    "valid": True,
    "warnings": [],
}


def summary(mean: float) -> dict[str, float]:
    return dict.fromkeys(("mean", "p50", "p90", "p95", "p99"), mean)


def probe_file(folder: Path, concurrency: int, tpot_s: float, ttft_s: float, **changes: object) -> Path:
    path = folder / f"probe-{concurrency}.json"
    values = {"load": {"concurrency": concurrency}, "tpot_s": summary(tpot_s), "ttft_s": summary(ttft_s)}
    path.write_text(json.dumps(PROBE | values | changes))
    ProbeReport.read(path)
    return path


def prediction(machine: str = "8xH100", concurrency: int = 16) -> Throughput:
    found = plan(named("scout", "fp8"), on(machine), Options(concurrency=concurrency)).throughput
    assert found is not None
    return found


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    plan(named("scout", "fp8"), on("8xH100"), Options()).write(tmp_path / "plan.json")
    return tmp_path / "plan.json"


def calibrate(probe: Path, plan_path: Path) -> int:
    return run(["calibrate", str(probe), "--plan", str(plan_path)])


def test_one_probe_moves_the_prediction_onto_it(tmp_path: Path, plan_file: Path) -> None:
    before, elsewhere = prediction(), prediction("8xH200")
    assert calibrate(probe_file(tmp_path, 16, before.tpot_s * 1.5, 0.2), plan_file) == 0
    after = prediction()
    assert after.tpot_s == pytest.approx(before.tpot_s * 1.5, rel=0.01)
    assert after.ttft_s == pytest.approx(0.2, rel=0.01)
    assert after.basis.startswith("calibrated on ")
    assert after.basis.endswith("with 1 probe of H100")
    assert after.band == pytest.approx(1.2, abs=0.01)
    assert prediction("8xH200") == elsewhere


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"machine": "8xH200"}, "8xH200, the plan is for 8xH100"),
        ({"machine": "4xH100"}, "4xH100, the plan is for 8xH100"),
        ({"machine": "local"}, "local, the plan is for 8xH100"),
        ({"machine": "8xH100", "precision": "int4"}, "int4, the plan is for fp8"),
        ({"machine": "p5.48xlarge", "precision": "fp8"}, None),  # eight of the same
        ({"machine": "8xH100"}, None),
    ],
)
def test_a_probe_of_another_machine_or_precision_calibrates_nothing(
    of: dict[str, str], said: str | None, tmp_path: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(probe_file(tmp_path, 16, 0.02, 0.2, **of), plan_file) == (2 if said else 0)
    hint = "hint: Give the plan of the server that was probed.\n"
    assert capsys.readouterr().err == (f"error: The probe was of {said}.\n{hint}" if said else "")


def test_what_was_predicted_and_measured_is_one_table(
    tmp_path: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prediction()
    assert calibrate(probe_file(tmp_path, 16, 0.02, 0.2), plan_file) == 0
    assert capsys.readouterr().out == (
        "Calibrated: scout fp8 on H100, tensor parallel 8\n"
        "  concurrency  in    out   TPOT ms  TTFT s  measured at\n"
        "  16           1000  1000  20.00    0.200   2026-11-24T02:00:00+00:00\n\n"
        f"The plan predicted {before.tpot_s * 1000:.2f} ms at 16 ({before.basis}).\n\n"
        "Next: corral size scout --precision fp8 --on 8xH100\n"
    )


def test_two_loads_tell_kernels_from_overhead_but_are_not_certain(tmp_path: Path, plan_file: Path) -> None:
    """Truth: kernels 1.3 times as slow, 2 ms of overhead instead of 2.94."""
    plain = {n: prediction(concurrency=n).tpot_s for n in (1, 64, 256)}
    truth = {n: (tpot - 0.00294) * 1.3 + 0.002 for n, tpot in plain.items()}
    for concurrency in (1, 64):
        calibrate(probe_file(tmp_path, concurrency, truth[concurrency], 0.2), plan_file)
    assert prediction(concurrency=64).tpot_s == pytest.approx(truth[64], rel=0.02)
    assert prediction(concurrency=256).tpot_s == pytest.approx(truth[256], rel=0.03)
    near, far = (prediction(concurrency=n).band for n in (64, 256))
    assert near is not None
    assert far is not None
    assert 1.15 < near < far < 1.3


def test_what_waited_for_room_is_no_load_of_a_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 at once where 29 fit, measured as it is predicted: it is predicted so again, of fewer at once, too."""

    def predicted(concurrency: int) -> Plan:
        return plan(named("scout", "int4"), on("1xH100"), Options(concurrency=concurrency))

    few, many = predicted(16).throughput, predicted(64).throughput
    assert few is not None
    assert many is not None
    assert (few.running, many.running) == (16, 29)
    predicted(64).write(path := tmp_path / "plan.json")
    probe = probe_file(tmp_path, 64, many.tpot_s, many.ttft_s)
    assert calibrate(probe, path) == 9
    assert capsys.readouterr().err == (
        "error: Of that probe's 64 requests at once 29 run, by the plan, and it says not how long the others waited: "
        "the server's /metrics were not read.\n"
        "hint: Probe again: corral probe http://127.0.0.1:8000 --concurrency 29\n"
    )
    assert not kept_calibrations.path().exists()
    queue_s = many.ttft_s - (few.ttft_s - few.tpot_s)  # all but what its own prefill takes
    assert (
        calibrate(probe_file(tmp_path, 64, many.tpot_s, many.ttft_s, server={"queue_mean_s": queue_s}), path)
        == 0
    )
    for before, after in ((few, predicted(16).throughput), (many, predicted(64).throughput)):
        assert after is not None
        assert (after.tpot_s, after.ttft_s) == pytest.approx((before.tpot_s, before.ttft_s), rel=0.03)
        assert after.basis.endswith("with 1 probe of H100")


def test_the_same_probe_twice_counts_once(tmp_path: Path, plan_file: Path) -> None:
    probe = probe_file(tmp_path, 16, 0.02, 0.2)
    assert calibrate(probe, plan_file) == calibrate(probe, plan_file) == 0
    assert prediction().basis.endswith("with 1 probe of H100")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"valid": False}, 9, "That probe is not valid"),
        ({"succeeded": 0}, 9, "That probe is not valid"),
        ({"succeeded": 15}, 9, "That probe has 15 succeeded requests; a calibration needs 16 or more."),
        ({"model": "m"}, 2, "The probe asked m, the plan serves llama-4-scout."),
        ({"load": {"request_rate": 2.0}}, 2, "Calibration needs a probe with a fixed concurrency."),
    ],
)
def test_a_probe_that_cannot_be_used(
    changes: dict[str, object],
    code: int,
    message: str,
    tmp_path: Path,
    plan_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate(probe_file(tmp_path, 16, 0.02, 0.2, **changes), plan_file) == code
    assert message in capsys.readouterr().err
    assert not prediction().basis.startswith("calibrated")


def test_a_probe_faster_than_the_memory_is_refused(
    tmp_path: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(probe_file(tmp_path, 16, 0.000_01, 0.2), plan_file) == 9
    assert "That probe's TPOT of 0.01 ms is not possible on 8xH100" in capsys.readouterr().err
    assert not prediction().basis.startswith("calibrated")


def test_a_plan_without_a_speed_cannot_be_calibrated(tmp_path: Path) -> None:
    refused: Plan = plan(named("scout", "bf16"), on("2xA100-80GB"), Options())
    refused.write(tmp_path / "no.json")
    assert calibrate(probe_file(tmp_path, 16, 0.02, 0.2), tmp_path / "no.json") == 2


# The line through the points, by hand


def test_a_point_where_it_was_expected_moves_nothing_and_takes_doubt_away() -> None:
    """Of 14 ms the kernels take 10: what the two give together is known to 8 %, and not how they share it."""
    kernels, overhead, doubt = calibration.posterior([(0.010, 0.014)], 0.004)
    assert (kernels, overhead) == pytest.approx((1.0, 0.004))
    a, b, c = 1 + (10 / 14 / 0.08) ** 2, 10 * 4 / (14 * 0.08) ** 2, 1 + (4 / 14 / 0.08) ** 2
    det = a * c - b * b
    assert (doubt.kernels, doubt.both, doubt.overhead, doubt.load) == pytest.approx(
        (c / det, -b / det, a / det, 0.0064)
    )


def test_what_falls_with_the_load_is_no_reason_for_less_than_nothing() -> None:
    kernels, overhead, doubt = calibration.posterior([(0.010, 0.028), (0.020, 0.020)], 0.004)
    assert kernels > 0
    assert overhead > 0
    assert doubt.band(0.8) > 1.3


SCOUT = model("scout")
ENGINE = Engine(
    gpu=gpus()["H100"],
    family=SCOUT.family,
    architecture=SCOUT.architecture,
    scheme=SCOUT.checkpoints["fp8"].scheme,
    split=Split(8),
    rules=rules("0.33.0"),
    kv_bytes_per_value=2,
    max_num_batched_tokens=8192,
    host_gb_per_s=50,
)


def measured_by(*loads: tuple[int, float]) -> calibration.Calibration:
    """Points of a machine whose kernels take 1.5 times as long, with 6 ms more; each may be off by a factor."""
    points = []
    for concurrency, off in loads:
        tpot = (1.5 * kernels_s(ENGINE, Load(1000, 500, concurrency), concurrency) + 0.006) * off
        points.append(
            calibration.Point(
                concurrency=concurrency,
                input_tokens=1000,
                output_tokens=500,
                tpot_s=tpot,
                # Alone it waits for no step, and has the overhead of its own.
                ttft_s=0.010 + (tpot if concurrency > 1 else 0.006) + 2 * prefill_s(ENGINE, 1000),
                measured_at="",
            )
        )
    return calibration.Calibration(
        gpu="H100",
        model="scout",
        precision="fp8",
        tensor=8,
        pipeline=1,
        data=1,
        vllm_version="0.33.0",
        points=tuple(points),
        updated_at=datetime(2026, 11, 28, 23, tzinfo=UTC),
    )


def band(found: Fit, concurrency: int) -> float:
    """The band at a load of the machine."""
    kernels = found.kernels * kernels_s(ENGINE, Load(1000, 500, concurrency), concurrency)
    return found.doubt.band(kernels / (kernels + found.overhead_s))


def told(found: Fit, concurrency: int) -> float:
    """The TPOT at a load of the machine, over what it is in truth."""
    kernels = kernels_s(ENGINE, Load(1000, 500, concurrency), concurrency)
    return (found.kernels * kernels + found.overhead_s) / (1.5 * kernels + 0.006)


def test_many_loads_tell_kernels_from_overhead() -> None:
    found = calibration.fitted(measured_by(*((n, 1.0) for n in (1, 4, 16, 64, 128, 256) * 8)), ENGINE)
    assert (found.kernels, found.overhead_s, found.prefill) == pytest.approx((1.5, 0.006, 2.0), rel=0.02)
    assert found.basis == "calibrated on 2026-11-28 with 48 probes of H100"
    assert [band(found, n) for n in (1, 256)] == pytest.approx([1.145, 1.145], abs=0.005)


def test_two_points_are_not_certain() -> None:
    """The truth lies inside, and the band is widest where nothing was measured."""
    found = calibration.fitted(measured_by((1, 1.0), (64, 1.0)), ENGINE)
    bands = [band(found, n) for n in (1, 64, 1024)]
    assert bands == pytest.approx([1.2, 1.2, 1.37], abs=0.02)
    assert all(1 / 1.05 < told(found, n) < 1.05 for n in (1, 64, 1024))


def test_one_load_says_little_about_another() -> None:
    found = calibration.fitted(measured_by((64, 1.0)), ENGINE)
    assert told(found, 64) == pytest.approx(1.0, abs=0.005)
    assert [band(found, n) for n in (64, 1)] == pytest.approx([1.204, 1.395], abs=0.01)
    assert found.basis == "calibrated on 2026-11-28 with 1 probe of H100"


def test_points_that_contradict_one_another_widen_the_band() -> None:
    """Two of one load, one of twice the other's time: it lies between, and either lies inside."""
    found = calibration.fitted(measured_by((64, 1.0), (64, 2.0)), ENGINE)
    assert told(found, 64) == pytest.approx(2**0.5, abs=0.01)
    assert band(found, 64) > 2**0.5


def test_a_prefill_is_never_nothing() -> None:
    (point,) = measured_by((1, 1.0)).points
    found = point.model_copy(update={"ttft_s": point.tpot_s})
    assert calibration.prefill_factor(ENGINE, found, 0.006) == 0.1
    assert calibration.load_of(point) == Load(1000, 500, 1)
