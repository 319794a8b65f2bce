"""The file of raw results: what is written, what is kept when the disk refuses, what is read back."""

import errno
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.errors import DocumentError, HostError, UsageError
from serving.probe import results
from serving.probe.lengths import Lengths
from serving.probe.metrics import Figures
from serving.probe.results import Writer, new_writer, read
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.samples import collect
from serving.probe.spec import Load, Slo, Target, Workload

RUN = Run(
    target=Target(base_url="http://host"),
    model="m",
    load=Load(shape="burst"),
    workload=Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=5)),
    slo=Slo(),
    server=ServerFacts(),
    started_at="2026-11-24T00:00:00+00:00",
)
ENDING = Ending(duration_us=9, clients=[ClientSide(process=1, lag_us={"p50": 1.0})], unfinished=2)


def result(index: int, **fields: Any) -> Result:
    common: dict[str, Any] = {"scheduled_us": 0, "sent_us": 1, "done_us": 9, "gaps_us": [3, 4]}
    return Result(index=index, **(common | fields))


class Disk:
    """A file that takes so many bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self._room = path.open("wb", buffering=0), room

    def write(self, data: bytes) -> int:
        room = self._room - self._file.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data[:room])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def writer_on(path: Path, room: int) -> Writer:
    made = Writer(path)
    made._file.close()
    made._file = Disk(path, room)  # type: ignore[assignment]
    return made


def test_a_line_holds_what_differs_from_its_default(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "results.jsonl")
    writer.run(RUN)
    writer.result(result(0))
    writer.result(result(7, status=200, error="reset", gaps_us=[], process=2))
    writer.close(ENDING)
    first, one, two, last = (tmp_path / "results.jsonl").read_bytes().splitlines()
    assert first == RUN.model_dump_json().encode()
    assert orjson.loads(one) == {"index": 0, "scheduled_us": 0, "sent_us": 1, "done_us": 9, "gaps_us": [3, 4]}
    assert orjson.loads(two) == {
        "index": 7, "scheduled_us": 0, "sent_us": 1, "done_us": 9, "status": 200, "error": "reset", "process": 2,
    }  # fmt: skip
    assert orjson.loads(last)["end"]["clients"][0]["lag_us"] == {"p50": 1.0}
    assert list(read(tmp_path / "results.jsonl")[1])[-1] == ENDING


def test_what_the_disk_does_not_take_is_kept_and_the_file_holds_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    start = len(RUN.model_dump_json()) + 1
    line = len(orjson.dumps(results.shortened(result(0)))) + 1
    writer = writer_on(path, start + line + 10)
    writer.run(RUN)
    for number in range(3):
        writer.result(result(number))
    writer.close(ENDING)
    assert writer.failure == f"{path}: No space left on device"
    assert writer.kept == [result(1), result(2), ENDING]
    assert path.stat().st_size == start + line
    assert list(read(path, writer.kept)[1]) == [result(0), result(1), result(2), ENDING]
    assert list(read(path, writer.kept[:2])[1])[-1] == Ending(duration_us=9, clients=[], interrupted=True)


def test_without_its_first_line_no_file_is_of_use(tmp_path: Path) -> None:
    writer = writer_on(tmp_path / "results.jsonl", 20)
    with pytest.raises(HostError) as caught:
        writer.run(RUN)
    assert caught.value.message == (
        f"The results cannot be written to {tmp_path / 'results.jsonl'}: No space left on device."
    )
    assert caught.value.hint == "Free some space: df -h"
    writer.abandon()


def test_another_processs_part_is_appended_and_removed(tmp_path: Path) -> None:
    part = tmp_path / ".part"
    lines = [orjson.dumps(results.shortened(result(number))) for number in range(3)]
    writer = Writer(tmp_path / "results.jsonl")
    writer.run(RUN)
    part.write_bytes(lines[0] + b"\n" + lines[1] + b"\n" + lines[2][:9])
    writer.take(part)
    writer.take(part)
    assert not part.exists()
    writer.close(ENDING)
    assert list(read(tmp_path / "results.jsonl")[1]) == [result(0), result(1), ENDING]


def test_a_part_that_the_disk_does_not_take_is_kept(tmp_path: Path) -> None:
    part = tmp_path / ".part"
    part.write_bytes(orjson.dumps(results.shortened(result(4))) + b"\n")
    writer = writer_on(tmp_path / "results.jsonl", len(RUN.model_dump_json()) + 1)
    writer.run(RUN)
    writer.take(part)
    writer.close(ENDING)
    assert writer.kept == [result(4), ENDING]


@pytest.mark.parametrize("has_results", [True, False])
def test_a_run_that_fails_keeps_what_was_measured_and_leaves_nothing_else(
    tmp_path: Path, has_results: bool
) -> None:
    writer = Writer(tmp_path / "a" / "b" / "results.jsonl")
    writer.run(RUN)
    if has_results:
        writer.result(result(0))
    writer.give_up()
    assert writer._file.closed
    assert [path.name for path in tmp_path.iterdir()] == (["a"] if has_results else [])


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Writer(tmp_path / "a" / "b" / "results.jsonl").abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "c").mkdir()
    writer = Writer(tmp_path / "c" / "d" / "results.jsonl")
    (tmp_path / "c" / "d" / "other").touch()
    writer.abandon()
    assert (tmp_path / "c" / "d" / "other").exists()


def test_a_new_writer_has_tried_the_disk_and_begins_empty(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "out")
    assert (tmp_path / "out" / "results.jsonl").stat().st_size == 0
    writer.run(RUN)
    writer.close(ENDING)
    run, records = read(tmp_path / "out" / "results.jsonl")
    assert (run, list(records)) == (RUN, [ENDING])
    for room, fits in ((4095, False), (4096, True)):
        path = tmp_path / str(room) / "results.jsonl"
        writer = writer_on(path, room)
        if fits:
            writer.try_room()
            writer._file.close()
            continue
        with pytest.raises(HostError) as caught:
            writer.try_room()
        assert caught.value.message == f"{path} cannot be written: No space left on device."
        assert caught.value.hint == "Choose another folder: --output ~/probe"
        assert not path.parent.exists()


@pytest.mark.parametrize("name", ["results.jsonl", "probe.json"])
def test_an_earlier_probe_is_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError) as caught:
        new_writer(tmp_path)
    assert caught.value.message == f"{tmp_path} holds an earlier probe's {name}, which is not overwritten."
    assert caught.value.hint == "Choose another folder, or leave --output out for a new one with the date."


# Reading


def written(folder: Path, *lines: bytes) -> Path:
    (folder / "results.jsonl").write_bytes(b"\n".join([RUN.model_dump_json().encode(), *lines]))
    return folder / "results.jsonl"


LINE = b'{"index": 0, "scheduled_us": 0, "sent_us": 1, "done_us": 9, "gaps_us": [3, 4]}'


def test_a_killed_probes_file_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    for more, cut in ((b"", False), (LINE[:20], True), (b"{broken", True)):
        path = written(tmp_path, LINE, LINE, more)
        end = Ending(duration_us=9, clients=[], interrupted=True, cut=cut)
        assert list(read(path)[1]) == [result(0), result(0), end], more


def test_what_follows_the_end_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, LINE, b'{"end": {"duration_us": 5, "clients": []}}', b"nonsense", b"")
    assert list(read(path)[1]) == [result(0), Ending(duration_us=5, clients=[])]


DAYS_40 = 40 * 86400 * 1_000_000


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({}, True),
        ({"gaps_us": []}, False),
        ({"gaps_us": [], "error": "reset"}, True),
        ({"done_us": DAYS_40 - 1}, True),
        ({"done_us": DAYS_40}, False),
        ({"done_us": -DAYS_40}, False),
        ({"scheduled_us": DAYS_40}, False),
        ({"sent_us": DAYS_40 - 7}, False),
        ({"sent_us": DAYS_40 - 8}, True),
        ({"sent_us": 1.5}, False),
        ({"scheduled_us": None}, False),
    ],
)
def test_a_line_of_which_figures_can_be_made(tmp_path: Path, fields: dict[str, Any], good: bool) -> None:
    line = orjson.dumps(orjson.loads(LINE) | fields)
    lines = read(written(tmp_path, LINE, line, b""))[1]
    if good:
        assert list(lines)[1] == result(0, **fields)
        return
    with pytest.raises(DocumentError) as caught:
        list(lines)
    path = tmp_path / "results.jsonl"
    assert caught.value.message == f"Line 3 of {path} is not a result of a probe."
    assert caught.value.hint == f"Look at it: sed -n 3p {path}"


def test_a_file_that_is_not_there_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        read(tmp_path / "no")
    assert (
        caught.value.message == f"There are no probe results at {tmp_path / 'no'}: No such file or directory."
    )
    assert caught.value.hint == f"Check the path: ls -l {tmp_path}"
    report = tmp_path / "probe.json"
    report.write_text('{\n  "document": "probe"\n}\n')
    with pytest.raises(DocumentError) as caught:
        read(report)
    assert caught.value.message == f"{report} is a report or another document, not raw results."
    assert caught.value.hint == "Give the results.jsonl of that run, or its folder."


def test_the_file_a_folder_or_a_report_stands_for(tmp_path: Path) -> None:
    results_file = tmp_path / "results.jsonl"
    for path in (tmp_path, tmp_path / "probe.json", results_file):
        assert results.results_path(path) == results_file
    assert results.results_path(tmp_path / "other.jsonl") == tmp_path / "other.jsonl"


HOUR_US = 3600 * 1_000_000


def test_a_gap_of_more_than_36_minutes_is_a_gap(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "results.jsonl")
    writer.run(RUN)
    writer.result(result(0, gaps_us=[3, 2**31 - 1], done_us=HOUR_US))
    writer.result(result(1, gaps_us=[3, 2**31, 7], done_us=2 * HOUR_US))
    writer.close(Ending(duration_us=2 * HOUR_US, clients=[]))
    run, records = read(tmp_path / "results.jsonl")
    samples = collect(records)
    assert (samples.gaps.itemsize, list(samples.gaps)) == (8, [2**31 - 1, 2**31, 7])
    made = Figures(run, samples).report()
    assert (made.succeeded, made.output_tokens, made.duration_s) == (2, 5, 7200.0)
    assert made.stalls is not None
    assert made.stalls.threshold_s == pytest.approx(5 * 2147.483647)
    assert made.peak_output_tokens_per_s == 3.0


@pytest.mark.parametrize(
    "fields",
    [{"index": "a"}, {"index": -1}, {"status": "200"}, {"status": True}, {"gaps_us": "abc"}, {"gaps_us": [1, True]},
     {"gaps_us": [1.5]}, {"gaps_us": [2**53]}, {"gaps_us": [2**60, -(2**60)]}, {"gaps_us": None}, {"chunk_tokens": [1]},
     {"chunk_tokens": [1, -1]}, {"chunk_tokens": [[], {}]}, {"output_tokens": -5}, {"output_tokens": 2**42},
     {"input_tokens": 1e5}, {"cached_tokens": [1]}, {"error": 5}, {"message": ["a"]}, {"finish_reason": 7},
     {"uncertain": None}, {"empty_chunks": True}, {"refused": ["a"]}, {"nonsense": 1}, {"connect_us": -3},
     {"output_chars": 2**62}, {"process": {}}, {"sent_us": 1.0}, {"sent_us": 2**52}, {"done_us": None}],
    ids=repr,
)  # fmt: skip
def test_a_result_with_an_absurd_value_is_refused_by_its_line(fields: dict[str, Any], tmp_path: Path) -> None:
    line = {"index": 0, "scheduled_us": 0, "sent_us": 1, "done_us": 9, "gaps_us": [3, 4]} | fields
    refused(tmp_path / "results.jsonl", orjson.dumps(line))


@pytest.mark.parametrize(
    "line",
    [b"[]", b"5", b'"end"', b'{"end": 5}', b'{"end": {}}', b"[" * 5000,
     b'{"end": {"duration_us": 1e999, "clients": []}}',
     b'{"end": {"duration_us": -5, "clients": []}}', b'{"end": {"duration_us": 5, "clients": [5]}}',
     b'{"end": {"duration_us": 5, "clients": [], "counters": {"a": "b"}}}',
     b'{"end": {"duration_us": 5, "clients": [], "counters": [1]}}',
     b'{"end": {"duration_us": 5, "clients": [{"cpu_s": "x"}]}}',
     b'{"end": {"duration_us": 5, "clients": [{"wall_s": 1e308}]}}',
     b'{"end": {"duration_us": 5, "clients": [{"lag_us": [1]}]}}',
     b'{"end": {"duration_us": 5, "clients": [], "x": 1}}'],
)  # fmt: skip
def test_an_end_that_is_none_is_refused_by_its_line(line: bytes, tmp_path: Path) -> None:
    refused(tmp_path / "results.jsonl", line)


def refused(path: Path, line: bytes) -> None:
    path.write_bytes(RUN.model_dump_json().encode() + b"\n" + line + b"\n")
    with pytest.raises(DocumentError) as caught:
        list(read(path)[1])
    assert caught.value.message == f"Line 2 of {path} is not a result of a probe."


@pytest.mark.parametrize("when", ["", "soon", "2026-13-01", "9" * 5000, "2026-11-24\n"])
def test_a_run_that_started_at_no_time(when: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(RUN.model_copy(update={"started_at": when}).model_dump_json() + "\n")
    with pytest.raises(DocumentError, match="started_at: "):
        read(path)
