"""Hosts as they are found: each condition of a host ends in one sentence, its mend and an exit code, or is no obstacle.

A stand-in for `ssh` plays the host: it says the facts it is given and answers the few commands a look at it takes.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from deploy.targets.deployment import Deployment, make
from deploy.targets.ssh import place as ssh
from infra import ssh as door
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data" / "hosts"
GOOD = (DATA / "debian.txt").read_text()

SSH = """\
#!/bin/sh
for line in "$@"; do :; done
case "$*" in *" -G "*) echo "hostname $line"; exit ;; esac
[ ! -s "$HOST/complaint" ] || { cat "$HOST/complaint" >&2; exit 255; }
[ ! -e "$HOST/slow" ] || exec sleep 60
printf '%s\\n' 'Wartung heute um 12:00 Uhr' "$(echo "$line" | sed 's/^echo \\([0-9a-f]*\\);.*/\\1/')"
facts=$HOST/facts
case "$*" in *gpu-2*) [ ! -e "$facts-2" ] || facts=$facts-2 ;; esac
case $line in
*"exec sh -s") cat >/dev/null; cat "$facts"; exit ;;
*"sudo -n "*) [ ! -e "$HOST/no-sudo" ] || { echo 'sudo: a password is required' >&2; exit 1; } ;;
esac
case $line in
*systemctl*) [ ! -e "$HOST/no-systemd" ] || { echo 'sh: 4: systemctl: not found' >&2; exit 127; }
    [ ! -e "$HOST/serves" ] || printf 'Record=yes\nActiveState=active\n' ;;
