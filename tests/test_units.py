"""What a host's units start is read by the parser of what they start; a name that one side says the other knows."""

import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fake_box import NASTY, Box, commands, setup

from deploy.targets import drafts
from deploy.targets.ssh import host_removal
from deploy.targets.ssh.host_setup import adapters_folder
from infra import cloud_init, facts, host, host_files, host_judge, host_units
from infra.onhost import codes, judging, spot, watch
from serving.vllm.serve_options import ServeOptions, argv

ROOT = "/opt/corral/scout"
EVERYTHING = setup(nodes=2, spot=True)
SETUPS = {
    "rented": setup(),
    "rented, spot": setup(spot=True),
    "rented, one of several": setup(nodes=2),
    "rented, all": EVERYTHING,
    "owned": setup(rented=False, ttl_minutes=None, idle_minutes=None),
    "owned, one of several": setup(rented=False, ttl_minutes=None, idle_minutes=None, nodes=2),
}
each_setup = pytest.mark.parametrize("given", SETUPS.values(), ids=SETUPS)


def units(given: host.HostSetup) -> dict[str, str]:
    """The unit files of a setup by their names."""
    found = {file.path: file.content for file in host_files.host_files(given)}
    return {Path(path).name: text for path, text in found.items() if path.startswith(host_units.UNIT_FOLDER)}


def started(given: host.HostSetup, unit: str) -> list[str]:
    """The one command line a unit starts."""
    (words,) = [words for directive, _, words in commands(units(given)[unit]) if directive == "ExecStart"]
    return words


# --- what is started


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, {}),
        ({"idle_minutes": None}, {"idle_minutes": 0}),
        ({"ttl_minutes": None}, {}),
        ({"served_model_name": ""}, {"asked": None}),
        ({"rented": False}, {"poweroff": False}),
        ({"host": "0.0.0.0", "port": 9000}, {"metrics": "http://127.0.0.1:9000/metrics"}),
        ({"host": "10.0.0.5"}, {"metrics": "http://10.0.0.5:8000/metrics"}),
        ({"host": "::"}, {"metrics": "http://[::1]:8000/metrics"}),
        ({"host": "fd00::5"}, {"metrics": "http://[fd00::5]:8000/metrics"}),
    ],
)
def test_the_watch_understands_what_its_unit_tells_it(changes: dict[str, Any], told: dict[str, Any]) -> None:
    python, script, *arguments = started(setup(**changes), "corral-scout.watch.service")
    assert (python, script) == ("/usr/bin/python3", f"{ROOT}/bin/watch")
    expected = {
        "root": Path(ROOT),
        "unit": "corral-scout.service",
        "metrics": "http://127.0.0.1:8000/metrics",
        "asked": Path("/run/corral-scout.judge/asked"),
        "idle_minutes": 30,
        "poweroff": True,
    }
    assert watch.parsed(arguments) == Namespace(**expected | told)


@pytest.mark.parametrize(
    ("changes", "call"),
    [({}, "systemctl poweroff"), ({"rented": False}, "systemctl disable --now corral-scout.service")],
)
def test_the_watch_ends_a_deployment_whose_time_is_up(
    changes: dict[str, Any], call: str, tmp_path: Path
) -> None:
    box = Box(tmp_path / "box", host_files.host_files(setup(**changes)))
    _, *script = started(setup(**changes), "corral-scout.watch.service")
    box.path(f"{ROOT}/expires-at").write_text("1\n")
    done = box.run([sys.executable, "-I", *script])
    assert (done.returncode, done.stdout) == (0, "corral: ending: its time limit is reached\n")
    assert box.calls == [call]


def test_the_spot_notice_is_waited_for_with_what_the_unit_tells() -> None:
    python, script, *arguments = started(EVERYTHING, "corral-scout.spot.service")
    assert (python, script) == ("/usr/bin/python3", f"{ROOT}/bin/spot")
    assert spot.parsed(arguments) == Namespace(root=Path(ROOT), unit="corral-scout.service")


def vllm(arguments: list[str]) -> Namespace:
    """Parse by the flags that vLLM's own parser was found to have (tests/test_options.py asks the engine again)."""
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model")
    record = (Path(__file__).parent / "data/vllm-0.32.0-serve-flags.txt").read_text()
    for flag, kind in map(str.split, record.splitlines()):
        if flag not in ("--help", "--model"):
            parser.add_argument(flag, action="store_true" if kind == "switch" else "store")
    return parser.parse_args(arguments)


