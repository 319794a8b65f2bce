"""How a host is prepared: what reaches it is data, whatever the characters, and nothing secret is in it."""

import ast
import gzip
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
import yaml
from fake_box import NASTY, Box, setup

from infra import cloud_init, host, host_files, host_judge, host_units
from infra.errors import HostError, UsageError


def test_the_user_data_is_every_file_and_the_limit_first() -> None:
    text = cloud_init.user_data(setup())
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    written = [(file["path"], file["content"], file["permissions"]) for file in config["write_files"]]
    assert written == [(file.path, file.content, file.mode) for file in host_files.host_files(setup())]
    assert config["bootcmd"] == [
        [
            "systemctl",
            "mask",
            "--now",
            "unattended-upgrades.service",
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
        ]
    ]
    assert config["runcmd"] == [
        ["shutdown", "-P", "+480"],
        ["/opt/corral/scout/bin/extend", "480"],
        ["systemctl", "enable", "--now", "corral-scout.watch.timer"],
        ["systemctl", "enable", "corral-scout.prepare.service", "corral-scout.service"],
        ["bash", "-c", "/opt/corral/scout/bin/prepare && systemctl enable --now corral-scout.service"],
    ]


def test_the_user_data_leaves_room() -> None:
    """A command line of 8,000 characters that cannot be packed much still fits below EC2's 16 KB."""
    longest = setup(spot=True, nodes=2, argv=("serve", "--hf-overrides", secrets.token_hex(4000)))
    assert len(cloud_init.packed(cloud_init.user_data(longest))) < cloud_init.USER_DATA_LIMIT_BYTES


def test_the_user_data_is_packed_as_cloud_init_unpacks_it() -> None:
    text = cloud_init.user_data(setup())
    assert gzip.decompress(cloud_init.packed(text)).decode() == text
    assert cloud_init.packed(text) == cloud_init.packed(text)


def test_user_data_beyond_what_ec2_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="EC2 takes 16384"):
        cloud_init.user_data(setup(argv=("serve", secrets.token_hex(12000))))


def test_a_host_without_limits_gets_no_watch() -> None:
    owned = setup(ttl_minutes=None, idle_minutes=None, rented=False)
    assert [file.path for file in host_files.host_files(owned)] == [
        "/opt/corral/scout/setup.env",
        "/opt/corral/scout/server.env",
        "/opt/corral/scout/egress.nft",
        "/opt/corral/scout/bin/prepare",
        "/opt/corral/scout/bin/phase",
        "/opt/corral/scout/bin/lock",
        "/opt/corral/scout/bin/confine",
        "/opt/corral/scout/bin/owned",
        "/opt/corral/scout/bin/idle",
        *(f"/opt/corral/scout/lib/infra/{name}" for name in host_files.LIBRARY),
        "/etc/systemd/system/corral-scout.service",
        "/etc/systemd/system/corral-scout.lock.service",
        "/etc/systemd/system/corral-scout.lock.timer",
        *(f"/opt/corral/scout/bin/{name}" for name in ("heal", "judging", *host_judge.MODULES)),
        "/opt/corral/scout/xids",
        "/opt/corral/scout/gpus",
        "/etc/systemd/system/corral-scout.judge.service",
        "/etc/systemd/system/corral-scout.service.d/judge.conf",
    ]
    assert host.guards(owned) == ()


def test_a_box_that_may_be_taken_back_waits_for_the_notice_from_its_first_boot() -> None:
    on_demand, spot = host_files.host_files(setup()), host_files.host_files(setup(spot=True))
    added = {file.path: file.content for file in spot if file.path not in {one.path for one in on_demand}}
    assert sorted(added) == ["/etc/systemd/system/corral-scout.spot.service", "/opt/corral/scout/bin/spot"]
    command = '"/usr/bin/python3" "/opt/corral/scout/bin/spot" "--root" "/opt/corral/scout"'
    unit = added["/etc/systemd/system/corral-scout.spot.service"].splitlines()
    assert f'ExecStart={command} "--unit" "corral-scout.service"' in unit
    assert host.guards(setup(spot=True)) == ("corral-scout.watch.timer", "corral-scout.spot.service")
    # Whoever starts it after the notice, the server stays stopped.
    condition = "ConditionPathExists=!/opt/corral/scout/interrupted"
    assert condition in host_units.server_unit(setup(spot=True)).splitlines()
    assert condition not in host_units.server_unit(setup())


