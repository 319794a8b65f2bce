"""From a target to its first request and from its last result to the report: without a server, on no clock."""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import AuthError, CorralError, EndpointError, HostError, UsageError
from serving.probe import notes, questions
from serving.probe import run as running
from serving.probe.attack import Hooks
from serving.probe.dataset import Composer, Lexicon
from serving.probe.exchange import Shot
from serving.probe.lengths import Lengths
from serving.probe.request_maker import RequestMaker
from serving.probe.results import Writer
from serving.probe.run_records import ClientSide, Ending, Refused, Result, ServerFacts
from serving.probe.spec import Load, Slo, Target, Workload

TARGET = Target(base_url="http://host", api="chat")
WORKLOAD = Workload(input_tokens=Lengths(low=20), output_tokens=Lengths(low=7))


class Server:
    """Answers a probe's questions from what a test gives it."""

    def __init__(self, models: list[dict[str, Any]], target: Target = TARGET) -> None:
        self.target, self._models, self.api_key = target, models, "k"
        self.headers = {"x-tenant": "search"}
        self.counted = 0
        self.readings: Iterator[dict[str, float]] = iter(())

    def models(self, say: object) -> list[dict[str, Any]]:
        return self._models

    def version(self) -> str:
        return "0.33.0"

    def count_tokens(self, model: str, messages: list[dict[str, Any]]) -> int | None:
        self.counted += 1
        return len(messages[0]["content"].split())

    def counters(self) -> dict[str, float]:
        return next(self.readings)


def asked(server: Server) -> Any:
    """As what asks it wants it typed."""
    return server


VLLM = {"id": "a", "owned_by": "vllm", "max_model_len": 100}


# Who is there


@pytest.mark.parametrize(
    ("models", "wanted", "facts", "model"),
    [
        ([VLLM, {"id": "b"}], None, ServerFacts(is_vllm=True, version="0.33.0", max_model_len=100), "a"),
        ([VLLM, {"id": "b"}], "b", ServerFacts(is_vllm=True, version="0.33.0"), "b"),
        ([{"id": "a", "owned_by": "other", "max_model_len": 50}], None, ServerFacts(max_model_len=50), "a"),
        ([{"id": "a", "max_model_len": 0}], None, ServerFacts(), "a"),
        ([{"id": "a", "max_model_len": "50"}], None, ServerFacts(), "a"),
        ([], "mine", ServerFacts(), "mine"),
    ],
)
def test_who_answers_and_under_which_name(
    models: list[dict[str, Any]], wanted: str | None, facts: ServerFacts, model: str
) -> None:
    server = Server(models, TARGET.model_copy(update={"model": wanted}))
    assert running.meet(asked(server), WORKLOAD) == (facts, model, True)


def test_a_model_that_is_not_in_the_list() -> None:
    server = Server([VLLM], TARGET.model_copy(update={"model": "other"}))
    assert running.meet(asked(server), WORKLOAD)[1:] == ("other", False)


def test_a_server_without_models_needs_a_name() -> None:
    with pytest.raises(UsageError) as caught:
        running.meet(asked(Server([])), WORKLOAD)
    assert (caught.value.message, caught.value.hint) == (
        "http://host lists no models.",
        "Say which one, as the server calls it: --model scout",
    )


