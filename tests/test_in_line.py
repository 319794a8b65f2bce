"""A question to a server that others keep busy: it stands in line, and what starts or upgrades the server does, too."""

from collections.abc import Callable
from typing import Any

import pytest
from fake_aws import Clock

from deploy.releases import canary, short_probe
from deploy.releases.release import Figures
from deploy.targets import adapters
from infra.errors import EndpointError, ServerError
from serving.probe import run as probe
from serving.vllm import client, health, in_line, lora_proof
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import Verdict, judge, wait_until_ready
from serving.vllm.in_line import AGAIN_S, WITHIN_S, Behind
from serving.vllm.serve_options import ServeOptions

THERE = Endpoint(base_url="http://127.0.0.1:8000", served_model_name="m")
LATE = client.TooLate("It took its time.", "")
FULL = client.Full("It is full.", "")


class Served:
    """A server that answers us so, and makes so many tokens, for whomever, between two looks at its metrics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[object], tokens: int | None) -> None:
        self.answers, self.tokens, self.made = answers, tokens, 0
        monkeypatch.setattr(health, "reading", self.reading)

    def reading(self, endpoint: Endpoint) -> dict[str, float]:
        self.made += self.tokens or 0
        return {} if self.tokens is None else {"vllm:generation_tokens_total": float(self.made)}

    def ask(self) -> object:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "tokens", "end", "waited_s"),
    [
        (["it"], 0, "it", 0.0),
        ([LATE, FULL, "it"], 3, "it", 2 * AGAIN_S),
        ([LATE, "it"], 2, LATE, AGAIN_S),  # the answer's own tokens
        ([FULL, "it"], 0, FULL, AGAIN_S),
        ([LATE, "it"], None, LATE, AGAIN_S),  # nobody tells
        ([EndpointError("500", ""), "it"], 3, EndpointError("500", ""), 0.0),
        (
            [LATE],
            3,
            Behind("http://127.0.0.1:8000 serves others, and answered nothing of ours for 10 minutes.", ""),
            WITHIN_S,
        ),
    ],
)
def test_a_question_is_asked_again_while_others_are_served(
    answers: list[object], tokens: int | None, end: object, waited_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, clock = Served(monkeypatch, answers, tokens), Clock(0)

    def answer() -> object:
        return in_line.answer(THERE, server.ask, 2, clock.sleep, clock)

    if isinstance(end, EndpointError):
        with pytest.raises(type(end)) as caught:
            answer()
        assert caught.value.message == end.message
    else:
        assert answer() == end
    assert clock() == waited_s


def busy(**moved: float) -> Verdict:
    """A look at a server whose completion did not come, while that moved."""
    names = {name: f"vllm:{name}" for name in moved}
    before, after = ({names[name]: value * part for name, value in moved.items()} for part in (1.0, 2.0))
    seen = health.Seen(health=200, models=("m",), canary="late", readings=(before, after), trouble="late")
    return judge(seen, "m")


def test_a_server_that_serves_others_before_us_is_ready() -> None:
    clock, told = Clock(0), list[str]()
    looks = iter([busy(kv_cache_usage_perc=0.1), busy(kv_cache_usage_perc=0.3, generation_tokens_total=7.0)])
    wait_until_ready(lambda: next(looks), 600, clock.sleep, clock, told.append)
    assert (clock(), told) == (
        0.5,
        ["it serves others; a completion of our own still stands in line behind theirs"],
    )


def test_a_server_whose_first_answer_does_not_come_is_not_ready_for_all_that_moves_in_it() -> None:
    clock = Clock(0)
    with pytest.raises(ServerError, match="was not ready after 600 s; it is degraded: late"):
        wait_until_ready(lambda: busy(kv_cache_usage_perc=0.1), 600, clock.sleep, clock)


def test_adapters_that_could_not_be_proved_in_time_are_told_of_and_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def behind(*_: object, **__: object) -> None:
        raise Behind("It serves others.", "")

    monkeypatch.setattr(in_line, "answer", behind)
    monkeypatch.setattr(ServeOptions, "adapters", ("tuned",))
    adapters.prove(ServeOptions(model="/m", served_model_name="m"), THERE)
    assert capsys.readouterr().err == (
        "warning: whether its adapters change what the model says was not proved: It serves others.\n"
    )
    with pytest.raises(Behind):
        lora_proof.require(THERE, ["tuned"])
    with pytest.raises(Behind):  # a release on trial has to say something
        canary.asked(THERE)
    assert short_probe.measured(THERE, None) is None


@pytest.mark.parametrize(
    ("config", "figures"),
    [
        ({"counter_factor": 2.0}, None),
        ({"counter_factor": 2.0, "fault": "500", "every": 17}, 1),
        ({"fault": "500", "every": 17}, 1),
        ({}, 0),
    ],
)
def test_a_short_probe_beside_the_load_of_others_says_nothing_but_what_fails(
    config: dict[str, Any], figures: int | None, fake_llm: Callable[..., str]
) -> None:
    endpoint = Endpoint(base_url=fake_llm(ttft_ms=1, itl_ms=0.1, **config), served_model_name="fake")
    found = short_probe.measured(endpoint, 64)
    assert (found and found.failed) == figures


def test_one_whose_speed_says_nothing_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    short_probe.require_as_good(None, Figures(output_tokens_per_s=100.0, requests=16, failed=0), 0.2)
    assert capsys.readouterr().err == (
        "upgrade: it serves others meanwhile, so its speed says nothing, and is not compared\n"
    )


def test_a_probe_whose_first_request_comes_too_late_says_so_by_its_error(
    fake_llm: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "CANARY_TIMEOUT_S", 0.2)
    endpoint = Endpoint(base_url=fake_llm(ttft_ms=5000), served_model_name="fake")
    monkeypatch.setattr(in_line, "answer", lambda endpoint, ask, own: ask())
    with pytest.raises(client.TooLate, match="does not stream an answer"):
        short_probe.measured(endpoint, 64)
