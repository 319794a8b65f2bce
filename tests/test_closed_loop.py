"""What `size` says of so many requests at once, against the same requests played one by one."""

from collections.abc import Iterator
from random import Random
from statistics import fmean

import pytest

from infra.catalog import machine
from serving.model.throughput import asked_s
from serving.sizing.assemble import assemble
from serving.sizing.batching import Request, Served, Server
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan
from serving.sizing.plan_explained import explained
from serving.sizing.predict import Predictor, room
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named

NEAR = 0.12
"""Of all that a request takes: where few share long prompts, one that comes while another is prefilled waits for it."""


def asked(input_tokens: int, output_tokens: int, concurrency: int) -> Options:
    return Options.of(
        {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "concurrency": concurrency,
            "max_model_len": 1_048_576,
        }
    )


def played(predictor: Predictor, server: Server, options: Options) -> Iterator[tuple[Served, float]]:
    """One comes as one is done, so many at once; answers of half to thrice the half, or all would go in step."""
    dice, mean, at_once = Random(1), options.output_tokens, options.concurrency
    tick = predictor.at(1).tpot_s / 2
    now, offered, seen = 0.0, 0, 0
    while seen < 12 * at_once:
        for _ in range(at_once - server.in_flight):
            tokens = mean if at_once == 1 else dice.randint(mean // 2, mean + mean // 2)
            server.offer(offered, Request(now, options.input_tokens, tokens), now)
            offered += 1
        now += tick
        server.advance(now)
        yield from ((each.served, each.done_s) for each in server.done[seen:])
        seen = len(server.done)


@pytest.mark.parametrize(
    ("on", "input_tokens", "output_tokens", "concurrency"),
    [
        ("8xA100-40GB", 1_000_000, 500, 1),
        ("8xA100-40GB", 1_000_000, 500, 2),
        ("8xA100-40GB", 1_000_000, 500, 3),
        ("8xA100-40GB", 100_000, 500, 1),
        ("8xA100-40GB", 100_000, 500, 4),
        ("8xA100-40GB", 100_000, 500, 16),
        ("8xA100-40GB", 2000, 500, 1),
        ("8xA100-40GB", 2000, 500, 16),
        ("8xH100", 2000, 20, 1),
        ("8xH100", 2000, 20, 8),
        ("8xH100", 2000, 20, 64),
        ("8xH100", 200, 200, 64),
    ],
)
def test_a_closed_loop_is_as_it_is_played(
    on: str, input_tokens: int, output_tokens: int, concurrency: int
) -> None:
    options = asked(input_tokens, output_tokens, concurrency)
    case = Case(named("scout", "fp8"), machine(on), options)
    outcome = best_outcome(case)
    predictor = Predictor(case, outcome)
    server = Server(predictor.steps(), room(outcome, options, outcome.knobs.max_num_seqs))
    found = list(played(predictor, server, options))[2 * concurrency :]
    ttft_s = asked_s() + fmean(each.ttft_s for each, _ in found)
    tpot_s = fmean(each.tpot_s for each, _ in found)
    said = predictor.at(concurrency)
    after = output_tokens - 1
    whole_s = ttft_s + after * tpot_s
    assert said.running == concurrency
    assert said.ttft_s + after * said.tpot_s == pytest.approx(
        whole_s, rel=0.005 if concurrency == 1 else 0.04
    )
    assert said.ttft_s == pytest.approx(ttft_s, abs=(0.002 if concurrency == 1 else NEAR) * whole_s)
    if concurrency == 1:
        assert (said.ttft_s, said.tpot_s) == pytest.approx((ttft_s, tpot_s), rel=0.005)


@pytest.mark.parametrize("concurrency", [1, 2, 5, 40])
@pytest.mark.parametrize("input_tokens", [1, 2000, 60_000, 1_000_000])
@pytest.mark.parametrize("output_tokens", [1, 2, 500])
def test_a_rate_is_so_many_at_once_over_what_one_takes(
    input_tokens: int, output_tokens: int, concurrency: int
) -> None:
    """And what the derivation says of one by itself is what the load of one is said to be."""
    options = asked(input_tokens, output_tokens, concurrency)
    case = Case(named("scout", "fp8"), machine("8xA100-40GB"), options)
    plan = assemble(case, best_outcome(case), with_curve=True)
    one, said = plan.one_request, plan.throughput
    assert one is not None
    assert said is not None
    after = output_tokens - 1
    takes_s = said.ttft_s + after * said.tpot_s
    assert said.output_tokens_per_s == pytest.approx(concurrency * output_tokens / takes_s, rel=1e-4)
    assert one.at_load_s == pytest.approx(takes_s, rel=1e-4)
    alone = plan.curve[0]
    assert (alone.concurrency, alone.ttft_s, alone.tpot_s) == (1, one.ttft_s, one.tpot_s)
    assert one.alone_s == pytest.approx(output_tokens / alone.output_tokens_per_s, rel=1e-4)
    if concurrency == 1:
        assert (said.ttft_s, said.tpot_s, one.at_load_s) == (one.ttft_s, one.tpot_s, one.alone_s)


def test_a_million_tokens_alone_are_said_alike_in_a_plan_and_its_derivation() -> None:
    """Nothing rides along with one request: its tokens come as fast as a decode step, 19 ms and not 294."""
    case = Case(named("scout", "fp8"), machine("8xA100-40GB"), asked(1_000_000, 500, 1))
    plan: Plan = assemble(case, best_outcome(case), with_curve=True)
    assert plan.throughput is not None
    shown = explained(plan)
    assert f"  TPOT = {plan.throughput.tpot_s * 1000:.2f} ms: a decode step, alone in it\n" in shown
    assert f"  alone: {plan.throughput.ttft_s:.3f} s to the first token + 499 x 19.04 ms = 149.36 s" in shown
    assert "output = 1 x 500 / (TTFT + 499 x TPOT) = 3.3 tokens/s" in shown