FULL: dict[str, Any] = {
    "model": "/models/scout",
    "revision": "a" * 40,
    "served_model_name": "scout",
    "host": "0.0.0.0",
    "port": 9000,
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 3,
    "data_parallel_size": 4,
    "enable_expert_parallel": True,
    "max_model_len": 5,
    "max_num_seqs": 6,
    "max_num_batched_tokens": 7,
    "gpu_memory_utilization": 0.5,
    "kv_cache_dtype": "fp8",
    "kv_cache_memory_bytes": 8,
    "disable_hybrid_kv_cache_manager": True,
    "dtype": "bfloat16",
    "quantization": "fp8",
    "enforce_eager": True,
    "language_model_only": True,
    "limit_mm_per_prompt": {"image": 1},
    "hf_overrides": {"a": 1},
    "generation_config": "vllm",
    "chat_template": "/t.jinja",
    "shutdown_timeout": 9,
    "speculative_config": {"method": "ngram"},
    "lora_modules": ({"name": "tuned", "path": "/a"},),
}


def test_vllm_understands_every_option_of_a_plan_as_its_unit_passes_it() -> None:
    assert FULL.keys() | {"extra_args"} == ServeOptions.model_fields.keys()
    serve = setup(argv=argv(ServeOptions(**FULL)))
    python = f"{ROOT}/engine/bin/python"
    *confined, interpreter, module, name = started(serve, "corral-scout.service")[:6]
    assert (interpreter, module, name) == (python, "-m", "vllm.entrypoints.cli.main")
    # Without the engine's packages, whose code would else run before what holds it.
    assert confined == [python, "-IS", f"{ROOT}/bin/confine"]
    arguments = started(serve, "corral-scout.service")[6:]
    read = vars(vllm(arguments))
    dicts = {
        "limit_mm_per_prompt": '{"image": 1}',
        "hf_overrides": '{"a": 1}',
        "lora_modules": '{"name": "tuned", "path": "/a", "base_model_name": "scout"}',
        "speculative_config": '{"method": "ngram"}',
    }
    expected = {name: value if value is True else str(value) for name, value in FULL.items()} | dicts
    safe = {
        "disable_fastapi_docs": True,
        "disable_access_log_for_endpoints": "/health,/metrics,/ping",
        "fingerprint_mode": "none",
    }
    assert {name: value for name, value in read.items() if value} == expected | safe | {"verb": "serve"}


def test_vllm_understands_what_a_rank_is_told() -> None:
    assert started(EVERYTHING, "corral-scout.service")[-1] == "$NODE_ARGUMENTS"
    script = (files("infra.onhost") / "join.sh").read_text()
    flags = re.findall(r"--[a-z-]+", "".join(re.findall(r'^ *arguments\+?="(.*)"$', script, re.MULTILINE)))
    read = vllm(
        ["serve", "m", *[word for flag in flags for word in (flag, "1")[: 2 - (flag == "--headless")]]]
    )
    assert (read.nnodes, read.node_rank, read.master_addr, read.headless) == ("1", "1", "1", True)
    assert len(flags) == 4


@each_setup
def test_nothing_else_is_started(given: host.HostSetup) -> None:
    """What is not parsed above: the lock, whose script tests/test_onhost.py runs, and what is no program of ours."""
    found = [
        words for text in units(given).values() for kind, _, words in commands(text) if kind != "ExecStart"
    ]
    heal, lock = ["/usr/bin/python3", "-ISB", f"{ROOT}/bin/heal"], [f"{ROOT}/bin/lock"]
    outside = ["/usr/bin/nsenter", "--target", "1", "--mount", "--", *heal]
    added = [
        [*heal, "judged", "scout"],
        [*outside, "begin", "scout"],
        [],
        [*outside, "ended", "scout"],
        [*lock, "off", "scout"],
    ]
    idle = ["/usr/bin/python3", "-ISB", f"{ROOT}/bin/idle", host_units.server_url(given), "60", ROOT]
    assert found == [
        ["/usr/bin/nvidia-modprobe", "-c", "0", "-u"],
        [*lock, "on", "scout"],
        [*lock, "off", "scout"],
        *([] if given.rented else [idle]),
        *([] if given.rented else added),
    ]
    starting = {
        f"corral-scout{part}.service" for part in ("", ".lock", ".prepare", ".watch", ".spot", ".judge")
    }
    assert {name for name, text in units(given).items() if "ExecStart=" in text} <= starting