def test_what_does_not_fit_the_models_context() -> None:
    within, beyond = ServerFacts(max_model_len=27), ServerFacts(max_model_len=26)
    running.check_lengths(WORKLOAD, within)
    running.check_lengths(WORKLOAD, ServerFacts())
    running.check_lengths(WORKLOAD.model_copy(update={"prompts_file": Path("x")}), beyond)
    with pytest.raises(UsageError) as caught:
        running.check_lengths(WORKLOAD, beyond)
    assert caught.value.message == "20 input and 7 output tokens do not fit the 26 tokens this server allows."
    assert caught.value.hint == "Ask for fewer, or start the server with a larger --max-model-len."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock whose every look takes so long, and whose sleeps are noted."""
    made = SimpleNamespace(look_s=0.0, now_s=0.0, slept=[])

    def monotonic() -> float:
        made.now_s += made.look_s
        return float(made.now_s)

    times = SimpleNamespace(monotonic=monotonic, time_ns=lambda: 0xABC, sleep=made.slept.append)
    for module in (running, questions):
        monkeypatch.setattr(module, "time", times)
    return made


def test_what_is_prepared_for_a_server_that_counts(clock: SimpleNamespace) -> None:
    said: list[str] = []
    server = Server([VLLM])
    maker, composer = running.prepare(asked(server), WORKLOAD, said.append)
    assert said == ["http://host serves a with vLLM 0.33.0"]
    assert (maker.api_key, maker.model, maker.salt, maker.facts.exact_lengths) == (
        "k",
        "a",
        "corral-abc",
        True,
    )
    assert (server.counted, maker.lexicon.known) == (129, True)
    text, exact = composer.compose(20)
    assert (len(text.split()), exact, server.counted) == (20, True, 130)
    assert running.prepare(asked(server), WORKLOAD, said.append)[1].compose(20)[0] == text


def test_a_tokenizer_that_takes_too_long_is_left_alone(clock: SimpleNamespace) -> None:
    """Every question takes 0.2 s: after 15 s it is asked no more, and what it said is not used."""
    clock.look_s = 0.2
    said: list[str] = []
    server = Server([{"id": "a"}])
    maker, _ = running.prepare(asked(server), WORKLOAD, said.append)
    assert said == [
        "http://host serves a",
        "its tokenizer was not done after 15 s: prompt lengths are approximate",
    ]
    assert (maker.lexicon, maker.facts.exact_lengths, 70 < server.counted < 76) == (Lexicon(), False, True)


def test_the_confirmations_have_a_time_of_their_own(clock: SimpleNamespace) -> None:
    clock.look_s = 0.1
    server = Server([VLLM])
    _, composer = running.prepare(asked(server), WORKLOAD, lambda text: None)
    assert composer.count is not None
    answers = [composer.count("a b") for _ in range(200)]
    assert 145 < answers.count(2) < 150
    assert answers[-1] is None


# The trial and the warm-up


def maker(**fields: Any) -> RequestMaker:
    facts = ServerFacts(is_vllm=fields.pop("is_vllm", True))
    common: dict[str, Any] = {"target": TARGET, "api_key": None, "model": "m", "workload": WORKLOAD}
    rest: dict[str, Any] = {"facts": facts, "lexicon": Lexicon(), "salt": "s"}
    return RequestMaker(**(common | rest | fields))


OK = Result(0, 0, 0, 9, status=200, gaps_us=[1])


def failed(status: int = 0, error: str = "x", message: str | None = None, **refused: str) -> Result:
    """A failure; one with a message and a status as an HTTP answer of those words."""
    answer = Refused(message, **refused) if message and status else None
    return Result(
        0, 0, 0, 9, status=status, error=error, message=answer.message if answer else message, refused=answer
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Load, list[Shot], str]]:
    """What is sent before the load: how, which, and with whose salt; the answers are `fates`."""
    noted: list[tuple[Load, list[Shot], str]] = []

    def results_of(maker: RequestMaker, load: Load, shots: list[Shot]) -> list[Result]:
        noted.append((load, shots, maker.salt))
        return [next(FATES, OK)]

    monkeypatch.setattr(running, "results_of", results_of)
    return noted


FATES: Iterator[Result] = iter(())


def test_one_short_request_goes_before_all_others(sent: list[tuple[Load, list[Shot], str]]) -> None:
    said: list[str] = []
    running.warm_up(maker(), Load(shape="concurrency", concurrency=4), said.append)
    ((load, shots, salt),) = sent
    assert said == ["trying one request"]
    assert (load, salt) == (Load(shape="concurrency", concurrency=1, timeout_s=120.0), "s-warm-up")
    assert [(shot.index, shot.output_asked) for shot in shots] == [(-1, 2)]


def test_those_asked_for_follow_it(sent: list[tuple[Load, list[Shot], str]]) -> None:
    said: list[str] = []
    running.warm_up(maker(), Load(shape="concurrency", concurrency=4, warmup_requests=3), said.append)
    (_, trial, _), (load, rest, _) = sent
    assert said == ["trying one request, then 3 to warm up"]
    assert load == Load(shape="concurrency", concurrency=3)
    assert [[shot.output_asked for shot in shots] for shots in (trial, rest)] == [[2], [7, 7, 7]]
    assert len({shot.request for shot in (*trial, *rest)}) == 4
    before = [shot.request for shot in (*trial, *rest)]
    sent.clear()
    running.warm_up(maker(), Load(shape="concurrency", concurrency=4, warmup_requests=3), said.append)
    assert [shot.request for _, shots, _ in sent for shot in shots] == before


def test_what_the_server_puts_before_a_prompt_is_seen_in_the_trial() -> None:
    """vLLM's Responses count one token more than its tokenizer does."""
    known = Lexicon({"a": 3}, {"a": 1})
    for asked, counted, alone in (
        (20, 21, 4),
        (20, 19, 2),
        (20, 20, 3),
        (20, 37, 3),
        (None, 21, 3),
        (20, None, 3),
    ):
        assert running.corrected(known, asked, counted).alone == {"a": alone}
    composer = Composer(known.framed(1), random.Random(0), lambda text: 2 + len(text.split()))
    assert composer.compose(9) == ("a a a a a a", True)


