"""The judge: a row for every combination of answers, kept and compared whole, and the classes that say why."""

import math
import os
from itertools import product
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from infra.host_files import bare_script
from infra.onhost import codes, judge
from infra.onhost.judge import Answer, Ends, Look, Memory, Policy, Verdict

TABLE = Path(__file__).parent / "data" / "verdicts.txt"
ANSWERS: tuple[Answer, ...] = get_args(Answer)
POLICY = Policy()
HOUR_S = 3600.0


class Asked(NamedTuple):
    """How the four questions end, look after look."""

    health: Answer
    models: Answer
    metrics: Answer
    completion: Answer


COMBINATIONS = [Asked(*answers) for answers in product(ANSWERS, repeat=4)]


def end(asked: Asked, was_ready: bool, moves: bool) -> str:
    """What becomes of a server that answers so from now on: the kind, and what is done after how many seconds."""
    memory = Memory(was_ready=was_ready, at_s=0.0, seen={judge.GENERATED: 0.0})
    now_s = 0.0
    while now_s < HOUR_S:
        now_s += POLICY.look_again_s if memory.ill_looks or not was_ready else POLICY.look_every_s
        reading = {judge.GENERATED: now_s if moves else 0.0}
        known = asked.metrics in judge.RIGHT
        look = Look(now_s, *asked, readings=(reading,) if known else ())
        verdict, memory = judge.judge(memory, look, POLICY)
        if verdict.action == "restart":
            return f"{verdict.kind} restart {now_s:g}"
        if memory.was_ready != was_ready:
            return f"{verdict.kind} {verdict.action}"
    return f"{verdict.kind} {verdict.action}"


def row(asked: Asked) -> str:
    """A row of the table."""
    ends = (end(asked, False, False), end(asked, True, False), end(asked, True, True))
    return f"{' '.join(f'{answer:<6}' for answer in asked)} | {' | '.join(f'{each:<19}' for each in ends)}".rstrip()


def test_every_combination_has_its_verdict() -> None:
    head = "health models metrics comple | while it starts     | nothing moves       | tokens move"
    found = "\n".join([head, *map(row, COMBINATIONS), ""])
    if os.environ.get("CORRAL_TEST_KEEP"):
        TABLE.write_text(found)
    assert (found, len(COMBINATIONS)) == (TABLE.read_text(), 625)


RIGHT, WRONG, ANY = ("ok", "slow"), ("hang", "error", "refuse"), ANSWERS
# Of a server that was ready, while nothing moves: health, models, metrics, completion, what comes of it, and why. The
# first that fits counts.
CLASSES = (
    (RIGHT, RIGHT, ANY, RIGHT, "well leave", "it generates, whatever its metrics do"),
    (ANY, ANY, ANY, RIGHT, "lame leave", "what generates is never ended; a person is told"),
    (("error",), ANY, ANY, ANY, "dead restart 35", "vLLM's 503 is for good; a second look agrees"),
    (ANY, ANY, ANY, ("error",), "failing restart 180", "others may get what the canary does not: three minutes"),
    (("refuse",), ANY, ANY, ANY, "deaf restart 35", "it closed its port and has not ended since"),
    (("hang",), ANY, ANY, ANY, "frozen restart 60", "/health needs no engine: its front does not run"),
    (ANY, ANY, ANY, ("refuse",), "failing restart 180", "as one that answers wrongly"),
    (ANY, ANY, RIGHT, ("hang",), "hung restart 35", "no token, and no signal that moves"),
    (ANY, ANY, WRONG, ("hang",), "blind restart 180", "no token, and a long prompt cannot be told from a hang"),
)  # fmt: skip


def test_each_row_is_of_a_class_that_says_why() -> None:
    for asked in COMBINATIONS:
        said = next(said for *answers, said, _ in CLASSES if all(map(lambda a, of: a in of, asked, answers)))
        assert (asked, end(asked, True, False)) == (asked, said)


def test_tokens_that_somebody_gets_are_progress_whatever_fails() -> None:
    """Only where /metrics says so; and what was right stays so."""
    for asked in COMBINATIONS:
        still, moving = end(asked, True, False), end(asked, True, True)
        assert moving == ("busy leave" if asked.metrics in RIGHT and "restart" in still else still)