def test_the_scripts_read_the_values_as_they_were_given(tmp_path: Path) -> None:
    nasty = setup(weights=NASTY, region=NASTY, hf_token_parameter=NASTY)
    (tmp_path / "setup.env").write_text(host_files.setup_env(nasty))
    script = '. ./setup.env && printf "%s\\0" "$NAME" "$RENTED" "$WEIGHTS" "$REGION" "$HF_TOKEN_PARAMETER"'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\0") == ["scout", "yes", NASTY, NASTY, NASTY, ""]


@pytest.mark.parametrize(
    ("argument", "quoted"),
    [
        ("plain", '"plain"'),
        ('{"a": "b"}', r'"{\"a\": \"b\"}"'),
        ("$HOME ${x} 50%", '"$$HOME $${x} 50%%"'),
        ("back\\slash\nnewline", r'"back\\slash\nnewline"'),
        ("ünïcode", '"ünïcode"'),
        ("", '""'),
    ],
)
def test_an_argument_in_systemds_quotes(argument: str, quoted: str) -> None:
    assert host_units.systemd_quoted(argument) == quoted


def test_the_server_runs_as_a_user_of_its_own_and_ends_whole() -> None:
    lines = host_units.server_unit(setup(shutdown_timeout_s=60)).splitlines()
    for line in (
        "DynamicUser=yes",
        "KillMode=mixed",
        "Restart=always",
        "TimeoutStopSec=90",
        "IPAddressDeny=any",
        "ExecStartPre=+/opt/corral/scout/bin/lock on scout",
        "ExecStopPost=+/opt/corral/scout/bin/lock off scout",
        "LimitCORE=1",
        "WantedBy=multi-user.target",
    ):
        assert line in lines


def test_a_rented_box_is_prepared_at_every_boot_before_its_server_starts() -> None:
    """A stop empties the box's own disk."""
    unit = {file.path: file.content for file in host_files.host_files(setup())}[
        "/etc/systemd/system/corral-scout.prepare.service"
    ]
    for line in ("Type=oneshot", "RemainAfterExit=yes", "TimeoutStartSec=infinity"):
        assert line in unit.splitlines()
    assert "ExecStart=/opt/corral/scout/bin/prepare" in unit.splitlines()
    order = ["Requires=corral-scout.prepare.service", "After=corral-scout.prepare.service"]
    assert [line for line in host_units.server_unit(setup()).splitlines() if ".prepare." in line] == order
    assert ".prepare." not in host_units.server_unit(setup(rented=False))


def test_one_rank_of_several_starts_when_it_has_joined_the_others() -> None:
    several = setup(nodes=2)
    assert yaml.safe_load(cloud_init.user_data(several))["runcmd"][-2:] == [
        ["systemctl", "enable", "corral-scout.prepare.service"],
        ["bash", "-c", "/opt/corral/scout/bin/prepare"],
    ]
    lines = host_units.server_unit(several).splitlines()
    assert "ConditionPathExists=/opt/corral/scout/node.env" in lines
    assert [line for line in lines if line.startswith("ExecStart=")][0].endswith(" $NODE_ARGUMENTS")
    assert "NODE_ARGUMENTS" not in host_units.server_unit(setup())
    # Nobody joins a box that is not reached, and its user data has no room.
    join, owned = "/opt/corral/scout/bin/join", setup(nodes=2, rented=False)
    has_join = [
        join in {file.path for file in files}
        for files in (
            host_files.host_files(owned),
            host_files.brought_later(several),
            host_files.host_files(several),
            host_files.brought_later(setup()),
        )
    ]
    assert has_join == [True, True, False, False]