*"config.json"*) exit 0 ;;
*) exit 1 ;;
esac
"""

Change = Callable[[str], str]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that says what the host is; as it comes, a good one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOST", str(tmp_path))
    now = str(int(time.time()))
    (tmp_path / "facts").write_text(GOOD.replace("1795486910", now).replace("104857600 /", "904857600 /"))
    return tmp_path


def changed(host: Path, change: Change) -> None:
    path = host / "facts"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before, "the condition is none"


def without(*beginnings: str) -> Change:
    return lambda text: "".join(line for line in text.splitlines(True) if not line.startswith(beginnings))


def instead(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new)


def nvidia_smi_says(words: str) -> Change:
    return lambda text: without("gpu ")(text) + "".join(f"gpu {line}\n" for line in words.splitlines())


def failed(name: str, words: str) -> str:
    return f"error: gpu-1 is not ready: {name}: {words}.\n"


MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"

CONDITIONS: dict[str, tuple[Change, str]] = {
    "nvidia-smi missing": (
        without("gpu ", "tool nvidia-smi", "nvidia_device", "driver_version", "topology"),
        failed("gpu", "no NVIDIA GPU found"),
    ),
    "NVML mismatch": (nvidia_smi_says(MISMATCH), failed("gpu", MISMATCH)),
    "driver 535": (
        instead("580.95.05", "535.183.01"),
        "error: gpu-1 is not ready: driver: NVIDIA 535.183.01; ",
    ),
    "driver 550": (
        instead("580.95.05", "550.54.15"),
        "error: gpu-1 is not ready: driver: NVIDIA 550.54.15; ",
    ),
    "0 GPUs": (nvidia_smi_says("No devices were found"), failed("gpu", "No devices were found")),
    "MIG on": (instead("9.0, Disabled", "9.0, Enabled"), failed("gpu 0", "MIG is on")),
    "mixed GPUs": (
        instead("1, NVIDIA H100 80GB HBM3", "1, NVIDIA A100-SXM4-80GB"),
        failed(
            "gpu", "1x NVIDIA A100-SXM4-80GB, 1x NVIDIA H100 80GB HBM3; the plan needs 2xH100; they are mixed"
        ),
    ),
    "memory in use": (
        instead("GPU-b, 81559, 1,", "GPU-b, 81559, 60000,"),
        failed("gpu 1", "60000 MiB are in use by another program"),
    ),
    "disk short": (
        instead("904857600 /", "1048576 /"),
        "error: gpu-1 is not ready: disk: 1.0 GiB free at /opt/corral, ",
    ),
    "no Python": (without("python "), failed("python", "Python missing")),
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    found = Plan.read(DATA / "plan.json")
    named = found.machine.model_copy(update={"name": "2xH100"})
    found = found.model_copy(update={"machine": named})
    found.write(tmp_path / "plan.json")
    return found


def provision(tmp_path: Path) -> int:
    return run(
        ["provision", str(tmp_path / "plan.json"), "--target", "ssh", "--host", "gpu-1", "--name", "t1"]
    )


@pytest.fixture
def in_one_sentence(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """The last two lines are the sentence and its hint, and nothing looks like a crash."""

    def check(begins: str) -> None:
        said = capsys.readouterr().err
        assert f"{said.splitlines()[-2]}\n".startswith(begins), said
        assert "Traceback" not in said
        refusals.hold("\n".join(said.splitlines()[-2:]), request, tmp_path)

    return check


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_a_host_lacks_is_told_with_its_mend_and_nothing_is_put_there(
    condition: str, host: Path, in_one_sentence: Callable[[str], None]
) -> None:
    change, sentence = CONDITIONS[condition]
    changed(host, change)
    assert provision(host) == 11
    in_one_sentence(sentence)
    assert not (host / "corral-home").exists()


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    ("marker", "change", "sentence"),
    [
        (
            "no-sudo",
            instead("privilege sudo", "privilege none"),
            failed("privilege", "not root, and sudo asks for a password"),
        ),
        ("no-systemd", without("systemd "), failed("systemd", "not running")),
    ],
)
def test_without_root_or_systemd_the_check_says_so_and_not_a_command_that_failed(
    marker: str, change: Change, sentence: str, host: Path, in_one_sentence: Callable[[str], None]
) -> None:
    (host / marker).touch()
    changed(host, change)
    assert provision(host) == 11
    in_one_sentence(sentence)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            "error: The host key of gpu-1 is not the one you know: ",
        ),
        (
            "ssh: connect to host gpu-1 port 22: No route to host",
            "error: gpu-1 cannot be reached: ssh: connect",
        ),
    ],
)
def test_a_host_that_is_not_reached_or_not_the_one_we_know(
    complaint: str, sentence: str, host: Path, in_one_sentence: Callable[[str], None]
) -> None:
    (host / "complaint").write_text(complaint)
    assert provision(host) == 11
    in_one_sentence(sentence)


@pytest.mark.usefixtures("plan")
def test_a_host_that_is_too_slow_is_given_up(
    host: Path, monkeypatch: pytest.MonkeyPatch, in_one_sentence: Callable[[str], None]
) -> None:
    (host / "slow").touch()
    in_time = (door.Host.run.__kwdefaults__ or {}) | {"timeout_s": 0.3}
    monkeypatch.setattr(door.Host.run, "__kwdefaults__", in_time)
    assert provision(host) == 11
    in_one_sentence("error: gpu-1 did not answer within 0 s.")


@pytest.mark.parametrize(
    "change",
    [
        instead("no change", "at all"),
        instead("580.95.05", "595.71.05"),
        instead("81559, 1, 580.95.05, 9.0, Disabled", "[N/A], [N/A], 580.95.05, [N/A], [N/A]"),
        instead("gpu 0,", "gpu Achtung: Persistenzmodus ist aus\ngpu 0,"),
        instead("os Debian", "Hinweis: bitte abmelden\nos Debian"),
        instead(
            "tool tar\n", "tool tar\ntool docker\n"
        ),  # without nvidia-ctk: corral needs no container toolkit
        instead("tool tar\n", "tool tar\ntool podman\n"),  # docker is absent: corral needs neither
    ],
    ids=[
        "good",
        "driver 595",
        "N/A fields",
        "localized",
        "extra lines",
        "no toolkit",
        "podman and no docker",
    ],
)
def test_what_is_no_obstacle(change: Change, host: Path, plan: Plan) -> None:
    (host / "facts").write_text(change((host / "facts").read_text()))
    deployment: Deployment = make(plan, "ssh", "t1").model_copy(update={"hosts": ("gpu-1",)})
    assert [check for check in ssh.preflight(deployment) if check.outcome == "failed"] == []


def test_what_the_server_of_that_name_holds_is_no_obstacle_to_it(host: Path, plan: Plan) -> None:
    """Else nothing is made ready again, and no release brought beside it, while it serves."""
    changed(host, instead("GPU-a, 81559, 1,", "GPU-a, 81559, 75000,"))
    changed(host, instead("GPU-b, 81559, 1,", "GPU-b, 81559, 75000,"))
    changed(host, instead("listening ", f"listening 00000000:{plan.serve.port:04X}\nlistening "))
    deployment: Deployment = make(plan, "ssh", "t1").model_copy(update={"hosts": ("gpu-1",)})

    def obstacles() -> list[tuple[str, str]]:
        return [(check.name, check.found) for check in ssh.preflight(deployment) if check.outcome == "failed"]

    assert obstacles() == [
        ("gpu 0", "75000 MiB are in use by another program"),
        ("gpu 1", "75000 MiB are in use by another program"),
        ("port", f"{plan.serve.port} is in use"),
    ]
    (host / "serves").touch()
    assert obstacles() == []


def test_a_fleet_in_which_one_host_has_other_gpus_is_refused_and_says_which(host: Path, plan: Plan) -> None:
    facts = (host / "facts").read_text()
    (host / "facts-2").write_text(
        facts.replace("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB").replace("81559,", "81920,")
    )
    fleet: Deployment = make(plan, "ssh", "t1").model_copy(update={"hosts": ("gpu-1", "gpu-2")})
    (failed,) = [check for check in ssh.preflight(fleet) if check.outcome == "failed"]
    assert (failed.name, failed.found, failed.fix) == (
        "gpu-2: gpu",
        "2x NVIDIA A100-SXM4-80GB; the plan needs 2xH100",
        "Plan for what is there: corral size scout --precision int4 --on 2xA100-80GB --input-tokens 1 "
        "--output-tokens 1 --concurrency 1",
    )


@pytest.fixture
def two(host: Path, plan: Plan) -> Plan:
    """The plan as one engine over two hosts, which have public addresses and private ones."""
    others = "".join(f"address eno2 {address}\n" for address in ("8.8.8.8", "1.1.1.1", "10.0.0.6"))
    changed(host, instead("address eno1 10.0.0.5\n", f"address eno1 10.0.0.5\n{others}"))
    machine = plan.machine.model_copy(update={"hosts": 2, "gpu_count": 4})
    plan = plan.model_copy(update={"machine": machine})
    plan.write(host / "plan.json")
    return plan


def test_hosts_of_one_engine_do_not_meet_over_public_addresses(
    two: Plan, host: Path, in_one_sentence: Callable[[str], None]
) -> None:
    named = ["--host", "8.8.8.8", "--host", "1.1.1.1", "--name", "t1"]
    assert run(["provision", str(host / "plan.json"), "--target", "ssh", *named]) == 11
    in_one_sentence(
        "error: The fleet is not ready: 8.8.8.8: nodes: 8.8.8.8 on eno2 is a public address, and the hosts talk in the "
        "clear (and 1 more).\n"
    )
    assert not (host / "corral-home").exists()


@pytest.mark.parametrize(
    ("addresses", "trusted", "outcomes"),
    [
        (("10.0.0.5", "10.0.0.6"), "", ["warning", "warning"]),
        (("10.0.0.5", "8.8.8.8"), "", ["warning", "failed"]),
        (("8.8.8.8", "1.1.1.1"), "yes", ["failed", "failed"]),
        (("8.8.8.8", "1.1.1.1"), "1", ["warning", "warning"]),
        (("10.0.0.5", "10.0.0.7"), "1", ["warning", "failed"]),  # which it does not have
    ],
)
def test_each_address_is_judged_and_the_user_may_trust_the_network(
    addresses: tuple[str, ...],
    trusted: str,
    outcomes: list[str],
    two: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CORRAL_ALLOW_REMOTE", trusted)
    fleet: Deployment = make(two, "ssh", "t1").model_copy(update={"hosts": addresses})
    nodes = [(check.name, check.outcome) for check in ssh.preflight(fleet) if check.name.endswith(": nodes")]
    assert nodes == [
        (f"{address}: nodes", outcome) for address, outcome in zip(addresses, outcomes, strict=True)
    ]