OWNED = SETUPS["owned"]


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "10.0.0.5"}, "http://10.0.0.5:8000"),
        ({"host": "::"}, "http://[::1]:8000"),
    ],
)
def test_the_judge_understands_what_its_unit_tells_it(changes: dict[str, Any], url: str) -> None:
    given = setup(rented=False, **changes)
    python, isolated, script, *arguments = started(given, "corral-scout.judge.service")
    assert (python, isolated, script) == ("/usr/bin/python3", "-ISB", f"{ROOT}/bin/judging")
    assert judging.parsed(arguments) == Namespace(
        url=url,
        model=NASTY,
        load_s=1800.0,
        ready=[Path(f"{ROOT}/ready"), Path("/run/corral-scout/ready")],
        asked=Path("/run/corral-scout.judge/asked"),
    )


def test_what_is_added_to_the_servers_unit_is_the_same_of_every_release() -> None:
    """An upgrade brings the units, and not this."""
    of_another = {
        "gpus": EVERYTHING.gpus + 1, "port": 9, "served_model_name": "x", "load_budget_s": 1, "argv": ("serve",),
        "release": "0" * 12, "shutdown_timeout_s": 1, "environment": {}, "weights": "", "weights_bytes": 1,
    }  # fmt: skip
    other = EVERYTHING.model_copy(update=of_another)
    assert host_judge.server_drop_in(other) == host_judge.server_drop_in(EVERYTHING)


def test_the_judge_has_a_user_of_its_own_who_may_speak_with_the_server_alone() -> None:
    lines = units(setup(rented=False, api_key="generated"))["corral-scout.judge.service"].splitlines()
    told = " ".join(str(codes.READY + number) for number in range(len(codes.ILL) + 1))
    for line in (
        "BindsTo=corral-scout.service",
        "After=corral-scout.service",
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        f"EnvironmentFile={ROOT}/secrets.env",
        f"SuccessExitStatus={told}",
        "Restart=always",
        "IPAddressDeny=any",
    ):
        assert line in lines, line
    assert [line for line in lines if line.startswith("IPAddressAllow=")] == ["IPAddressAllow=localhost"]
    assert not [line for line in lines if line.startswith("ReadWritePaths=")]
    assert "Wants=corral-scout.judge.service" in units(OWNED)["judge.conf"].splitlines()


# --- names that two sides must share


@each_setup
def test_the_units_that_are_enabled_are_there_and_can_be(given: host.HostSetup) -> None:
    there = units(given)
    for name in (host.unit("scout"), *host.guards(given)):
        assert "\n[Install]\nWantedBy=" in there[name]
    timers = [name.removesuffix(".timer") for name in there if name.endswith(".timer")]
    assert all(f"{name}.service" in there for name in timers)


@each_setup
def test_every_path_of_ours_that_a_unit_names_is_put_there_or_made_by_a_script(given: host.HostSetup) -> None:
    files = host_files.host_files(given) + (host_files.brought_later(given) if given.rented else ())
    installed = {file.path for file in files}
    scripts = "".join(file.content for file in files if "/bin/" in file.path)
    named = {path for text in units(given).values() for path in re.findall(rf'{ROOT}/[^\s"]+', text)}
    made = {
        path
        for path in named
        if re.search(
            rf'(\$root/|root / "|marks\.mark\(place\.folders, "){path.removeprefix(f"{ROOT}/")}"', scripts
        )
    }
    folders = {str(parent) for path in installed for parent in Path(path).parents}
    beside = {f"{ROOT}/{drafts.PLACE}", adapters_folder("scout")}
    assert named <= installed | made | folders | beside
    assert {f"{ROOT}/server.env", f"{ROOT}/engine/.complete"} <= named


