"""Whether an answer was held back on the way: by hand, and behind a real nginx."""

import math
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import own_tls
import ports
import pytest

from infra import wait
from serving.probe.apis import ApiName
from serving.probe.buffering import can_tell, is_buffered
from serving.probe.lengths import Lengths
from serving.probe.metrics import report
from serving.probe.run import run
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.spoiled import where_to_look

Fake = Callable[..., str]
Need = Callable[[str, str], NoReturn]
MS = 1000


def lengths(tokens: int) -> Lengths:
    return Lengths(low=tokens)


def answer(ttft_ms: float, gaps_ms: list[float], **fields: Any) -> Result:
    gaps_us = [round(each * MS) for each in (ttft_ms, *gaps_ms)]
    whole = sum(gaps_us)
    return Result(index=0, scheduled_us=0, sent_us=0, done_us=whole, gaps_us=gaps_us, status=200, **fields)


def bursts(count: int, chunks: int, every_ms: float) -> list[float]:
    """The gaps of so many bursts of so many chunks, but for the first chunk's."""
    return ([every_ms] + [0.0] * (chunks - 1)) * count


AT_ONCE, STEP = [0.0] * 63, [0.0] * 15
ANSWERS = {
    "at once at the end": (answer(640, AT_ONCE), 64, True),
    "at once, by a proxy that sends each chunk by itself": (answer(640, [0.1] * 63), 64, True),
    "at once, as one event": (answer(640, []), 64, True),
    "at once, and the machine was busy": (answer(640, AT_ONCE, unwatched_us=300 * MS), 64, True),
    "two full buffers of nginx's and the rest": (
        answer(300, [0.0] * 45 + bursts(1, 46, 230) + bursts(1, 36, 180), cuts=2),
        128,
        True,
    ),
    "many buffers": (answer(300, [0.0] * 8 + bursts(30, 9, 45), cuts=29), 279, True),
    "by time, four times a second": (answer(250, [0.0] * 24 + bursts(9, 25, 250)), 250, True),
    "fast": (answer(10, [1.0] * 63), 64, False),
    "faster than any engine": (answer(30, [0.1] * 63), 64, False),
    "tiny and fast": (answer(3, STEP), 16, False),
    "slow to begin": (answer(9000, [2.0] * 63), 64, False),
    "one after another": (answer(100, [10.0] * 63), 64, False),
    "eight steps at a time, each token an event": (answer(80, [0.0] * 7 + bursts(7, 8, 80)), 64, False),
    "sixteen steps at a time": (answer(160, STEP + bursts(3, 16, 160)), 64, False),
    "speculation, an event a step": (answer(50, [25.0] * 15), 64, False),
    "the probe stood still": (answer(640, AT_ONCE, unwatched_us=600 * MS), 64, False),
    "the probe stood still again and again": (
        answer(250, [0.0] * 24 + bursts(9, 25, 250), unwatched_us=240 * MS),
        250,
        False,
    ),
    "now and then a segment of the network ends in an event": (
        answer(100, bursts(16, 4, 40), cuts=2),
        65,
        False,
    ),
    "each event in two writes": (answer(100, [10.0] * 63, cuts=63), 64, False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_was_held_back(name: str) -> None:
    result, tokens, buffered = ANSWERS[name]
    assert (can_tell(result, tokens), is_buffered(result, tokens)) == (True, buffered)


@pytest.mark.parametrize(
    ("result", "tokens", "can"),
    [
        (answer(50, [0.0] * 7), 8, False),
        (answer(50, [0.0] * 7), 31, False),
        (answer(50, [0.0] * 14), 15, False),
        (answer(50, STEP), 16, True),
        (answer(50, []), 31, False),
        (answer(50, []), 32, True),
    ],
)
def test_what_is_too_short_to_tell(result: Result, tokens: int, can: bool) -> None:
    assert can_tell(result, tokens) == can


RUN = Run(
    target=Target(base_url="http://h"),
    model="m",
    load=Load(shape="concurrency", concurrency=1),
    workload=Workload(input_tokens=lengths(9), output_tokens=lengths(64)),
    slo=Slo(),
    server=ServerFacts(),
    started_at="2026-01-01T00:00:00+00:00",
)
VERDICT = (
    "buffered on the way: {} answers came in one or few bursts, so TTFT, TPOT and ITL are not the server's"
)


@pytest.mark.parametrize(
    ("held", "streamed", "short", "fraction", "verdict"),
    [(2, 2, 9, 0.5, "2 of 4"), (1, 2, 0, 1 / 3, None), (0, 0, 4, None, None), (3, 0, 0, 1.0, "3 of 3")],
)
def test_a_run_is_buffered_where_half_of_its_answers_were(
    held: int, streamed: int, short: int, fraction: float | None, verdict: str | None
) -> None:
    answers = (
        [answer(640, AT_ONCE)] * held + [answer(100, [10.0] * 63)] * streamed + [answer(50, [0.0])] * short
    )
    made = report(RUN, [*answers, Ending(9_000_000, [])])
    assert made.buffered_fraction == (None if fraction is None else pytest.approx(fraction))
    assert made.invalid_because == ((VERDICT.format(verdict),) if verdict else ())
    assert made.valid == (verdict is None)


def test_what_is_buffered_is_not_the_probes_fault() -> None:
    """Its bursts are read late on a busy machine: that alone would be called client-limited."""
    busy = ClientSide(kernel_stamps=True, events=640, uncertain=630, late_uncertain=630, wall_s=9, cpu_s=1)
    for result, reason in (
        (answer(640, AT_ONCE), VERDICT.format("1 of 1")),
        (answer(100, [10.0] * 63), "client-limited"),
    ):
        (told,) = report(RUN, [result, Ending(9_000_000, [busy])]).invalid_because
        assert told.startswith(reason)


def test_where_all_answers_are_short_the_verdict_is_kept() -> None:
    """Three tokens at once, long after the request: the first is of the prompt's step, the others took one more."""
    busy = ClientSide(kernel_stamps=True, events=36, uncertain=24, late_uncertain=3, wall_s=9, cpu_s=1)
    at_once, in_turn = answer(90, [0.0, 0.0]), answer(50, [20.0, 20.0])
    for results, reason in (
        ([at_once] * 12, VERDICT.format("12 of 12")),
        (
            [at_once] * 10 + [in_turn] * 2,
            "client-limited: 8% of the chunks were read late, together with later ones",
        ),
        ([answer(90, [])] * 12, "client-limited: 8% of the chunks were read late, together with later ones"),
        (
            [answer(5, [0.0, 0.0])] * 12,
            "client-limited: 8% of the chunks were read late, together with later ones",
        ),
    ):
        assert report(RUN, [*results, Ending(9_000_000, [busy])]).invalid_because == (reason,)


# On a clock of the way's own


def engine(tokens: int, every_ms: float, rng: random.Random) -> list[float]:
    """When an engine sends its tokens, from the request on."""
    return [50 + every_ms * at + rng.uniform(-1, 1) for at in range(tokens)]


def collected(moments_ms: list[float], clock_ms: float, phase_ms: float = 0.0) -> Result:
    """What comes through a gateway that passes on, so often, all whole events; and the rest where the answer ends."""
    came = [
        min(phase_ms + clock_ms * math.ceil((at - phase_ms) / clock_ms), moments_ms[-1]) for at in moments_ms
    ]
    return answer(came[0], [later - each for each, later in pairwise(came)])


def stepping(held: list[int], every_ms: float) -> Result:
    """What an engine sends that makes so many tokens in each step, each as an event."""
    gaps = [gap for many in held for gap in [every_ms, *[0.02] * (many - 1)]]
    return answer(50, gaps)


def guesses(count: int, most: int, rate: float, rng: random.Random) -> list[int]:
    """The tokens of so many steps of speculation: one more for each guess in a row that was right."""
    held = []
    for _ in range(count):
        right = 0
        while right < most and rng.random() < rate:
            right += 1
        held.append(1 + right)
    return held


def verdicts(results: list[Result], counters: dict[str, float] | None = None) -> tuple[bool, bool]:
    """Whether a run of them is called buffered, and whether it is told of the doubt."""
    made = report(RUN, [*results, Ending(9_000_000, [], counters=counters or {})])
    return "buffered" in made.spoiled_by, any("tokens come in bursts" in text for text in made.warnings)


@pytest.mark.parametrize("tokens", [60, 200])
@pytest.mark.parametrize("every_ms", [11.0, 20.6, 30.0])
@pytest.mark.parametrize("clock_ms", [110.0, 250.0, 262.0])
def test_a_gateway_that_flushes_by_the_clock_is_found(clock_ms: float, every_ms: float, tokens: int) -> None:
    """Where each answer begins one, all may come alike; then there is a doubt at least."""
    rng = random.Random(7)
    free = [rng.uniform(0, clock_ms) for _ in range(40)]
    assert verdicts([collected(engine(tokens, every_ms, rng), clock_ms, each) for each in free]) == (
        True,
        False,
    )
    own = [collected(engine(tokens, every_ms, rng), clock_ms, 50.0) for _ in range(40)]
    assert any(verdicts(own))


def test_how_it_is_said_and_where_to_look() -> None:
    rng = random.Random(7)
    results = [collected(engine(200, 20.0, rng), 250.0, rng.uniform(0, 250)) for _ in range(40)]
    told = report(RUN, [*results, Ending(9_000_000, [], counters={"itl_sum_s": 160.0, "itl_count": 8000.0})])
    assert told.invalid_because == (
        "buffered on the way: 40 of 40 answers came in bursts, 12.5 events every 250 ms (the engine's own ITL: 20.0"
        " ms), so TTFT, TPOT and ITL are not the server's",
    )
    assert told.buffered_fraction == 1.0
    assert where_to_look(told.spoiled_by) == (
        "Look at what stands between: nginx (proxy_buffering off, or the header X-Accel-Buffering: no), a gateway's"
        " flush interval or compression. Probing the server itself shows what it costs."
    )


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("most", [2, 3, 4, 7, 15])
def test_speculation_whose_tokens_come_as_events_is_no_gateway(most: int, rate: float) -> None:
    rng = random.Random(f"{most} {rate}")
    results = [stepping(guesses(30, most, rate, rng), 40.0) for _ in range(40)]
    assert verdicts(results)[0] is False


def test_bursts_that_are_late_together_are_not_the_probes_fault() -> None:
    busy = ClientSide(kernel_stamps=True, events=640, uncertain=600, late_uncertain=200, wall_s=9, cpu_s=1)
    made = report(RUN, [*[stepping([8] * 10, 160.0)] * 10, Ending(9_000_000, [busy])])
    assert (made.valid, any("tokens come in bursts, 8.0 events" in text for text in made.warnings)) == (
        True,
        True,
    )


@pytest.mark.parametrize("held", [10, 13, 16])
def test_many_at_a_time_are_a_gateways(held: int) -> None:
    """Nothing else tells where they are always the same; the engine's own gap does."""
    results = [stepping([held] * 6, 260.0)] * 10
    assert verdicts(results) == (True, False)
    assert verdicts(results, {"itl_sum_s": 26.0, "itl_count": 100.0}) == (False, False)


@pytest.mark.parametrize("steps", [2, 8])
def test_several_steps_at_a_time_leave_a_doubt_that_the_engines_own_gap_ends(steps: int) -> None:
    results = [stepping([steps] * 10, 20.0 * steps)] * 10
    assert verdicts(results) == (False, True)
    assert verdicts(results, {"itl_sum_s": 0.02 * steps * 100, "itl_count": 100.0}) == (False, False)
    assert verdicts(results, {"itl_sum_s": 2.0, "itl_count": 100.0}) == (True, False)


def test_where_each_token_comes_by_itself_nothing_is_said() -> None:
    rng = random.Random(7)
    for every_ms in (0.2, 3.0, 20.0, 250.0):
        moments = engine(64, every_ms, rng) if every_ms > 2 else [50 + every_ms * at for at in range(64)]
        assert verdicts([answer(moments[0], [b - a for a, b in pairwise(moments)])] * 20) == (False, False)


def test_bursts_that_the_probes_own_pauses_may_have_made_are_none() -> None:
    rng = random.Random(7)
    results = [collected(engine(200, 20.6, rng), 250.0, 50.0) for _ in range(40)]
    for each in results:
        each.unwatched_us = 200 * MS
    assert verdicts(results) == (False, False)


@pytest.mark.parametrize(
    ("tokens", "counters", "told"),
    [
        (25, {}, True),
        (8, {}, False),
        (8, {"itl_sum_s": 2.0, "itl_count": 100.0}, True),
        (8, {"itl_sum_s": 16.0, "itl_count": 100.0}, False),
        (1, {"itl_sum_s": 2.0, "itl_count": 100.0}, False),
    ],
)
def test_chunks_of_many_tokens_are_told(tokens: int, counters: dict[str, float], told: bool) -> None:
    """A gateway that makes one event of many, or vLLM's --stream-interval: the figures stand."""
    result = answer(200, [160.0] * 9, output_tokens=10 * tokens, chunk_tokens=[tokens] * 10)
    made = report(RUN, [*[result] * 20, Ending(9_000_000, [], counters=counters)])
    assert (made.valid, any("the server collects them" in text for text in made.warnings)) == (True, told)
    assert any(text.startswith(f"chunks hold {tokens}.0 tokens") for text in made.notes) == (tokens > 1)


# A real nginx

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port} {tls}; location / {{ proxy_pass {behind}; {options}; }} }}
}}
"""


@contextmanager
def nginx(
    need: Need, folder: Path, behind: str, options: str, tls: bool = False
) -> Iterator[tuple[str, Path | None]]:
    """One before that server; its URL, and the authority to trust."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        need("nginx", "it is not installed: scripts/ci-packages")
    certificate, port = folder / "nginx.pem", ports.free_port()
    listen = ""
    if tls:
        own_tls.made(
            certificate, folder / "nginx.key", "-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"
        )
        listen = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {folder / 'nginx.key'}"
    file = folder / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(folder=folder, port=port, tls=listen, behind=behind, options=options)
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(file), "-e", "stderr"])
    try:
        assert wait.until(
            lambda: not ports.is_free(port) or process.poll() is not None,
            bool,
            wait.Pace(20.0, 0.05, time.sleep, time.monotonic),
        )
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", certificate if tls else None
    finally:
        process.terminate()
        process.wait()