def test_a_server_that_starts_is_tried_again(
    sent: list[tuple[Load, list[Shot], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[int, str | None]] = []

    class Patience:
        def __init__(self, say: object) -> None:
            pass

        def allows(self, status: int, retry_after: str | None) -> bool:
            waited.append((status, retry_after))
            return status == 503

    monkeypatch.setattr(running, "Patience", Patience)
    fates = iter([failed(503, message="loading", retry_after="2"), OK])
    monkeypatch.setattr(f"{__name__}.FATES", fates)
    running.warm_up(maker(), Load(shape="concurrency"), lambda text: None)
    assert (len(sent), waited) == (2, [(503, "2")])
    monkeypatch.setattr(f"{__name__}.FATES", iter([failed(500, message="boom")]))
    with pytest.raises(EndpointError, match="HTTP 500: boom"):
        running.warm_up(maker(), Load(shape="concurrency"), lambda text: None)


WHERE = "http://host/v1/chat/completions"
NO_ANSWER = f"{WHERE} does not stream an answer: "
LOG = "Look at the server's log."
APIS = "Try another API: --api completions, messages or responses."
STARTING = "Is it still starting? Try again when it is ready, or look at its log."


@pytest.mark.parametrize(
    ("result", "kind", "message", "hint"),
    [
        (
            failed(401),
            AuthError,
            f"{WHERE} refuses the request: HTTP 401.",
            "Give its key: --api-key-file key.txt, or in CORRAL_API_KEY.",
        ),
        (
            failed(403),
            AuthError,
            f"{WHERE} refuses the request: HTTP 403.",
            "Give its key: --api-key-file key.txt, or in CORRAL_API_KEY.",
        ),
        (
            failed(429, message="slow", retry_after="5"),
            EndpointError,
            f"{WHERE} is rate-limited: HTTP 429: slow.",
            "Wait 5 s and try again, or measure with a key that has a higher limit.",
        ),
        (
            failed(302, message="an empty body", redirects_to="http://b"),
            EndpointError,
            f"{WHERE} redirects to http://b.",
            "Give the address it points to, if that is the server you mean.",
        ),
        (
            failed(500, message="they say it redirects to nobody"),
            EndpointError,
            f"{NO_ANSWER}HTTP 500: they say it redirects to nobody.",
            LOG,
        ),
        (failed(0, error="reset"), EndpointError, f"{NO_ANSWER}reset.", LOG),
        (
            failed(200, message="no stream."),
            EndpointError,
            f"{NO_ANSWER}no stream.",
            LOG,
        ),
        (
            failed(200, error="not_a_stream", message="the answer is text/html, not a stream: b'hi'"),
            EndpointError,
            f"{NO_ANSWER}the answer is text/html, not a stream: b'hi'.",
            running.NO_STREAM,
        ),
        (
            failed(407, message="login"),
            EndpointError,
            f"A proxy between wants a login before it lets us through to {WHERE}: HTTP 407.",
            "Ask the server itself, or have the proxy let this machine through.",
        ),
        (
            failed(413, message="no"),
            EndpointError,
            f"{NO_ANSWER}HTTP 413: no.",
            "Ask for shorter prompts, or let what stands between take longer ones (nginx: client_max_body_size).",
        ),
        *(
            (
                failed(status, message="no"),
                EndpointError,
                f"{NO_ANSWER}HTTP {status}: no.",
                APIS,
            )
            for status in (400, 404, 405)
        ),
        (
            failed(500, message="it redirects to nobody (Retry-After: 5)"),
            EndpointError,
            f"{NO_ANSWER}HTTP 500: it redirects to nobody (Retry-After: 5).",
            LOG,
        ),
        *(
            (
                failed(status, message="x"),
                EndpointError,
                f"{NO_ANSWER}HTTP {status}: x.",
                STARTING,
            )
            for status in (502, 503, 504)
        ),
    ],
)
def test_what_a_refused_trial_says(result: Result, kind: type[CorralError], message: str, hint: str) -> None:
    error = running.refusal(maker(), result)
    assert (type(error), error.message, error.hint) == (kind, message, hint)


def test_a_model_that_the_server_does_not_list_is_the_first_suspect() -> None:
    for status, hint in (
        (404, "Leave --model out to take the first model the server lists."),
        (400, APIS),
    ):
        error = running.refusal(maker(is_listed=False), failed(status, message="what it says."))
        assert (error.message, error.hint) == (f"{NO_ANSWER}HTTP {status}: what it says.", hint)


# The record


COLD = "; the server offers no proof that nothing was hit"
SALTED = "prefix cache: this run has its own cache_salt, so nothing is hit from before; "


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, f"{SALTED}the prompts are random"),
        ({"is_vllm": False}, f"prefix cache: the prompts are random{COLD}"),
        (
            {"workload": WORKLOAD.model_copy(update={"prefix_tokens": 5})},
            f"{SALTED}all prompts share 5 tokens on purpose",
        ),
        (
            {"workload": WORKLOAD.model_copy(update={"prefix_tokens": 5, "turns": 2})},
            f"{SALTED}all prompts share 5 tokens on purpose, and each turn repeats its conversation so far",
        ),
        (
            {"workload": WORKLOAD.model_copy(update={"prompts_file": Path("x")}), "is_vllm": False},
            "prefix cache: within it the user's prompts share what they share, and come again when they are used up"
            + COLD,
        ),
    ],
)
def test_what_the_cache_can_have_given(fields: dict[str, Any], note: str) -> None:
    assert notes.cache_note(maker(**fields)) == note