@each_setup
def test_every_script_that_is_called_by_its_path_is_there_and_may_be_run(given: host.HostSetup) -> None:
    installed = {Path(file.path).name: file for file in host_files.host_files(given) if "/bin/" in file.path}
    callers = [file.content for file in installed.values()] + list(units(given).values())
    callers += [word for command in cloud_init._first_boot(given) for word in command] if given.rented else []
    called = {name for text in callers for name in re.findall(r'(?:\$root|"|/scout)/?bin/(\w+)', text)}
    # Only a box has the small one that fetches, and only for the Hub's, only a host of somebody's what fetches for
    # several; the others do not come to that line.
    fetches = given.rented and given.weights.startswith("hf://")
    others = [*([] if fetches else ["fetch"]), *(["owned"] if given.rented else [])]
    assert called - {"python", *others} <= installed.keys()
    assert {"phase", "lock"} <= called
    modules = set() if given.rented else set(host_judge.MODULES)
    assert {name for name, file in installed.items() if file.mode != "0755"} == modules


def written(environment: str) -> set[str]:
    """The names an environment file sets."""
    return set(re.findall(r"^(\w+)=", environment, re.MULTILINE))


def read(script: str) -> set[str]:
    """The names in capitals that a script reads and neither sets nor has from its shell."""
    used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", code(script)))
    return used - set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", code(script))) - {"LINENO"}


def code(script: str) -> str:
    """A shell script without its comments."""
    return re.sub(r"(?m)^\s*#.*$", "", script)


def test_the_names_in_setup_env_are_those_that_the_scripts_read() -> None:
    names = {*host_files.script_names(EVERYTHING), "join.sh"}  # which is brought later
    scripts = [(files("infra.onhost") / name).read_text() for name in sorted(names)]
    sourcing = [script for script in scripts if '. "$root/setup.env"' in script]
    assert set().union(*map(read, sourcing)) == written(host_files.setup_env(EVERYTHING))
    others = [script for script in scripts if script not in sourcing and script.startswith("#!/bin/")]
    assert set().union(*map(read, others)) == set()
    assert len(sourcing) == 5


def test_what_a_host_says_of_itself_is_what_is_read_of_it() -> None:
    script = facts.script()
    said = re.findall(r"\bsay (\w+)|print \"(\w+)\"|print\(\"(\w+) |'s/\^/(\w+) /'|\*/(\w+) \\1/p", script)
    source = Path(facts.__file__).read_text()
    keys = re.findall(r'first\("(\w+)"|said(?:\.get\(|\[)"(\w+)"|"(\w+)" in said', source)
    assert {name for names in said for name in names if name} == {
        name for names in keys for name in names if name
    }


def test_what_the_removal_finds_left_is_what_is_counted() -> None:
    script = (files("infra.onhost") / "remove.sh").read_text()
    assert set(re.findall(r"\bleft (\w+) ", code(script))) == set(host_removal.LEFTOVERS)


# --- how little each may do

# What may be said of a service at most, of 10 (systemd-analyze security: below 5 is "OK").
MOST_EXPOSED = 5.0


@each_setup
def test_every_service_is_kept_to_what_it_needs(
    given: host.HostSetup, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd is not installed")
    for name, text in units(given).items():
        (tmp_path / name).write_text(text)
    services = sorted(tmp_path.glob("*.service"))
    assert [one.name for one in services] == [
        name for name in sorted(units(given)) if name.endswith(".service")
    ]
    for service in services:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=off", str(service)],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        assert float(found[1]) < MOST_EXPOSED, service.name


@pytest.mark.parametrize("name", ["corral-scout.watch.service", "corral-scout.spot.service"])
def test_what_reads_the_network_has_no_right_of_roots_and_never_sees_the_key(name: str) -> None:
    lines = units(setup(spot=True, api_key="generated"))[name].splitlines()
    for line in (
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        f"ReadWritePaths={ROOT}",
        f"InaccessiblePaths=-{ROOT}/secrets.env",
        # systemd is asked over its socket, the server and EC2 over the Internet's addresses.
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "IPAddressDeny=any",
    ):
        assert line in lines, line
    # What it may write is no program that root runs.
    readonly = " ".join(line.partition("=")[2] for line in lines if line.startswith("ReadOnlyPaths=")).split()
    assert {f"{ROOT}/bin", f"{ROOT}/egress.nft", f"-{ROOT}/loaded.nft", f"-{ROOT}/peers"} < set(readonly)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, ["localhost"]),
        ({"host": "0.0.0.0"}, ["localhost"]),
        ({"host": "::"}, ["localhost"]),
        ({"host": "10.0.0.5"}, ["localhost", "10.0.0.5"]),
        ({"nodes": 2}, ["localhost"]),
    ],
)
def test_the_watch_reaches_the_server_it_asks_and_nobody_else(
    changes: dict[str, Any], allowed: list[str]
) -> None:
    lines = units(setup(**changes))["corral-scout.watch.service"].splitlines()
    assert [line for line in lines if line.startswith("IPAddress")] == [
        "IPAddressDeny=any",
        *[f"IPAddressAllow={address}" for address in allowed],
    ]
    assert "TimeoutStartSec=60" in lines  # a look that hangs is not the last