def test_hosts_are_joined_by_their_addresses_and_nothing_else() -> None:
    command = host.join_command("scout", 1, ("10.0.0.5", "fd00::6"))
    assert command == ("/opt/corral/scout/bin/join", "1", "10.0.0.5", "fd00::6")
    for bad in ("", "$(id)", "10.0.0.5;id", "10.0.0", "gpu-1", "fe80::1%eth0", "10.0.0.5/24", "10.0.0.5\n"):
        with pytest.raises(HostError, match="is no address that a host can have"):
            host.join_command("scout", 0, ("10.0.0.4", bad))


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2606:4700::1", True), ("::ffff:8.8.8.8", True), ("10.0.0.5", False),
     ("172.31.0.9", False), ("192.168.1.2", False), ("100.64.0.7", False), ("169.254.3.4", False),
     ("127.0.0.1", False), ("fd00::6", False), ("fe80::1", False), ("::ffff:10.0.0.5", False),
     ("fe80::1%eth0", False), ("gpu-1", False), ("", False)],
)  # fmt: skip
def test_an_address_of_the_open_internet_is_told_from_a_networks_own(address: str, public: bool) -> None:
    assert host.is_public(address) is public


class Joined(NamedTuple):
    """What bin/join made of a host, and what it told systemd."""

    said: str
    files: dict[str, str]
    told: list[str]


@pytest.fixture
def join(tmp_path: Path) -> Callable[..., Joined]:
    """Run bin/join as it lies on a host that has the address 10.0.0.5, and no watch."""
    box = Box(
        tmp_path / "box",
        host_files.host_files(setup(nodes=2, rented=False, ttl_minutes=None, idle_minutes=None)),
    )
    before = files_of(box)

    def run(*arguments: str) -> Joined:
        box.forget()
        done = box.run([f"{host.root('scout')}/bin/join", *arguments])
        made = {path.name: text for path, text in files_of(box).items() if path not in before}
        return Joined(
            done.stdout + done.stderr, made, [call.removeprefix("systemctl ") for call in told(box)]
        )

    return run


def files_of(box: Box) -> dict[Path, str]:
    """What lies in the deployment's folder and beside its units."""
    folders = (box.path(host.root("scout")), box.path(host_units.UNIT_FOLDER))
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_text().replace(str(box.folder), "") for path in found}


def told(box: Box) -> list[str]:
    """What systemd was told."""
    return [call for call in box.calls if not call.startswith("ip ")]


STARTED = ["daemon-reload", "reset-failed corral-scout.service", "enable --quiet corral-scout.service"]


def test_joining_writes_what_a_rank_needs_and_starts_it(join: Callable[..., Joined]) -> None:
    first = join("0", "10.0.0.5", "10.0.0.6")
    assert first.said == "corral: scout: rank 0 of 2\n"
    conf = "[Service]\nEnvironmentFile=/opt/corral/scout/node.env\nIPAddressAllow=10.0.0.5 10.0.0.6\n"
    variables = (
        'VLLM_HOST_IP="10.0.0.5"\nGLOO_SOCKET_IFNAME="ens5"\nNCCL_SOCKET_IFNAME="ens5"\nNCCL_DEBUG="INFO"\n'
    )
    arguments = 'NODE_ARGUMENTS="--nnodes 2 --node-rank 0 --master-addr 10.0.0.5"\n'
    peers = "10.0.0.5\n10.0.0.6\n"
    assert first.files == {"node.env": arguments + variables, "peers": peers, "node.conf": conf}
    assert first.told == [*STARTED, "--no-block restart corral-scout.service"]
    # Told the same again, a server that runs is left alone.
    again = join("0", "10.0.0.5", "10.0.0.6")
    assert again == Joined(first.said, first.files, [*STARTED, "--no-block start corral-scout.service"])

    other = join("1", "10.0.0.4", "10.0.0.5")
    arguments = 'NODE_ARGUMENTS="--nnodes 2 --node-rank 1 --master-addr 10.0.0.4 --headless"\n'
    assert (other.files["node.env"], other.files["first"]) == (arguments + variables, "10.0.0.4\n")
    assert other.told[-1] == "--no-block restart corral-scout.service"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("0",),
        ("2", "10.0.0.5", "10.0.0.6"),
        ("-1", "10.0.0.5"),
        ("x", "10.0.0.5"),
        ("1", "10.0.0.5", "10.0.0.6"),
        ("0", "10.0.0.5", "$(id)"),
        ("0", "10.0.0.5", 'x" ODD="y'),
        ("0", "10.0.0.5", ""),
    ],
)
def test_what_is_no_rank_here_changes_nothing(
    join: Callable[..., Joined], arguments: tuple[str, ...]
) -> None:
    found = join(*arguments)
    assert found.said.startswith("corral: scout: not joined: ")
    assert (found.files, found.told) == ({}, [])


