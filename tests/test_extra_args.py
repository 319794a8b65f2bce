"""Extra arguments as vLLM's own parser read them (0.32.0, recorded): what undoes a promise is refused however it is
spelled, and what a version does not have is told."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UsageError
from serving.vllm.engine import recipe
from serving.vllm.extra_args import LOAD_FORMATS, REFUSED, every, read, records, refuse, refuse_unknown
from serving.vllm.serve_options import ServeOptions

DATA = Path(__file__).parent / "data"
SPELLINGS: dict[str, list[str] | str] = json.loads((DATA / "vllm-0.32.0-spellings.json").read_text())
RECORDED = records()[0, 32, 0]
PLANS = tuple(ServeOptions.model_fields)
BEGINNINGS: dict[str, set[str]] = {}
for _option, _name in every().items():
    for _end in range(3, len(_option) + 1):
        BEGINNINGS.setdefault(_option[:_end], set()).add(_name)
SET = {line: names for line, names in SPELLINGS.items() if isinstance(names, list) and names}


def options(line: str) -> list[tuple[str, ...]]:
    return [given.options for given in read(tuple(shlex.split(line)), RECORDED)]


@pytest.mark.parametrize("line", list(SET))
def test_an_option_is_taken_for_what_vllm_takes_it_for(line: str) -> None:
    assert [given.options for given in read(tuple(shlex.split(line)), RECORDED)] == [tuple(SET[line])]


@pytest.mark.parametrize("line", [line for line, said in SPELLINGS.items() if "ambiguous option" in said])
def test_a_beginning_of_several_options_is_taken_for_each(line: str) -> None:
    ((*found,),) = options(line)
    assert len(found) > 1


@pytest.mark.parametrize("line", ["--no-such-option", "--no-such-option x", "-tp2"])
def test_what_vllm_does_not_know_is_no_option(line: str) -> None:
    assert str(SPELLINGS[line]).startswith("unrecognized arguments: ")
    assert options(line) == [()]


@pytest.mark.parametrize("line", [line for line, names in SET.items() if set(names) & {*REFUSED, *PLANS}])
def test_whatever_sets_what_is_refused_is_refused(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse(tuple(shlex.split(line)), PLANS)
    assert f"--{SET[line][0].replace('_', '-')}" in caught.value.message
    assert caught.value.hint == "Leave it out of extra_args."


@pytest.mark.parametrize("name", [*REFUSED, *PLANS])
def test_every_option_that_is_refused_is_so_in_every_spelling_of_every_version(name: str) -> None:
    """Whole, with underscores, with =, with a JSON path, and by every beginning that is no other's."""
    own = [option for option, kept in every().items() if kept == name]
    assert own or name == "extra_args"
    for option in own:
        begun = [option[:end] for end in range(3, len(option)) if option.startswith("--")]
        for word in (option, *(word for word in begun if BEGINNINGS[word] == {name})):
            underscored = word[:2] + word[2:].replace("-", "_")
            for typed in (word, f"{underscored}=x", f"{underscored}.a.b"):
                with pytest.raises(UsageError, match="is not passed on to vLLM"):
                    refuse(("--async-scheduling", typed, "x"), PLANS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--api-ke", "sk-secret"),
            "--api-key (as '--api-ke') is not passed on to vLLM: an argument is visible to",
        ),
        (
            ("--api_key=sk-secret",),
            "--api-key (as '--api_key') is not passed on to vLLM: an argument is visible to",
        ),
        (
            ("--enable-fastapi-docs",),
            "--disable-fastapi-docs (as '--enable-fastapi-docs') is not passed on to vLLM: ",
        ),
        (
            ("--no-disable-fastapi-docs",),
            "--disable-fastapi-docs (as '--no-disable-fastapi-docs') is not passed on",
        ),
        (
            ("--load-form", "pt"),
            "--load-format (as '--load-form') is not passed on to vLLM: it may run code that came",
        ),
        (
            ("--load_format=npcache",),
            "--load-format (as '--load_format') is not passed on to vLLM: it may run code",
        ),
        (
            ("--load-format",),
            "--load-format is not passed on to vLLM: it may run code that came with the weights",
        ),
        (
            ("--allowed-media-domains", ""),
            "--allowed-media-domains is not passed on to vLLM: corral says it: an empty",
        ),
        (("--ap", "x"), "--api-key (as '--ap') is not passed on to vLLM: an argument is visible"),
        (("--", "--api-key"), "-- is not passed on to vLLM: no option follows it."),
        (
            ("-tp", "2"),
            "--tensor-parallel-size (as '-tp') is not passed on to vLLM: the plan's own field says it.",
        ),
        (("-q8",), "--quantization (as '-q8') is not passed on to vLLM: the plan's own field says it."),
        (
            ("--config", "x.yaml"),
            "--config is not passed on to vLLM: a file of options could say what is refused",
        ),
    ],
)
def test_the_sentence_names_the_option_and_no_value(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse(arguments, PLANS)
    assert caught.value.message.startswith(said)
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        ("--distributed-executor-backend", "evil.module.Executor"),
        ("--distributed-exec=evil.Executor",),
        ("--compilation-config", '{"backend": "evil.compile"}'),
        ("-cc.backend=evil.compile",),
        ("--compilation_config.inductor_passes", '{"a": ["evil.passes"]}'),
        ("--ec-manager-config", '{"cls": "evil.Manager"}'),
        ("--kv-transfer-config", '{"kv_connector": "X", "kv_connector_module_path": "evil"}'),
        ("--kv-transfer-config.kv_connector_module_path", "evil"),
        ("--kv-transf", '{"kv_connector_extra_config": {"tiers": [{"module_path": "evil"}]}}'),
        ("--ec-transfer-config", '{"ec_connector_module_path": "evil"}'),
        ("--structured-outputs-config", '{"reasoning_parser_plugin": "/tmp/evil.py"}'),
        ("--structured-outputs-config.reasoning-parser-plugin=/tmp/evil.py",),
        ("--additional-config", '{"worker_cls": "evil"}'),
        ("--compilation-config", '{"splitting_ops": ["vllm.attention"], "backend": "evil.compile"}'),
        ("--compilation-config", '{"inductor_compile_config": {"joint_custom_pre_pass": "evil.pass_"}}'),
        ("--compilation-config", '{"inductor_compile_config": {"cpp.cxx": [null, "/tmp/evil"]}}'),
        ("-cc.inductor_compile_config", '{"cuda.cuda_cxx": "/tmp/evil", "cutlass.cutlass_dir": "/tmp"}'),
        ("-cc.inductor_compile_config", '{"rocm.ck_dir": "/tmp"}'),
        ("-cc.inductor_passes.splitting_ops=evil.pass_",),
        (
            "--kv-transfer-config",
            '{"kv_connector_extra_config": {"tiers": [{"type": "kvcr", "policy": "evil.P"}]}}',
        ),
        ("--kv-transfer-config.kv_connector_extra_config.policy=evil.P",),
        ("--ec-manager-config", '{"splitting_ops": "evil.Manager"}'),
        ("--speculative-config", '{"method": "custom_class", "model": "evil.Proposer", "revision": "v1.x"}'),
    ],
)
def test_what_names_code_is_refused_wherever_in_an_argument(arguments: tuple[str, ...]) -> None:
    """vLLM 0.32.0 imports each: read in its source, not tried."""
    with pytest.raises(UsageError, match="is not passed on to vLLM: it runs code that corral does not know"):
        refuse(("--seed", "1", *arguments), PLANS)