@each_setup
def test_while_a_server_runs_its_lock_is_looked_at_by_what_speaks_no_ip(given: host.HostSetup) -> None:
    there = units(given)
    assert f"Requires={host.lock_timer('scout')}" in there["corral-scout.service"].splitlines()
    timer = there["corral-scout.lock.timer"].splitlines()
    assert [line for line in timer if "=" in line][1:] == [
        "StopWhenUnneeded=yes",
        "OnActiveSec=5s",
        "OnUnitActiveSec=10s",
        "AccuracySec=1s",
    ]
    service = there["corral-scout.lock.service"].splitlines()
    assert "RestrictAddressFamilies=AF_UNIX AF_NETLINK" in service
    assert "CapabilityBoundingSet=CAP_NET_ADMIN" in service
    assert started(given, "corral-scout.lock.service") == [f"{ROOT}/bin/lock", "check", "scout"]


def test_what_holds_each_unit_is_what_was_reviewed() -> None:
    """Line by line: most of them hold something that only a booted host shows, and that slowly."""
    written = "".join(
        f"### {kind}: {name}\n{host_files.bare(text)}\n"
        for kind in ("rented, all", "owned")
        for name, text in units(SETUPS[kind]).items()
    )
    assert written == (Path(__file__).parent / "data/units.txt").read_text()


@pytest.mark.parametrize(("nodes", "hidden"), [(1, " -/dev/infiniband"), (2, "")])
def test_a_server_sees_no_socket_of_another_program(nodes: int, hidden: str) -> None:
    lines = host_units.server_unit(setup(nodes=nodes)).splitlines()
    for line in (
        "TemporaryFileSystem=/run /var /dev/shm:mode=1777,size=50%,nr_inodes=0",
        "PrivateIPC=yes",
        "LimitCORE=1",
        "BindReadOnlyPaths=/run/systemd/private /run/systemd/system",
        "PrivateTmp=yes",
        "ProtectHome=tmpfs",
        f"InaccessiblePaths=-/opt/datadog-agent{hidden}",
        "SystemCallFilter=~io_uring_setup:ENOSYS @keyring:ENOSYS",
    ):
        assert line in lines, line
    assert not [line for line in lines if line.startswith("ExecStartPre=/")]  # root's `lock` asks systemd


@pytest.mark.parametrize(
    ("changes", "readable"),
    [
        ({"weights": "/srv/models"}, []),
        ({"weights": "/var/lib/models: 2"}, [r'"/var/lib/models\\: 2"']),
        ({"read_only_paths": ("/home/a/$model",)}, ['"/home/a/$model"']),
        ({"weights": "", "read_only_paths": ("/var/models",)}, ['"/var/models"']),
    ],
)
def test_a_model_that_lies_where_the_unit_hides_all_is_shown_to_it(
    changes: dict[str, Any], readable: list[str]
) -> None:
    lines = host_units.server_unit(setup(rented=False, **changes)).splitlines()
    shown = [line.partition("=")[2] for line in lines if line.startswith("BindReadOnlyPaths=")]
    assert shown == [*readable, "/run/systemd/private /run/systemd/system"]


@pytest.mark.parametrize(("api_key", "named"), [("generated", True), ("none", False)])
def test_a_server_that_is_to_have_a_key_is_not_started_without_its_file(api_key: str, named: bool) -> None:
    text = host_units.server_unit(setup(api_key=api_key))
    assert (f"EnvironmentFile={ROOT}/secrets.env" in text.splitlines()) == named
    assert "EnvironmentFile=-" not in text