def test_the_watch_of_a_rank_may_ask_after_the_first_and_the_firsts_after_nobody(tmp_path: Path) -> None:
    box = Box(tmp_path / "box", host_files.host_files(setup(nodes=2, rented=False)))
    allowed = box.path(f"{host_units.UNIT_FOLDER}/corral-scout.watch.service.d/node.conf")
    join = f"{host.root('scout')}/bin/join"
    assert box.run([join, "1", "10.0.0.4", "10.0.0.5"]).returncode == 0
    assert allowed.read_text() == "[Service]\nIPAddressAllow=10.0.0.4\n"
    assert box.run([join, "0", "10.0.0.5", "10.0.0.6"]).returncode == 0
    assert not allowed.parent.exists()


def test_what_a_rented_box_runs_is_what_an_owned_host_runs_without_what_is_only_said() -> None:
    script = '#!/bin/sh\n# why\n\nset -e # here\n    # and\n    echo "# no" "a # b"\n'
    assert host_files.bare(script) == '#!/bin/sh\nset -e # here\n    echo "# no" "a # b"\n'
    assert host_files.bare_script(script) == '#!/bin/sh\nset -e\n    echo "# no" "a # b"\n'
    module = '#!/usr/bin/env python3\n"""What.\n\nAnd "more".\n"""\n\nA = """kept"""\ndef f():\n'
    module += '    """Does."""\n    return 1\n'
    assert host_files.bare(module) == '#!/usr/bin/env python3\nA = """kept"""\ndef f():\n    return 1\n'
    for name in ("watch.py", "spot.py", "confine.py", "fetch.py"):
        source = (files("infra.onhost") / name).read_text()
        assert docless(host_files.bare_script(source)) == docless(source)


@pytest.mark.parametrize("name", ["extend.sh", "join.sh", "lock.sh", "phase.sh", "prepare.sh"])
def test_the_shell_reads_a_bare_script_as_the_whole_one(name: str) -> None:
    source = (files("infra.onhost") / name).read_text()
    bare = host_files.bare_script(source)
    assert as_the_shell_reads(bare) == as_the_shell_reads(source)
    # Every comment goes: one that holds a quote would stay, and take room.
    assert [line for line in bare.splitlines()[1:] if " # " in line or line.startswith("#")] == []


def as_the_shell_reads(script: str) -> str:
    """A script as the body of a function that the shell prints: without comments, its lines broken one way."""
    command = ["bash", "-c", f"whole() {{\n{script}\n}}; declare -f whole"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def docless(source: str) -> str:
    """What Python makes of a module, without its docstrings and the types of its functions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def test_a_server_for_other_machines_may_talk_to_them() -> None:
    assert "IPAddressDeny" not in host_units.server_unit(setup(host="10.0.0.5"))


@pytest.mark.parametrize(
    "name", sorted(one.name for one in files("infra.onhost").iterdir() if one.name.endswith(".sh"))
)
def test_the_scripts_pass_shellcheck(name: str, need: Callable[[str, str], NoReturn]) -> None:
    if not shutil.which("shellcheck"):
        need("shellcheck", "it is not installed: scripts/ci-packages")
    subprocess.run(["shellcheck", str(files("infra.onhost") / name)], check=True)


def test_cloud_inits_own_schema_accepts_the_user_data(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not shutil.which("cloud-init"):
        need("cloud-init", "it is not installed: scripts/ci-packages")
    (tmp_path / "user-data").write_text(cloud_init.user_data(setup()))
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(tmp_path / "user-data")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"Valid cloud-config: {tmp_path / 'user-data'}\n"), (
        done.stderr
    )


def test_the_setup_has_no_field_for_a_secret() -> None:
    """The Hub's token and the key are named or made on the host; a value has nowhere to go."""
    assert sorted(json.loads(setup().model_dump_json())) == [
        "api_key",
        "argv",
        "beside",
        "engine",
        "environment",
        "gpus",
        "hf_token_parameter",
        "host",
        "idle_minutes",
        "load_budget_s",
        "name",
        "nodes",
        "port",
        "read_only_paths",
        "region",
        "release",
        "rented",
        "served_model_name",
        "shutdown_timeout_s",
        "spot",
        "sums",
        "ttl_minutes",
        "weights",
        "weights_bytes",
    ]