def test_what_starts_is_not_ended_for_silence_before_its_time_is_over() -> None:
    for asked in COMBINATIONS:
        found = end(asked, False, False)
        if asked.health == "refuse" and asked.completion in WRONG:
            assert found == "late restart 600"
        if asked.health in RIGHT and asked.completion == "error":
            assert found == "failing restart 30"


@pytest.mark.parametrize(
    ("asked", "moves", "ended"),
    [
        (Asked("ok", "ok", "ok", "hang"), judge.GENERATED, ""),
        (Asked("slow", "ok", "slow", "hang"), judge.GENERATED, ""),
        # Nobody gets a token; another's server gives some; what fails does not wait in line.
        (Asked("ok", "ok", "ok", "hang"), "vllm:num_requests_waiting", "late 600"),
        (Asked("ok", "error", "ok", "hang"), judge.GENERATED, "late 600"),
        (Asked("ok", "ok", "ok", "error"), judge.GENERATED, "late 600"),
    ],
)
def test_who_starts_with_a_long_line_before_it_is_ready_and_not_late(
    asked: Asked, moves: str, ended: str
) -> None:
    """Twenty clients came back at once, and ours waits behind theirs at every look."""
    memory, found = Memory(at_s=0.0, seen={moves: 0.0}), ""
    for step in range(1, 60):
        verdict, memory = judge.judge(memory, Look(20.0 * step, *asked, ({moves: float(step)},)), POLICY)
        if verdict.action == "restart":
            found = f"{verdict.kind} {20 * step}"
            break
    assert (found, memory.was_ready) == (ended, not ended)


def looks(*seen: tuple[float, Answer, dict[str, float]]) -> list[Verdict]:
    """The verdicts on completions that end so, of a server whose front is well."""
    memory, verdicts = Memory(was_ready=True, at_s=0.0), []
    for at_s, completion, values in seen:
        reading = judge.signals(values)
        verdict, memory = judge.judge(memory, Look(at_s, "ok", "ok", "ok", completion, (reading,)), POLICY)
        verdicts.append(verdict)
    return verdicts


MOVING = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:iteration_tokens_total_count",
)


@pytest.mark.parametrize("signal", MOVING)
def test_a_long_prompt_is_healthy_while_any_signal_moves(signal: str) -> None:
    """Tokens stand still for 97 s; so does all else but one."""
    still = dict.fromkeys(MOVING, 5.0)
    seen = [(15.0 * step, "hang", still | {signal: step / 1000}) for step in range(1, 20)]
    assert {(verdict.kind, verdict.action) for verdict in looks(*seen)[1:]} == {("busy", "leave")}  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_never_moved(value: float) -> None:
    seen = [(15.0 * step, "hang", {judge.GENERATED: 1.0, MOVING[2]: value}) for step in range(1, 5)]
    assert looks(*seen)[-1] == Verdict("hung", "restart", 60.0)  # type: ignore[arg-type]


def test_requests_that_come_and_go_do_not_excuse_completions_that_all_fail() -> None:
    waiting = "vllm:num_requests_waiting"
    seen = [(30.0 * step, "error", {judge.GENERATED: 1.0, waiting: float(step)}) for step in range(1, 7)]
    assert looks(*seen)[-1] == Verdict("failing", "restart", 180.0)  # type: ignore[arg-type]


def test_kinds_of_ill_that_take_turns_do_not_begin_anew_and_a_sign_of_life_does() -> None:
    hang: tuple[Answer, Answer] = ("hang", "error")
    ill = [(10.0 * step, hang[step % 2], {judge.GENERATED: 1.0}) for step in range(1, 5)]
    well: list[tuple[float, Answer, dict[str, float]]] = [(50.0, "ok", {judge.GENERATED: 2.0})]
    again: list[tuple[float, Answer, dict[str, float]]] = [(60.0, "hang", {judge.GENERATED: 2.0})]
    assert looks(*ill, *well, *again)[3:] == [
        Verdict("hung", "restart", 40.0),
        Verdict("well", "leave", 0.0),
        Verdict("hung", "wait", 10.0),
    ]


