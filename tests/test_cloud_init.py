"""The user data of a box: what it runs at its first boot, in order, and what is more than EC2 takes."""

import gzip
import random

import fake_box
import pytest
import yaml

from infra import cloud_init, host
from infra.errors import UsageError
from infra.host_files import host_files

HERE = "/opt/corral/scout"
LIMIT = [["shutdown", "-P", "+480"], [f"{HERE}/bin/extend", "480"]]


def config(**changes: object) -> dict[str, object]:
    text = cloud_init.user_data(fake_box.setup(**changes))
    assert text.startswith("#cloud-config\n")
    loaded: dict[str, object] = yaml.safe_load(text)
    return loaded


def test_no_driver_changes_under_the_server_and_every_file_is_there() -> None:
    said = config()
    files = said.pop("write_files")
    first_boot = said.pop("runcmd")
    assert said == {
        "bootcmd": [
            [
                "systemctl",
                "mask",
                "--now",
                "unattended-upgrades.service",
                "apt-daily.timer",
                "apt-daily-upgrade.timer",
            ]
        ],
        "locale": "C.UTF-8",
        "package_update": False,
        "package_upgrade": False,
        "ssh_pwauth": False,
    }
    assert files == [
        {"path": file.path, "permissions": file.mode, "content": file.content}
        for file in host_files(fake_box.setup())
    ]
    assert first_boot == [
        *LIMIT,
        *(["systemctl", "enable", "--now", name] for name in host.guards(fake_box.setup())),
        ["systemctl", "enable", "corral-scout.prepare.service", "corral-scout.service"],
        ["bash", "-c", f"{HERE}/bin/prepare && systemctl enable --now corral-scout.service"],
    ]


def test_a_box_without_a_limit_or_one_of_several_starts_no_more_than_it_must() -> None:
    runs = config(ttl_minutes=0, nodes=2)["runcmd"]
    assert isinstance(runs, list)
    assert [words for words in runs if words[0] == "shutdown" or "/bin/extend" in words[0]] == []
    assert runs[-2:] == [
        ["systemctl", "enable", "corral-scout.prepare.service"],
        ["bash", "-c", f"{HERE}/bin/prepare"],
    ]


def test_more_than_ec2_takes_is_refused_with_what_makes_it_less() -> None:
    noise = random.Random(1).randbytes(20_000).hex()
    setup = fake_box.setup(environment={"ODD": noise})
    with pytest.raises(UsageError) as error:
        cloud_init.user_data(setup)
    size = error.value.message.removeprefix("The user data would be ").removesuffix(
        " bytes; EC2 takes 16384."
    )
    assert 20_000 < int(size) < 40_000
    assert error.value.hint == (
        "Shorten the vLLM options: put long ones (chat template, overrides) beside the weights."
    )


def test_it_is_packed_the_same_each_time_and_unpacks_to_itself() -> None:
    text = "#cloud-config\n" + "a: é\n" * 500
    packed = cloud_init.packed(text)
    assert packed == cloud_init.packed(text)
    assert gzip.decompress(packed).decode() == text
    assert len(packed) == min(len(cloud_init.gzipped(text.encode(), level)) for level in range(1, 10))