def test_how_the_requests_were_made_is_said() -> None:
    sampling = "sampling: the server's own defaults, but for what --extra-body sets"
    assert notes.notes_of(maker()) == (
        "prompt lengths: approximate, the server has no tokenizer to ask in time; the tokens are those it reported",
        "ignore_eos: every answer has the asked length",
        sampling,
        f"{SALTED}the prompts are random",
    )
    known = Lexicon({"a": 1}, {"a": 1})
    own = WORKLOAD.model_copy(update={"prompts_file": Path("x")})
    assert notes.notes_of(maker(lexicon=known, is_vllm=False))[:2] == (
        "prompt lengths: exact, by the server's own tokenizer",
        "answers may end before the asked length",
    )
    assert notes.notes_of(maker(lexicon=known, workload=own))[0] == "the user's own prompts"


def test_the_first_line_of_the_results() -> None:
    load = Load(shape="replay", trace=(0.0, 1.0))
    made = running.record_of(maker(), load, Slo(ttft_s=0.5))
    assert (made.target, made.model, made.load, made.workload, made.slo, made.server, made.notes) == (
        TARGET, "m", Load(shape="replay"), WORKLOAD, Slo(ttft_s=0.5), ServerFacts(is_vllm=True),
        notes.notes_of(maker()),
    )  # fmt: skip
    assert made.started_at.endswith("+00:00")
    assert "." not in made.started_at


