"""How a host is prepared: what reaches it is data, whatever the characters, and nothing secret is in it."""

import gzip
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from infra import host
from infra.errors import UsageError

NASTY = """it's "quoted" $(touch /tmp/owned) `id` $HOME 100% \\n ünïcode"""


def setup(**changes: Any) -> host.HostSetup:
    given = {
        "name": "scout",
        "argv": ("serve", "/opt/corral/scout/model", "--served-model-name", NASTY),
        "environment": {"VLLM_NO_USAGE_STATS": "1", "ODD": NASTY},
        "engine": host.Engine(requirement="vllm==0.33.0"),
        "weights": "hf://meta-llama/Llama-4-Scout-17B-16E-Instruct@abc",
        "hf_token_parameter": "/corral/hf-token",
        "region": "us-east-1",
        "ttl_minutes": 480,
        "idle_minutes": 30,
        "rented": True,
    }
    return host.HostSetup.model_validate(given | changes)


def test_the_user_data_is_every_file_and_the_limit_first() -> None:
    text = host.user_data(setup())
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    written = [(file["path"], file["content"], file["permissions"]) for file in config["write_files"]]
    assert written == [(file.path, file.content, file.mode) for file in host.host_files(setup())]
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
        ["bash", "-c", "/opt/corral/scout/bin/prepare && systemctl enable --now corral-scout.service"],
    ]


def test_the_user_data_leaves_room() -> None:
    """A long command line must still fit below EC2's 16 KB."""
    assert len(host.packed(host.user_data(setup()))) < 8 * 1024


def test_the_user_data_is_packed_as_cloud_init_unpacks_it() -> None:
    text = host.user_data(setup())
    assert gzip.decompress(host.packed(text)).decode() == text
    assert host.packed(text) == host.packed(text)


def test_user_data_beyond_what_ec2_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="EC2 takes 16384"):
        host.user_data(setup(argv=("serve", secrets.token_hex(12000))))


def test_a_host_without_limits_gets_no_watch() -> None:
    owned = setup(ttl_minutes=None, idle_minutes=None, rented=False)
    assert [file.path for file in host.host_files(owned)] == [
        "/opt/corral/scout/setup.env",
        "/opt/corral/scout/server.env",
        "/opt/corral/scout/egress.nft",
        "/opt/corral/scout/bin/prepare",
        "/opt/corral/scout/bin/lock",
        "/etc/systemd/system/corral-scout.service",
    ]
    assert host.units(owned) == ("corral-scout.service",)


def test_the_scripts_read_the_values_as_they_were_given(tmp_path: Path) -> None:
    nasty = setup(weights=NASTY, region=NASTY, hf_token_parameter=NASTY)
    (tmp_path / "setup.env").write_text(host.setup_env(nasty))
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
    assert host.systemd_quoted(argument) == quoted


def test_the_server_runs_as_a_user_of_its_own_and_ends_whole() -> None:
    lines = host.server_unit(setup(shutdown_timeout_s=60)).splitlines()
    for line in (
        "DynamicUser=yes",
        "KillMode=mixed",
        "Restart=always",
        "TimeoutStopSec=90",
        "IPAddressDeny=any",
        "ExecStartPre=/bin/sh -c 'id -u >/var/lib/corral-scout/uid'",
        "ExecStartPre=+/opt/corral/scout/bin/lock on scout",
        "ExecStopPost=+/opt/corral/scout/bin/lock off scout",
        "LimitCORE=0",
        "WantedBy=multi-user.target",
    ):
        assert line in lines


def test_a_server_over_several_hosts_talks_to_them_and_nobody_else() -> None:
    unit = host.server_unit(setup(peers=("10.0.0.6", "10.0.0.7")))
    assert "IPAddressDeny=any\nIPAddressAllow=localhost 10.0.0.6 10.0.0.7\n" in unit


def test_a_server_for_other_machines_may_talk_to_them() -> None:
    assert "IPAddressDeny" not in host.server_unit(setup(host="10.0.0.5"))


@pytest.mark.parametrize("name", ["prepare.sh", "extend.sh", "remove.sh", "facts.sh", "lock.sh"])
def test_the_scripts_pass_shellcheck(name: str, need: Callable[[str, str], NoReturn]) -> None:
    if not shutil.which("shellcheck"):
        need("shellcheck", "it is not installed: scripts/ci-packages")
    subprocess.run(["shellcheck", str(files("infra.onhost") / name)], check=True)


def test_cloud_inits_own_schema_accepts_the_user_data(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not shutil.which("cloud-init"):
        need("cloud-init", "it is not installed: scripts/ci-packages")
    (tmp_path / "user-data").write_text(host.user_data(setup()))
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
        "engine",
        "environment",
        "hf_token_parameter",
        "host",
        "idle_minutes",
        "name",
        "peers",
        "port",
        "read_only_paths",
        "region",
        "rented",
        "shutdown_timeout_s",
        "start",
        "ttl_minutes",
        "weights",
    ]