def test_hours_in_which_nobody_looked_are_no_hours_of_silence() -> None:
    first, second = looks((30.0, "hang", {}), (30.0 + 5 * HOUR_S, "hang", {}))
    assert (first, second) == (Verdict("blind", "wait", 30.0), Verdict("blind", "wait", 90.0))


def test_no_single_look_ends_a_server() -> None:
    memory = Memory(was_ready=True, at_s=0.0)
    for asked in COMBINATIONS:
        verdict, _ = judge.judge(memory, Look(10 * HOUR_S, *asked), POLICY)
        assert verdict.action != "restart"


def test_a_key_that_is_refused_is_no_ground_to_end_a_server_but_one_to_end_the_waiting() -> None:
    denied = Look(400.0, "ok", "ok", "ok", "error", is_denied=True)
    ready = Memory(was_ready=True, at_s=0.0, ill_looks=9, quiet_s=900.0)
    assert judge.judge(ready, denied, POLICY)[0] == Verdict("denied", "leave", 0.0)
    starting = Memory(at_s=390.0, ill_looks=1, quiet_s=25.0)
    assert judge.judge(starting, denied, POLICY)[0] == Verdict("failing", "restart", 35.0)


@pytest.mark.parametrize(
    ("served", "ends", "delay"),
    [
        ([None], Ends(1, 1), 10.0),
        ([None, None], Ends(2, 2), 20.0),
        ([None, None, None], Ends(3, 3), None),  # it loads 310 s and dies, or an hour and dies
        ([None, None, 60.0], Ends(2, 3), 40.0),
        ([None, None, 3600.0], Ends(0, 1), 10.0),
        ([None, None, 3599.0, None], Ends(3, 4), None),
        ([60.0] * 6, Ends(0, 6), 300.0),
        ([60.0] * 9, Ends(0, 9), 300.0),
        ([60.0] * 10, Ends(0, 10), None),
    ],
)
def test_starts_are_counted_since_an_hour_of_service_and_not_by_the_clock(
    served: list[float | None], ends: Ends, delay: float | None
) -> None:
    found = Ends()
    for served_s in served:
        found = judge.ended(found, served_s, POLICY)
    assert (found, judge.delay_s(found, 0.0, POLICY)) == (ends, delay)


def test_a_part_of_the_delay_is_drawn() -> None:
    assert [judge.delay_s(Ends(0, 1), drawn, POLICY) for drawn in (0.0, 0.5, 1.0)] == [10.0, 9.0, 8.0]


def test_why_it_is_given_up_is_said() -> None:
    assert judge.gave_up(Ends(3, 3), POLICY) == (
        "3 starts that did not get ready, without an hour of service between"
    )
    assert judge.gave_up(Ends(1, 10), POLICY) == "10 ends without an hour of service between"


def test_a_host_runs_the_same_file_without_what_is_only_said_to_people() -> None:
    plain: dict[str, object] = {"__name__": "judge"}
    exec(compile(bare_script(Path(judge.__file__).read_text()), "judge", "exec"), plain)
    assert {name for name in vars(judge) if name.isidentifier() and not name.startswith("__")} <= set(plain)


def test_every_kind_is_a_state_and_has_words() -> None:
    states: dict[str, list[str]] = {}
    for kind, state in judge.STATES.items():
        states.setdefault(state, []).append(kind)
    assert states == {
        "serving": ["well"],
        "degraded": ["lame", "busy", "denied", "blind", "failing"],
        "starting": ["loading"],
        "hung": ["late", "deaf", "frozen", "hung"],
        "dead": ["dead"],
    }
    kinds = get_args(judge.Kind)
    assert (*judge.STATES,) == (*judge.WORDS,) == kinds
    assert [kind for kind in kinds if not judge.WORDS[kind]] == []
    assert (*judge.ALIVE, *codes.ILL) == kinds
    assert len({*judge.WORDS.values()}) == len(kinds)


def test_a_code_says_its_words_and_any_other_none() -> None:
    assert [codes.code_of(kind) for kind in codes.ILL] == list(range(11, 18))
    assert [codes.words_of(code) for code in range(11, 18)] == [judge.WORDS[kind] for kind in codes.ILL]
    assert [codes.words_of(code) for code in (0, codes.READY, 18)] == [""] * 3
