"""What a user may ask of a probe: the record it becomes, and every complaint with its hint."""

import math
from pathlib import Path
from typing import Any

import asking
import pytest

from infra.errors import UsageError
from serving.probe.apis import ApiName
from serving.probe.endpoint_options import Address, split_url
from serving.probe.lengths import Lengths
from serving.probe.probe_options import (
    SloOptions,
    WorkloadOptions,
    size_of,
    slo_of,
    trace_of,
)
from serving.probe.spec import Load, Share, Slo, Target, Workload
from serving.probe.sweep_options import SweepOptions

# At whom


@pytest.mark.parametrize(
    ("url", "base_url", "api"),
    [
        ("http://host/completion", "http://host/completion", None),
        ("http://host:1/v1/responses", "http://host:1", "responses"),
        ("http://host", "http://host", None),
        ("https://host:8443/", "https://host:8443", None),
        ("http://host:1/v1", "http://host:1", None),
        ("http://host:1/v1/", "http://host:1", None),
        ("http://host:1/base/v1", "http://host:1/base", None),
        ("http://host:1/v1/completions", "http://host:1", "completions"),
        ("http://host:1/v1/chat/completions", "http://host:1", "chat"),
        ("http://host:1/base/v1/messages/", "http://host:1/base", "messages"),
        ("http://[::1]:8000", "http://[::1]:8000", None),
        ("http://[fe80::1%25eth0.5]:8000/v1", "http://[fe80::1%25eth0.5]:8000", None),
        ("https://[FE80::1%eth0]/v1/chat/completions", "https://[FE80::1%25eth0]", "chat"),
        ("http://[fe80::1%25en]/a%25b", "http://[fe80::1%25en]/a%25b", None),
    ],
)
def test_an_address_and_the_api_its_path_names(url: str, base_url: str, api: ApiName | None) -> None:
    assert split_url(url) == Address(base_url, api)


AZURE = "/openai/deployments/scout/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "http://host/api/paas/v4/chat/completions",
            Address("http://host/api/paas/v4", "chat", "/api/paas/v4/chat/completions"),
        ),
        (f"https://host{AZURE}", Address("https://host/openai/deployments/scout", "chat", AZURE)),
        ("http://host/v1/responses?a=b", Address("http://host/v1", "responses", "/v1/responses?a=b")),
        ("http://host/messages", Address("http://host", "messages", "/messages")),
    ],
)
def test_a_path_and_a_query_of_a_providers_own(url: str, address: Address) -> None:
    assert split_url(url) == address


def test_a_deployment_in_the_path_is_the_model() -> None:
    assert asking.target_of(f"http://host{AZURE}").model == "scout"
    assert asking.target_of(f"http://host{AZURE}", model="mine").model == "mine"


def test_several_models_have_shares() -> None:
    target = asking.target_of("http://host", model=("a", "b=3", "c=d"))
    assert (target.model, target.models) == (
        "a", (Share(model="a"), Share(model="b", share=3.0), Share(model="c=d")),
    )  # fmt: skip
    assert asking.target_of("http://host", model=("b=3",)).models == ()


def test_a_target_of_everything_and_of_an_address_alone() -> None:
    files: dict[str, Any] = {"api_key_file": Path("key"), "ca_file": Path("ca.pem")}
    assert asking.target_of(
        "http://h/v1/chat/completions", api="messages", model="m", api_key_variable="KEY", **files
    ) == Target(base_url="http://h", api="chat", model="m", api_key_variable="KEY", **files)
    assert asking.target_of("http://h") == Target(
        base_url="http://h", api="completions", api_key_variable="CORRAL_API_KEY"
    )
    assert asking.target_of("http://h", api="messages").api == "messages"


def no_url(url: str) -> tuple[str, str]:
    return f"{url!r} is not the URL of a server.", "Say, for example, http://127.0.0.1:8000"