def test_what_undoes_nothing_is_passed_on() -> None:
    for value in LOAD_FORMATS:
        refuse(("--load-format", value, f"--load_format={value}"), PLANS)
    refuse(("--async-scheduling", "-O3", "-O", "2", "-cc.mode=3", "--seed", "-1", "-1.5"), PLANS)
    refuse(("--max_logprobs=5", "--tool-call-parser", "llama4_pythonic", "--enable-auto-tool-choice"), PLANS)
    refuse(("--default-chat-template-kwargs", '{"a": "--api-key"}'), PLANS)
    refuse(("--no-such-option-of-today",), PLANS)
    refuse(("--distributed-executor-backend", "mp", "--kv-transfer-config", '{"kv_connector": "X"}'), PLANS)
    refuse(("--compilation-config", '{"mode": 3, "custom_ops": ["+rms_norm"], "cache_dir": "/x/a.b"}'), PLANS)
    splits = '["vllm.unified_attention", "vllm::mamba_mixer2"]'
    refuse(("--compilation-config", f'{{"splitting_ops": {splits}, "cache_dir": "a.b"}}'), PLANS)
    tiers = '{"kv_ip": "node.cluster.local", "kv_connector_extra_config": {"policy": "g3_lru"}}'
    refuse(("--kv-transfer-config", tiers), PLANS)
    refuse(("-cc.splitting_ops", splits, "-cc.splitting-ops+=vllm.x", "-cc.debug_dump_path=a.b"), PLANS)
    refuse(("-cc.inductor_compile_config", '{"max_autotune": true, "triton.unique_names": 0.5}'), PLANS)
    drafted = ("--speculative-config", '{"method": "eagle3", "model": "org/draft-1.5", "revision": "v1.x"}')
    refuse(drafted, tuple(name for name in PLANS if name != "speculative_config"))