# After the load


def test_counters_are_read_until_they_stand_still(clock: SimpleNamespace) -> None:
    server = Server([])
    server.readings = iter([{"a": 1.0}, {"a": 2.0}, {"a": 2.0}, {"a": 3.0}])
    assert questions.settled(asked(server), {"a": 0.0}) == {"a": 2.0}
    assert clock.slept == [0.2, 0.2]
    server.readings = ({"a": float(number)} for number in count(1))
    assert questions.settled(asked(server), {"a": 0.0}) == {"a": 10.0}
    clock.look_s = 2.0  # those that go on moving are not this run's, and a page may take its time
    server.readings = ({"a": float(number)} for number in count(1))
    assert questions.settled(asked(server), {"a": 0.0}) == {"a": 3.0}
    assert questions.settled(asked(server), {}) == {}


def test_by_how_much_counters_moved() -> None:
    assert questions.moved({"a": 1.0, "b": 2.0}, {"a": 4.0, "c": 5.0}) == {"a": 3.0, "c": 5.0}
    assert questions.moved({}, {"a": 4.0}) == {}


def writer_with(folder: Path) -> Writer:
    writer = Writer(folder / "results.jsonl")
    writer.run(running.record_of(maker(), Load(shape="burst"), Slo()))
    writer.result(OK)
    writer.close(Ending(duration_us=9, clients=[]))
    return writer


def test_a_report_is_made_from_the_file_and_kept_beside_it(tmp_path: Path) -> None:
    made = running.finish(tmp_path, writer_with(tmp_path))
    assert (made.succeeded, made.results_lost) == (1, False)
    assert (tmp_path / "probe.json").read_text() == made.model_dump_json(indent=2) + "\n"


def test_results_that_the_disk_did_not_take_are_in_the_report_and_that_is_said(tmp_path: Path) -> None:
    writer = writer_with(tmp_path)
    writer.failure = "x: full"
    made = running.finish(tmp_path, writer)
    assert made.results_lost
    assert made.warnings[-1] == (
        "the results could not all be written (x: full): this report cannot be made again from them"
    )