BUFFERED = "proxy_buffering on"
"""As it is by default, too. It holds back what no chunks tell apart: an answer that ends where its server closes."""


@pytest.mark.parametrize(
    ("framing", "options", "tls", "api", "tokens", "fraction"),
    [
        pytest.param("close", BUFFERED, False, "completions", 40, 1.0, id="all at the end"),
        pytest.param("close", BUFFERED, False, "chat", 128, 1.0, id="buffer by buffer"),
        pytest.param("close", BUFFERED + "; proxy_buffers 8 16k", True, "messages", 64, 1.0, id="with TLS"),
        pytest.param(
            "close", "proxy_buffering off", True, "completions", 40, 0.0, id="not buffered, with TLS"
        ),
        pytest.param("chunked", "proxy_http_version 1.1", False, "chat", 40, 0.0, id="chunks pass"),
    ],
)
def test_behind_nginx(
    fake_llm: Fake,
    need: Need,
    tmp_path: Path,
    framing: str,
    options: str,
    tls: bool,
    api: ApiName,
    tokens: int,
    fraction: float,
) -> None:
    behind = fake_llm(framing=framing, ttft_ms=60, itl_ms=5)
    with nginx(need, tmp_path, behind, options, tls) as (url, ca_file):
        made = run(
            Target(base_url=url, api=api, ca_file=ca_file),
            Load(shape="concurrency", concurrency=4, requests=8),
            Workload(input_tokens=lengths(20), output_tokens=lengths(tokens)),
            tmp_path / "results",
        )
    assert (made.succeeded, made.output_tokens, made.buffered_fraction) == (8, 8 * tokens, fraction)
    reasons = [
        text for text in made.invalid_because if text.startswith("buffered on the way: 8 of 8 answers")
    ]
    assert (len(reasons), "buffered" in made.spoiled_by) == (bool(fraction), bool(fraction))