NO_PASSWORD = ("A URL must not hold a password.", "Leave it out, and use --api-key-file key.txt")
WHOLE = (
    "A URL with a query says the whole path of its API.",
    "Say, e.g., 'http://host/openai/deployments/scout/chat/completions?api-version=2024-10-21'",
)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        *(
            ({"url": url}, no_url(url))
            for url in (
                "127.0.0.1:9", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://[::1", "http://..",
                "http://ho st", "http://host/\x7f", "http://host/\xa0", f"http://{'a' * 64}",
            )
        ),
        (
            {"url": f"http://host/ {'x' * 300}"},
            (f"'http://host/ {'x' * 183}... is not the URL of a server.", no_url("")[1]),
        ),
        (
            {"url": "http://[fe80::1]:8000/v1"},
            ("fe80::1 is an address of one link, and this machine may have several.",
             "Name the interface to it, which ip link lists: 'http://[fe80::1%25eth0]:8000/v1'"),
        ),
        ({"url": "http://user@host"}, NO_PASSWORD),
        ({"url": "http://:secret@host"}, NO_PASSWORD),
        ({"url": "http://host/a?b"}, WHOLE),
        (
            {"url": "http://host/a#c"},
            ("What follows a # in a URL goes to no server.", "Say http://host/a"),
        ),
        (
            {"url": "http://host/my model/v1"},
            ("'http://host/my model/v1' is not the URL of a server.",
             "A space in a path is %20: http://host/my%20model/v1"),
        ),
        (
            {"url": "http://host/v1/chat/completions?api-key=sk-1"},
            ("The api-key in the URL is read by others: a command line is no place for it.",
             "Leave it out, and send it as a header: --header 'api-key: $VARIABLE'"),
        ),
        ({"url": "http://host", "model": " "}, ("--model is empty.", "For example: --model scout")),
        (
            {"url": "http://host", "model": ("a=0",)},
            ("--model a=0 is no share of the load.", "Say, e.g., --model scout=3"),
        ),
        (
            {"url": "http://host", "model": ("a", "a=2")},
            ("--model names a 2 times.", "Say how much more of it: --model a=2"),
        ),
        (
            {"url": "http://host", "metrics": ("host:9400",)},
            ("--metrics 'host:9400' is not the URL of a page.",
             "Say, for example, --metrics http://127.0.0.1:9400/metrics"),
        ),
        (
            {"url": "http://host", "api": "smoke"},
            ("--api 'smoke' is unknown.", "One of: completions, chat, messages, responses"),
        ),
    ],
)  # fmt: skip
def test_a_target_that_is_none(asked: dict[str, Any], said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        asking.target_of(**asked)
    assert (caught.value.message, caught.value.hint) == said


# Which load


@pytest.mark.parametrize(
    ("asked", "load"),
    [
        ({}, Load(shape="concurrency", concurrency=8, requests=128)),
        ({"concurrency": 33}, Load(shape="concurrency", concurrency=33, requests=132)),
        ({"concurrency": 5, "duration_s": 9.0}, Load(shape="concurrency", concurrency=5, duration_s=9.0)),
        ({"concurrency": 5, "requests": 3}, Load(shape="concurrency", concurrency=5, requests=3)),
        ({"request_rate": 5.0}, Load(shape="poisson", request_rate=5.0, requests=128)),
        (
            {"request_rate": 5.0, "burstiness": 0.5},
            Load(shape="gamma", request_rate=5.0, burstiness=0.5, requests=128),
        ),
        (
            {"request_rate": 5.0, "burstiness": math.inf},
            Load(shape="constant", request_rate=5.0, requests=128),
        ),
        (
            {"request_rate": 5.0, "end_request_rate": 9.0, "duration_s": 3.0},
            Load(shape="ramp", request_rate=5.0, end_request_rate=9.0, duration_s=3.0),
        ),
        ({"request_rate": math.inf}, Load(shape="burst", requests=128)),
        ({"request_rate": math.inf, "requests": 7}, Load(shape="burst", requests=7)),
        ({"replay": (0.0, 1.0)}, Load(shape="replay", trace=(0.0, 1.0))),
        ({"replay": (0.0, 1.0), "requests": 1}, Load(shape="replay", trace=(0.0, 1.0), requests=1)),
        (
            {"concurrency": 4, "requests": 9, "processes": 4, "timeout_s": 3.0, "seed": 6},
            Load(shape="concurrency", concurrency=4, requests=9, processes=4, timeout_s=3.0, seed=6),
        ),
    ],
)
def test_what_is_asked_becomes_a_load(asked: dict[str, Any], load: Load) -> None:
    assert asking.load_of(**asked) == load


A_RATE = ("--end-request-rate and --burstiness belong to a rate.", "Say the rate: --request-rate 5")
MOVES = (
    "A rate that moves starts at a finite one and is evenly spaced.",
    "Leave --burstiness out, or --end-request-rate.",
)
AT_ONCE = (
    "With --request-rate inf all requests are sent at once: there is no time and no burstiness.",
    "Say how many instead: --requests 128",
)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"concurrency": 2, "request_rate": 3.0},
            ("--concurrency and --request-rate are different kinds of load.", "Leave out --request-rate."),
        ),
        (
            {"concurrency": 2, "replay": (0.0,)},
            ("--concurrency and --replay are different kinds of load.", "Leave out --replay."),
        ),
        ({"burstiness": 2.0}, A_RATE),
        ({"concurrency": 2, "end_request_rate": 5.0}, A_RATE),
        ({"request_rate": 5.0, "end_request_rate": 9.0, "burstiness": 2.0}, MOVES),
        ({"request_rate": math.inf, "end_request_rate": 9.0}, MOVES),
        ({"request_rate": math.inf, "burstiness": 2.0}, AT_ONCE),
        ({"request_rate": math.inf, "duration_s": 5.0}, AT_ONCE),
        (
            {"request_rate": 5.0, "end_request_rate": 9.0},
            ("A rate that moves needs a time to move in.", "Say how long: --duration-s 60"),
        ),
        (
            {"concurrency": 4, "requests": 3, "processes": 4},
            ("4 processes cannot share 3 requests at a time.", "Use fewer: --processes"),
        ),
        (
            {"concurrency": 3, "duration_s": 9.0, "processes": 4},
            ("4 processes cannot share 3 requests at a time.", "Use fewer: --processes"),
        ),
    ],
)
def test_loads_that_contradict_themselves(asked: dict[str, Any], said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        asking.load_of(**asked)
    assert (caught.value.message, caught.value.hint) == said


RANGES: tuple[tuple[str, str, dict[str, Any], float, float, str], ...] = (
    ("--concurrency", "concurrency", {}, 1, 100_000, "1 to 100,000"),
    ("--requests", "requests", {}, 1, 100_000_000, "1 to 100,000,000"),
    ("--duration-s", "duration_s", {}, 0.1, 2_592_000.0, "0.1 to 2,592,000"),
    ("--request-rate", "request_rate", {}, 1e-6, 1e6, "1e-06 to 1,000,000"),
    (
        "--end-request-rate", "end_request_rate", {"request_rate": 1.0, "duration_s": 1.0}, 1e-6, 1e6,
        "1e-06 to 1,000,000",
    ),
    ("--burstiness", "burstiness", {"request_rate": 1.0}, 1e-3, 1e6, "0.001 to 1,000,000"),
    ("--timeout-s", "timeout_s", {}, 0.05, 86400.0, "0.05 to 86,400"),
    ("--stall-timeout-s", "stall_timeout_s", {}, 0.05, 86400.0, "0.05 to 86,400"),
    ("--warmup-requests", "warmup_requests", {}, 0, 100_000, "0 to 100,000"),
    ("--processes", "processes", {"concurrency": 1000, "requests": 1000}, 1, 256, "1 to 256"),
)  # fmt: skip


@pytest.mark.parametrize(("option", "field", "rest", "low", "high", "words"), RANGES)
def test_the_range_of_each_number(
    option: str, field: str, rest: dict[str, Any], low: float, high: float, words: str
) -> None:
    for value in (low, high):
        assert getattr(asking.load_of(**rest | {field: value}), field) == value
    below = low - 1 if isinstance(low, int) else low - low / 1000
    for value in (below, high * 1.01 if isinstance(high, float) else high + 1):
        with pytest.raises(UsageError) as caught:
            asking.load_of(**rest | {field: value})
        shown = f"{value:g}" if isinstance(value, float) else value
        assert caught.value.message == f"{option} {shown} is not between {words.replace(' to ', ' and ')}."
        assert caught.value.hint.startswith(f"For example: {option} ")


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_is_of_64_bits(seed: int) -> None:
    said = f"--seed {seed} is not between -9,223,372,036,854,775,808 and 9,223,372,036,854,775,807."
    with pytest.raises(UsageError) as caught:
        asking.load_of(seed=seed)
    assert (caught.value.message, caught.value.hint) == (said, "For example: --seed 0")
    assert [asking.load_of(seed=end).seed for end in (2**63 - 1, -(2**63))] == [2**63 - 1, -(2**63)]


def test_what_is_no_number_is_in_no_range() -> None:
    with pytest.raises(UsageError, match="--timeout-s nan is no finite number"):
        asking.load_of(timeout_s=math.nan)


# Which requests


def test_a_workload_of_everything_and_of_nothing() -> None:
    rest: dict[str, Any] = {"turns": 2, "images": 1, "prefix_tokens": 99, "seed": 4, "ignore_eos": True}
    made = asking.workload_of(
        "100-200", "5~2", "chat", extra_body='{"top_p": 0.9}', image_size="64x32", **rest
    )
    assert made == Workload(
        input_tokens=Lengths(form="uniform", low=100, high=200),
        output_tokens=Lengths(form="normal", low=5, high=2),
        extra_body={"top_p": 0.9},
        image_size=(64, 32),
        **rest,
    )
    assert asking.workload_of() == Workload(input_tokens=Lengths(low=512), output_tokens=Lengths(low=128))
    own = asking.workload_of(prompts=Path("x"))
    assert own.prompts_file == Path("x")


YOURS = (
    "--prefix-tokens, --turns and --images make synthetic prompts; yours are sent as they are.",
    "Leave those out, or --prompts and --replay.",
)
CHAT = ("Turns and images are for a chat.", "Add --api chat.")


def several(name: str) -> tuple[str, str]:
    return (
        f"--extra-body asks for several answers a request ({name}): their tokens cannot be told apart in time.",
        f"Leave {name} out, and send more requests at once: --concurrency.",
    )


NO_STREAM = (
    "--extra-body turns streaming off, and nothing tells then when a token came.",
    "Leave stream out of it.",
)
BODY = """Say, e.g., --extra-body '{"top_p": 0.9}'"""
SIZE = "Say WIDTHxHEIGHT: --image-size 512x512"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"turns": 0}, ("--turns 0 is not between 1 and 1,000.", "For example: --turns 1")),
        ({"turns": 1001}, ("--turns 1001 is not between 1 and 1,000.", "For example: --turns 1")),
        ({"images": -1}, ("--images -1 is not between 0 and 100.", "For example: --images 0")),
        ({"images": 101}, ("--images 101 is not between 0 and 100.", "For example: --images 0")),
        (
            {"prefix_tokens": -1},
            ("--prefix-tokens -1 is not between 0 and 20,000,000.", "For example: --prefix-tokens 0"),
        ),
        (
            {"prefix_tokens": 512},
            ("A shared prefix of 512 tokens leaves nothing of 512 for the rest.", "Ask for longer inputs."),
        ),
        ({"prefix_tokens": 5, "prompts": Path("x")}, YOURS),
        ({"turns": 2, "prompts": Path("x")}, YOURS),
        ({"images": 1, "prompts": Path("x")}, YOURS),
        ({"turns": 2}, CHAT),
        ({"images": 1}, CHAT),
        ({"images": 1, "api": "messages"}, ("Synthetic images are in OpenAI's form only.", "Use --api chat.")),
        ({"extra_body": "[1]"}, ("--extra-body is no JSON object: '[1]'.", BODY)),
        ({"extra_body": "{"}, ("--extra-body is no JSON object: '{'.", BODY)),
        ({"extra_body": '{"n": 2}'}, several("n")),
        ({"extra_body": '{"best_of": "2"}'}, several("best_of")),
        ({"extra_body": '{"stream": false}'}, NO_STREAM),
        ({"extra_body": '{"stream": null}'}, NO_STREAM),
        ({"image_size": "5"}, ("--image-size '5' is no size.", SIZE)),
        ({"image_size": "5x5x5"}, ("--image-size '5x5x5' is no size.", SIZE)),
        ({"image_size": "0x5"}, ("--image-size 0 is not between 1 and 16,384.", "For example: --image-size 1")),
        ({"image_size": "5x16385"}, ("--image-size 16385 is not between 1 and 16,384.", "For example: --image-size 1")),
        (
            {"input_tokens": "x"},
            (
                "--input-tokens 'x' is not a length in tokens.",
                "Say --input-tokens 512, 100-500 (uniform) or 512~64 (normal).",
            ),
        ),
        (
            {"output_tokens": "9-3"},
            (
                "--output-tokens 9-3 is out of range.",
                "Lengths are 1 to 20,000,000 tokens, the smaller first.",
            ),
        ),
    ],
)  # fmt: skip
def test_a_workload_that_is_none(asked: dict[str, Any], said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        asking.workload_of(**asked)
    assert (caught.value.message, caught.value.hint) == said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"image_size": "5"}, "--image-size '5' is no size."),
        ({"extra_body": "[1]"}, "--extra-body is no JSON object: '[1]'."),
    ],
)
def test_what_is_no_size_or_body_is_refused_before_the_server_is_looked_for(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        WorkloadOptions(**asked)
    assert caught.value.message == message


def test_the_ends_of_what_a_workload_may_be() -> None:
    for asked in (
        {"seed": 2**63 - 1},
        {"seed": -(2**63)},
        {"turns": 1000, "api": "chat"},
        {"images": 100, "api": "chat"},
        {"prefix_tokens": 511},
        {"turns": 2, "api": "messages"},
    ):
        made = asking.workload_of(**asked)
        assert {name: getattr(made, name) for name in asked if name != "api"} == {
            name: value for name, value in asked.items() if name != "api"
        }
    assert [size_of(text) for text in ("1x16384", "16384x1")] == [(1, 16384), (16384, 1)]


# The limits and the steps of a sweep


def test_limits_are_in_milliseconds() -> None:
    given = ("ttft:500", "tpot:50.5", "itl:200", "e2el:10000")
    assert slo_of(given) == Slo(ttft_s=0.5, tpot_s=0.0505, itl_s=0.2, e2e_s=10.0)
    assert slo_of(("e2e:1",)) == Slo(e2e_s=0.001)
    assert slo_of(()) == Slo()


@pytest.mark.parametrize(
    "limit", ["ttft", "ttft:", "ttft:x", "ttft:0", "ttft:-1", "ttft:1e9", "ttft:nan", "tfft:5"]
)
def test_a_limit_that_is_none(limit: str) -> None:
    with pytest.raises(UsageError) as caught:
        SloOptions.of({"goodput": (limit,)})
    assert caught.value.message == f"--goodput {limit!r} is not a limit."
    assert caught.value.hint == "Say, in milliseconds: --goodput ttft:500"


def test_a_limit_is_given_once() -> None:
    with pytest.raises(UsageError) as caught:
        SloOptions.of({"goodput": ("e2e:5", "e2el:6")})
    assert (caught.value.message, caught.value.hint) == (
        "--goodput has two limits for e2el.",
        "Give one of them.",
    )


def steps(**changes: Any) -> SweepOptions:
    asked: dict[str, Any] = {
        "over": "concurrency",
        "start": 4.0,
        "limit": 64.0,
        "attainment": 0.9,
        "duration_s": 5.0,
    }
    return SweepOptions.of(asked | {"timeout_s": 7.0, "processes": 2, "seed": 3} | changes)


def test_the_steps_of_a_sweep() -> None:
    rest: dict[str, Any] = {"attainment": 0.9, "duration_s": 5.0, "timeout_s": 7.0, "processes": 2, "seed": 3}
    assert steps() == SweepOptions(over="concurrency", start=4.0, limit=64.0, **rest)
    assert steps(over="rate", start=0.5, limit=0.5) == SweepOptions(over="rate", start=0.5, limit=0.5, **rest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"over": "time"}, ("--over 'time' is unknown.", "One of: concurrency, rate")),
        ({"start": 0.5}, ("--start 0.5 is not between 1 and 100,000.", "For example: --start 1")),
        ({"start": 100_001.0}, ("--start 100001 is not between 1 and 100,000.", "For example: --start 1")),
        (
            {"over": "rate", "start": 0.0},
            ("--start 0 is not between 1e-06 and 1,000,000.", "For example: --start 1e-06"),
        ),
        ({"limit": 3.0}, ("--limit 3 is not between 4 and 100,000.", "For example: --limit 4")),
        ({"over": "rate", "limit": 1e7}, ("--limit 1e+07 is not between 4 and 1,000,000.", "For example: --limit 4")),
        ({"start": 4.5}, ("--start 4.5 is no whole number of requests.", "Say --start 4")),
        ({"limit": 9.6}, ("--limit 9.6 is no whole number of requests.", "Say --limit 10")),
        ({"attainment": 0.009}, ("--attainment 0.009 is not between 0.01 and 1.", "For example: --attainment 0.95")),
        ({"attainment": 1.1}, ("--attainment 1.1 is not between 0.01 and 1.", "For example: --attainment 0.95")),
        ({"duration_s": 0.4}, ("--duration-s 0.4 is not between 0.5 and 2,592,000.", "For example: --duration-s 30")),
        ({"timeout_s": 0.04}, ("--timeout-s 0.04 is not between 0.05 and 86,400.", "For example: --timeout-s 600")),
        ({"timeout_s": 86401.0}, ("--timeout-s 86401 is not between 0.05 and 86,400.", "For example: --timeout-s 600")),
        ({"processes": 5}, ("--processes 5 is not between 1 and 4.", "For example: --processes 1")),
        (
            {"start": 300.0, "limit": 300.0, "processes": 257},
            ("--processes 257 is not between 1 and 256.", "For example: --processes 1"),
        ),
        (
            {"over": "rate", "processes": 257},
            ("--processes 257 is not between 1 and 256.", "For example: --processes 1"),
        ),
    ],
)  # fmt: skip
def test_steps_that_are_out_of_range(changes: dict[str, Any], said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        steps(**changes)
    assert (caught.value.message, caught.value.hint) == said


def test_the_ends_of_what_steps_may_be() -> None:
    for changes in (
        {"start": 1.0, "processes": 1},
        {"limit": 100_000.0},
        {"attainment": 0.01},
        {"attainment": 1.0},
        {"duration_s": 0.5},
        {"timeout_s": 0.05},
        {"processes": 4},
        {"over": "rate", "start": 1e-6, "processes": 256},
    ):
        assert steps(**changes) == steps().model_copy(update=changes)


def test_a_trace_is_read_and_without_one_there_are_no_times(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt": "a", "time_s": 7}\n{"prompt": "a", "time_s": 9}\n')
    assert (trace_of(path), trace_of(None)) == ((0.0, 2.0), ())


def test_what_nobody_asked_for() -> None:
    assert Load(shape="burst").model_dump() == {
        "shape": "burst", "requests": None, "duration_s": None, "concurrency": None, "request_rate": None,
        "end_request_rate": None, "burstiness": 1.0, "trace": (), "seed": 0, "warmup_requests": 0, "timeout_s": 600.0,
        "stall_timeout_s": 120.0, "processes": 1, "kernel_stamps": True, "compiled_reader": True,
        "new_connections": False,
    }  # fmt: skip
    five = Lengths(low=5)
    assert Workload(input_tokens=five, output_tokens=five).model_dump(exclude={"input_tokens", "output_tokens"}) == {
        "prefix_tokens": 0, "turns": 1, "images": 0, "image_size": (512, 512), "prompts_file": None, "seed": 0,
        "ignore_eos": None, "per_chunk_usage": False, "extra_body": {}, "hash_block_tokens": 512, "tokenizer": None,
    }  # fmt: skip
    assert five.model_dump() == {"form": "fixed", "low": 5, "high": 0}
    assert Target(base_url="u").model_dump() == {
        "base_url": "u", "api": "completions", "model": None, "api_key_file": None, "api_key_variable": None,
        "ca_file": None,
    }  # fmt: skip
    assert Slo().model_dump() == dict.fromkeys(("ttft_s", "tpot_s", "itl_s", "e2e_s"))
    assert SweepOptions().model_dump() == {
        "over": "concurrency", "start": 1.0, "limit": 4096.0, "attainment": 0.95, "duration_s": 30.0,
        "repeat_limit_s": None, "timeout_s": 600.0, "processes": 1, "max_failed": 0.01, "seed": 0, "output": None,
    }  # fmt: skip