@pytest.mark.parametrize(
    ("argument", "version", "said"),
    [
        ("--grpc-port", (0, 22, 0), "vLLM 0.22.0 has no option '--grpc-port'."),
        ("--no-enable-prefix-caching", (0, 33, 0), "vLLM 0.33.0 has no option '--no-enable-prefix-caching'."),
        ("--disable-prefix-caching", (0, 32, 0), "vLLM 0.32.0 has no option '--disable-prefix-caching'."),
        ("--calculate-kv-scales", (0, 33, 0), "vLLM 0.33.0 has no option '--calculate-kv-scales'."),
        ("--monokernel=x", (0, 21, 0), "vLLM 0.21.0 has no option '--monokernel'."),
        ("-tp2", (0, 32, 0), "vLLM 0.32.0 has no option '-tp2'."),
    ],
)
def test_an_option_that_a_version_does_not_have_is_told(
    argument: str, version: tuple[int, ...], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_unknown(("--seed", "1", argument), version)
    assert caught.value.message == said


def test_an_option_that_a_version_has_or_may_have_is_none_to_tell_of() -> None:
    refuse_unknown(
        ("--enable-prefix-caching", "--max_logp", "5", "-O3", "--speculative-config.model", "x"), (0, 32, 0)
    )
    refuse_unknown(("--disable-prefix-caching",), (0, 32, 5))  # between two on record: of either
    refuse_unknown(("--of-the-future",), (0, 99, 0))
    refuse_unknown(("--of-the-future",), ())


def test_the_record_is_that_of_the_parser() -> None:
    lines = (DATA / "vllm-0.32.0-serve-flags.txt").read_text().splitlines()
    assert {option for option in RECORDED if option.startswith("--")} == {line.split()[0] for line in lines}
    assert RECORDED["-tp"] == "tensor_parallel_size"
    assert records()[0, 33, 0]["--enable-fastapi-docs"] == "disable_fastapi_docs"


@pytest.mark.engine
def test_the_engines_own_parser_still_reads_them_so(engine_parser: Callable[[list[str]], Any]) -> None:
    assert recipe().version == "0.32.0"
    plain = engine_parser(["the/model"])

    def told(line: str) -> list[str] | str:
        given = engine_parser(["the/model", *shlex.split(line)])
        if isinstance(given, str):
            return given
        return sorted(name for name, value in given.items() if value != plain.get(name))

    assert {line: told(line) for line in SPELLINGS} == SPELLINGS
