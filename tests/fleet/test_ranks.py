"""Several ranks on one host, under corral's own unit, whose address filter denies the host's own address too.

The filter is systemd's own, in force in these hosts. Each test has a half without the two variables that send the
ranks to loopback: there they do not meet.
"""

import fcntl
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from deploy.targets import deployment as deployments
from deploy.targets.ec2 import ordering
from deploy.targets.ec2.options import Ec2Options
from infra import host_files
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(1800)]

DATA = Path(__file__).parents[1] / "data"

WITHOUT_THEM = "UnsetEnvironment=NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME"


@pytest.fixture(scope="session")
def nccl(cache: Path, need: Callable[[str, str], NoReturn]) -> Path:
    """NCCL's library, from the wheel of tests/data/nccl.txt; fetched once and kept."""
    pinned = DATA / "nccl.txt"
    version = re.findall(r"==(\S+)", pinned.read_text())[0]
    kept = cache / f"libnccl-{version}.so.2"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            half = cache / "nccl.half"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--require-hashes", f"--requirement={pinned}", f"--dest={half}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                need("fleet", f"NCCL's wheel could not be had: {done.stderr[-500:]}")
            (wheel,) = half.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                Path(archive.extract("nvidia/nccl/lib/libnccl.so.2", half)).rename(kept)
            subprocess.run(["rm", "--recursive", str(half)], check=True)
    return kept


def box(machine: Any, srv: Path) -> None:
    """Give a host, before it boots, what four GPUs on EC2 would get; the engine is nccl_rank.py."""
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    assert plan.parallel.tensor == 4
    options = Ec2Options(engine="/srv/engine.tar", weights="/srv/model", ttl="8h")
    setup = ordering.host_setup(deployments.make(plan, "ec2", "ranks"), options, "us-east-1")
    for file in host_files.host_files(setup):
        path = machine.tree / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        path.chmod(int(file.mode, 8))
    (srv / "model").mkdir(parents=True)
    (srv / "model/config.json").write_text("{}")
    with tarfile.open(srv / "engine.tar", "w") as archive:
        archive.add(DATA / "nccl_rank.py", "lib/python3.11/site-packages/vllm/entrypoints/cli/main.py")
    machine.binds.append(f"--bind-ro={srv}:/srv")


def started(machine: Any, *lines: str) -> None:
    """Start the server anew, with these lines added to its unit. One that waits for its ranks heeds only SIGKILL."""
    folder = "/etc/systemd/system/corral-ranks.service.d"
    text = "\n".join(("[Service]", *lines, ""))
    machine.ssh(
        f"systemctl kill --signal=KILL corral-ranks; systemctl stop corral-ranks; mkdir -p {folder} && "
        f"echo '{text}' >{folder}/test.conf && systemctl daemon-reload && systemctl start corral-ranks"
    )


def journal(machine: Any) -> str:
    """What the server printed since it was started last."""
    return str(
        machine.ssh(
            "journalctl --no-pager -o cat "
            "_SYSTEMD_INVOCATION_ID=$(systemctl show --value --property=InvocationID corral-ranks)"
        )
    )


def test_nccl_lets_the_ranks_meet_where_the_filter_lets_them(
    new_machine: Callable[..., Any], nccl: Path, wait: Callable[..., Any], tmp_path: Path
) -> None:
    machine = new_machine()
    box(machine, tmp_path / "srv")
    machine.binds.append(f"--bind-ro={nccl}:/usr/lib/libnccl.so.2")
    machine.power_on()

    def meeting(*lines: str) -> tuple[str, Any]:
        started(machine, "Environment=NCCL_DEBUG=INFO", *lines)
        wait(lambda: '"outcome"' in journal(machine), lambda: journal(machine))
        said = journal(machine)
        outcome = re.findall(r"^\{.*\}$", said, re.MULTILINE)[0]
        return re.findall(r"Bootstrap: Using (\S+)<0>", said)[0], json.loads(outcome)

    loopback = {"address": "127.0.0.1", "outcome": "met"}
    assert meeting() == ("lo:127.0.0.1", loopback)
    # Without the variables NCCL takes the address others know the host by, and the filter swallows what goes there.
    own = machine.address
    assert meeting(WITHOUT_THEM) == (f"host0:{own}", {"address": own, "outcome": "timed out"})
    # It is the filter that does it: without it too, they meet.
    off = ("IPAddressDeny=", "IPAddressAllow=")
    assert meeting(WITHOUT_THEM, *off) == (f"host0:{own}", {"address": own, "outcome": "met"})


@pytest.mark.engine
def test_two_ranks_of_the_real_engine_serve_on_one_host(
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    plan: Path,
    prefix: Path,
    engine_cache: Path,
    wait: Callable[..., Any],
) -> None:
    machine = new_machine()
    # As on any cloud, the host's name is that of its own address.
    (machine.tree / "etc/hosts").write_text(f"127.0.0.1 localhost\n{machine.address} {machine.name}\n")
    machine.begin_sooner(engine_cache, forked=True)
    machine.power_on()
    document = json.loads(plan.read_text())
    document["serve"]["tensor_parallel_size"] = 2
    plan.write_text(json.dumps(document))
    brought = ["--target", "ssh", "--host", machine.name, "--engine", str(prefix), "--name", "ranks"]
    corral("provision", str(plan), *brought, "--yes")

    # The engine's own gloo, in the engine's place, under its user and filter: with the variables they meet.
    (machine.tree / "usr/local/lib/gloo_ranks.py").write_text((DATA / "gloo_ranks.py").read_text())
    gloo = ("ExecStart=", "ExecStart=/opt/corral/ranks/engine/bin/python /usr/local/lib/gloo_ranks.py")
    started(machine, *gloo)
    wait(lambda: journal(machine).count("met") == 2, lambda: journal(machine))
    started(machine, *gloo, WITHOUT_THEM)
    # One rank knocks at the other's door, at the host's own address, again and again: nothing answers.
    knocking = f"ss --no-header --tcp --numeric --options state syn-sent dst {machine.address}"
    wait(lambda: re.search(r"timer:\(on,[^,]*,[2-9]\)", machine.ssh(knocking)), lambda: journal(machine))
    assert "met" not in journal(machine)

    # The CPU engine binds each rank to a NUMA node of its own unless told not to.
    started(machine, "Environment=VLLM_CPU_OMP_THREADS_BIND=nobind")
    endpoint = Endpoint.model_validate(corral("serve", "ranks"))
    client.canary(endpoint, 600)

    # The next release: the same engine, told something else, at the same address and with the same key.
    document["serve"]["max_num_seqs"] = 2
    plan.write_text(json.dumps(document))
    done = corral("upgrade", "ranks", str(plan), "--slower-at-most", "100%", "--yes")
    new, old = done["release"], done["previous"]
    assert (new["outcome"], new["figures"]["failed"], new["previous"]) == ("accepted", 0, old["id"])
    client.canary(endpoint, 600)
    assert corral("status", "ranks")["release"] == new["id"]
    began = machine.ssh("systemctl cat corral-ranks")
    assert (f"/.releases/ranks/{new['id']}/engine/" in began, '"--max-num-seqs" "2"' in began) == (True, True)
    assert [each["event"] for each in corral("status", "ranks", "--history")][-1] == "upgraded"
    assert corral("down", "ranks")["left"] == []