def test_a_report_that_cannot_be_written_is_no_loss_where_the_disk_was_full_before(tmp_path: Path) -> None:
    writer = writer_with(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(HostError):
        running.finish(tmp_path / "file", writer)
    writer.failure = "x: full"
    assert running.finish(tmp_path / "file", writer).results_lost


# A run from beginning to end


class Steps:
    """What a run does, in its order; a test bends what it needs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.sides = [ClientSide()]
        self.counted = iter([{"a": 1.0}, {"a": 5.0}, {"a": 5.0}])
        steps = {
            "Server": lambda target, timeout_s: self.step(f"ask within {timeout_s:g} s") or self,
            "prepare": lambda server, workload, say: self.step("prepare") or (maker(), maker().composer("")),
            "warm_up": lambda maker, load, say: self.step("warm up") or maker,
            "calibrated": lambda maker, load, say: maker,
            "attack": self.attack,
            "Sampler": lambda target, own_page: SimpleNamespace(
                notes=["no GPU"], start=lambda: None, stop=lambda: {"running": [(2_000_000_000, 3.0)]}
            ),
            "time": SimpleNamespace(sleep=lambda seconds: None),
        }
        for name, step in steps.items():
            monkeypatch.setattr(running, name, step)

    def metrics_page(self) -> None:
        raise AssertionError

    def step(self, name: str) -> bool:
        self.did.append(name)
        if name in self.fails:
            raise self.fails[name]
        return False

    def attack(
        self, maker: RequestMaker, load: Load, composer: object, writer: Writer, watch: object
    ) -> tuple[Ending, int]:
        self.step("attack")
        writer.result(OK)
        return Ending(duration_us=9, clients=self.sides), 500_000_000

    def counters(self) -> dict[str, float]:
        self.step("count")
        return next(self.counted)

    def close(self) -> None:
        self.step("close")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


LOAD = Load(shape="concurrency", concurrency=1, timeout_s=5.0)


def test_a_run_asks_prepares_warms_up_loads_and_counts(steps: Steps, tmp_path: Path) -> None:
    made = running.run(TARGET, LOAD, WORKLOAD, tmp_path / "out")
    assert steps.did == [
        "ask within 5 s", "prepare", "warm up", "count", "attack", "count", "count", "close",
    ]  # fmt: skip
    assert (made.succeeded, made.interrupted) == (1, False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["probe.json", "results.jsonl"]
    last = (tmp_path / "out" / "results.jsonl").read_text().splitlines()[-1]
    assert '"counters":{"a":4.0},"sampled":{"running":[[1.5,3.0]]}' in last
    assert (made.notes[-1], made.server.most_running) == ("no GPU", 3.0)


def test_a_server_that_hangs_is_not_asked_for_its_counters(steps: Steps, tmp_path: Path) -> None:
    steps.sides = [ClientSide(), ClientSide(gave_up=True)]
    running.run(TARGET, LOAD, WORKLOAD, tmp_path)
    assert steps.did.count("count") == 1


def test_a_ctrl_c_while_counting_loses_no_result(steps: Steps, tmp_path: Path) -> None:
    def counters() -> dict[str, float]:
        if "attack" in steps.did:
            raise KeyboardInterrupt
        return {"a": 1.0}

    steps.counters = counters  # type: ignore[method-assign]
    made = running.run(TARGET, LOAD, WORKLOAD, tmp_path)
    assert (made.succeeded, made.interrupted, steps.did[-1]) == (1, True, "close")


@pytest.mark.parametrize("name", ["prepare", "warm up", "count", "attack"])
def test_a_run_that_fails_leaves_nothing_and_lets_the_server_go(
    steps: Steps, tmp_path: Path, name: str
) -> None:
    steps.fails[name] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        running.run(TARGET, LOAD, WORKLOAD, tmp_path / "out")
    assert (steps.did[-2:], (tmp_path / "out").exists()) == ([name, "close"], False)


def test_the_users_prompts_and_the_folder_are_looked_at_before_anything_is_asked(
    steps: Steps, tmp_path: Path
) -> None:
    (tmp_path / "talk").write_text('{"messages": [{"role": "system", "content": "x"}]}')
    own = WORKLOAD.model_copy(update={"prompts_file": tmp_path / "talk"})
    with pytest.raises(UsageError, match="is a conversation"):
        running.run(TARGET.model_copy(update={"api": "completions"}), LOAD, own, tmp_path / "out")
    assert steps.did == []
    (tmp_path / "results.jsonl").touch()
    with pytest.raises(UsageError, match="is not overwritten"):
        running.run(TARGET, LOAD, WORKLOAD, tmp_path)
    assert steps.did == ["ask within 5 s", "close"]


def test_requests_before_the_load_are_an_attack_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Attack:
        interrupted = False

        def __init__(
            self, peer: object, api: str, load: Load, shots: Iterator[Shot], hooks: Hooks, connections: int
        ):
            asked.extend([peer, api, load, [shot.index for shot in shots], connections])
            self._hooks = hooks

        def run(self) -> None:
            self._hooks.result(OK)

    monkeypatch.setattr(running, "resolve", lambda target: "peer")
    monkeypatch.setattr(running, "Attack", Attack)
    load = Load(shape="concurrency", concurrency=3)
    assert running.results_of(maker(), load, [Shot(4, b"", 1)]) == [OK]
    assert asked == ["peer", "chat", load, [4], 3]
    assert running.results_of(maker(), load.model_copy(update={"concurrency": None}), []) == [OK]
    assert asked[-1] == 1
    Attack.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        running.results_of(maker(), load, [])
