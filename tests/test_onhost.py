"""What root runs on a host, run for real in a folder, with stand-ins that refuse what the real programs refuse."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_box import Box, commands, setup
from fake_iam import allows
from renting import an_order

from deploy.targets.ec2.ordering import stored
from deploy.targets.ssh.host_setup import removal_script
from infra import cloud_init, host, host_files, host_units
from infra.aws import policy
from infra.fetch import listing
from infra.onhost import codes, fetch, watch
from infra.phase import last_phase
from serving.vllm.pack import pack

ROOT = "/opt/corral/scout"
MakeBox = Callable[..., Box]


@pytest.fixture
def box(tmp_path: Path) -> MakeBox:
    """Make a host that was given the files of that setup."""
    return lambda **changes: Box(tmp_path / "box", host_files.host_files(setup(**changes)))


def prepare(box: Box, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the prepare script as the host does."""
    return box.run([f"{ROOT}/bin/prepare"], stdin)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def engine_archive(folder: Path, package: str = "vllm") -> bytes:
    """A packed engine of a few files, as `pack` writes it."""
    site = folder / "an engine/lib" / package
    site.mkdir(parents=True)
    for name in ("__init__.py", "a.py", "b.py"):
        (site / name).write_bytes(os.urandom(512))
    with (folder / "engine.tar").open("w+b") as file:
        pack(folder / "an engine", file)
        file.seek(0)
        return file.read()


def file_of(setup: host.HostSetup, path: str) -> str:
    """The content of one file of a setup."""
    (content,) = [file.content for file in host_files.host_files(setup) if file.path == path]
    return content


FETCH = f"python {ROOT}/bin/fetch"
PIP = "python -m pip install --quiet --disable-pip-version-check"
HUB = f"python {ROOT}/bin/fetch meta-llama/Llama-4-Scout-17B-16E-Instruct abc {ROOT}/model"


def test_the_first_boot_of_a_rented_box_runs_whole(box: MakeBox) -> None:
    made = box(spot=True)
    secret(made, "/corral/hf-token", "hf_CANARY")
    for command in yaml.safe_load(cloud_init.user_data(setup(spot=True)))["runcmd"]:
        done = made.run(command)
        assert done.returncode == 0, done.stderr
    assert made.calls == [
        "shutdown -P +480",
        "shutdown -P +480 corral: the time limit of scout",
        "systemctl enable --now corral-scout.watch.timer",
        "systemctl enable --now corral-scout.spot.service",
        "systemctl enable corral-scout.prepare.service corral-scout.service",
        "python3 -c import ensurepip, venv",
        f"python3 -m venv --clear {ROOT}/engine",
        f"{PIP} vllm==0.33.0",
        "python -c import vllm",
        "mountpoint -q /opt/dlami/nvme",
        "aws ssm get-parameter --region us-east-1 --with-decryption --name /corral/hf-token"
        " --query Parameter.Value --output text",
        HUB,
        "systemctl daemon-reload",
        "systemctl enable --now corral-scout.service",
    ]
    assert made.console.splitlines() == [
        "corral: scout: installing the engine",
        "corral: scout: fetching the weights",
        "corral: scout: prepared",
    ]
    assert last_phase(made.console, "scout").words == "prepared"
    assert made.path(f"{ROOT}/engine/.complete").read_text() == f"{host.engine_mark(setup().engine)}\n"


def test_the_hubs_token_is_in_one_process_and_nowhere_on_the_disk(box: MakeBox) -> None:
    made = box()
    kept = secret(made, "/corral/hf-token", "hf_CANARY")
    done = prepare(made)
    asked = made.path("hub.json").read_text()
    assert asked == (
        '{"repo_id": "meta-llama/Llama-4-Scout-17B-16E-Instruct", "revision": "abc", "token": "hf_CANARY"}'
    )
    holding = [path for path in made.folder.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    assert sorted(holding) == sorted([kept, made.path("hub.json")])
    assert "CANARY" not in done.stdout + done.stderr + "".join(made.calls)


def secret(box: Box, name: str, value: str) -> Path:
    """A secret the box may read."""
    path = box.path(f"secrets/{name.replace('/', '_')}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(value)
    return path


def test_a_secret_of_secrets_manager_and_a_branch_which_may_move(box: MakeBox) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:1:secret:hf-AbCdEf"
    made = box(hf_token_parameter=arn, weights="hf://org/model@abc")
    secret(made, arn, "hf_1")
    assert prepare(made).returncode == 0
    assert made.path("hub.json").read_text() == '{"repo_id": "org/model", "revision": "abc", "token": "hf_1"}'
    assert (
        f"aws secretsmanager get-secret-value --region us-east-1 --secret-id {arn}"
        " --query SecretString --output text"
    ) in made.calls

    made = box(hf_token_parameter="", weights="hf://org/model")
    done = prepare(made)
    assert (done.returncode, done.stderr) == (1, "main is no commit: a branch may move\n")


def test_what_a_box_fetches_is_held_against_the_hubs_checksums_twice_and_is_no_pickle(box: MakeBox) -> None:
    made = box(hf_token_parameter="")
    (made.folder / "spoiled-weights").touch()
    done = prepare(made)
    assert done.returncode == 1
    repository = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
    assert done.stderr == (
        f"model.safetensors of {repository} is not what the Hub tells: another checksum, 2 times\n"
    )
    assert not made.path(f"{ROOT}/model.complete").exists()
    assert {path.name for path in made.path(f"{ROOT}/model").iterdir()} == {"config.json"}
    (made.folder / "spoiled-weights").unlink()
    assert prepare(made).returncode == 0
    assert {path.name for path in made.path(f"{ROOT}/model").iterdir()} == {
        "config.json",
        "model.safetensors",
    }


def test_a_host_reads_every_byte_when_it_is_provisioned_again_and_fetches_what_is_wrong(box: MakeBox) -> None:
    commit = "a" * 40
    made = box(rented=False, weights=f"hf://org/model@{commit}")
    assert prepare(made).returncode == 0
    model = made.path(f"/opt/corral/weights/org--model@{commit}")
    (made.folder / "hub.json").unlink()
    assert prepare(made).returncode == 0
    assert not (made.folder / "hub.json").exists()
    config = model / "config.json"
    status = config.stat()
    config.write_text("[]")
    os.utime(config, ns=(status.st_atime_ns, status.st_mtime_ns))  # a disk that lies changes no time
    done = prepare(made)
    assert (done.returncode, (made.folder / "hub.json").exists()) == (0, True)
    assert "config.json is changed: its sha256 is another\n" in done.stderr
    assert re.search(
        r"^corral: scout: verifying what lies in \S+/model: every byte of \S+ is read$", done.stdout, re.M
    )


def test_a_box_and_another_host_fetch_the_same_files_and_a_host_gets_all_that_fetches() -> None:
    assert fetch.FETCHED == listing.FETCHED
    names = {f"fetch/{path.name}" for path in Path(str(files("infra.fetch"))).glob("*.py")}
    assert set(host_files.LIBRARY) == names - {"fetch/__init__.py"} | {"errors.py"}


def test_the_scripts_calls_of_the_hub_are_those_that_the_real_one_takes() -> None:
    import inspect

    from huggingface_hub import HfApi, snapshot_download

    inspect.signature(snapshot_download).bind(
        "org/model", revision="abc", token=False, allow_patterns=["a"], local_dir="/model"
    )
    inspect.signature(HfApi().model_info).bind("org/model", revision="abc", files_metadata=True, token="t")


@pytest.mark.parametrize(
    ("service", "operation"), [("ssm", "GetParameter"), ("secretsmanager", "GetSecretValue")]
)
def test_the_stand_ins_options_are_those_that_aws_names(service: str, operation: str) -> None:
    from botocore import xform_name
    from botocore.session import Session

    script = (files("infra.onhost") / "prepare.sh").read_text()
    (line,) = [line for line in script.splitlines() if f"aws {service} " in line]
    shape = Session().get_service_model(service).operation_model(operation).input_shape
    assert shape
    known = {f"--{xform_name(name, '-')}" for name in shape.members} | {"--region", "--query", "--output"}
    assert f" {xform_name(operation, '-')} " in line
    assert set(re.findall(r"--[\w-]+", line)) - known == set()


def test_a_second_run_fetches_nothing_and_keeps_the_key(box: MakeBox) -> None:
    made = box(hf_token_parameter="", api_key="generated")
    assert prepare(made).returncode == 0
    key = made.path(f"{ROOT}/secrets.env")
    first = key.read_text()
    assert re.fullmatch(r"VLLM_API_KEY=[0-9a-f]{64}\n", first)
    assert mode(key) == 0o600
    made.forget()
    assert prepare(made).returncode == 0
    assert made.calls == ["systemctl daemon-reload"]
    assert key.read_text() == first


def test_what_was_given_up_is_told_after_a_later_boot_too(box: MakeBox) -> None:
    made = box(hf_token_parameter="")
    made.path(f"{ROOT}/gave-up").write_text("gave up after 3 starts\n")
    assert prepare(made).returncode == 0
    assert last_phase(made.console, "scout").words == "failed: start: gave up after 3 starts"


def test_another_engine_and_other_weights_are_fetched_anew(box: MakeBox) -> None:
    assert prepare(box(hf_token_parameter="")).returncode == 0
    made = box(
        hf_token_parameter="", engine=host.Engine(requirement="vllm==0.34.0"), weights="hf://org/other@def"
    )
    made.forget()
    assert prepare(made).returncode == 0
    assert made.calls[1:] == [
        f"python3 -m venv --clear {ROOT}/engine",
        f"{PIP} vllm==0.34.0",
        "python -c import vllm",
        "mountpoint -q /opt/dlami/nvme",
        f"python {ROOT}/bin/fetch org/other def {ROOT}/model",
        "systemctl daemon-reload",
    ]


def test_engine_and_weights_come_from_s3_by_what_the_policy_allows(box: MakeBox, tmp_path: Path) -> None:
    changes = {
        "weights": "s3://models/scout",
        "engine": host.Engine(archive="s3://models/engine.tar"),
        "hf_token_parameter": "",
    }
    made = box(**changes)
    for place in ("scout", "scout-of-others"):
        (made.folder / "s3/models" / place).mkdir(parents=True)
        (made.folder / "s3/models" / place / "config.json").write_text(place)
    (made.folder / "s3/models/engine.tar").write_bytes(engine_archive(tmp_path))
    done = prepare(made)
    assert done.returncode == 0, done.stderr
    assert made.path(f"{ROOT}/model/config.json").read_text() == "scout"
    assert not made.path(f"{ROOT}/download.tar").exists()
    requests = (made.folder / "s3.requests").read_text().splitlines()
    assert requests == [
        "s3:GetObject models/engine.tar",
        "s3:ListBucket models scout/",
        "s3:GetObject models/scout/config.json",
    ]
    document = policy.box(an_order(read_s3=stored(setup(**changes))), "1")
    for action, resource, *prefix in map(str.split, requests):
        context = {"s3_prefix": prefix[0]} if prefix else {}
        assert allows(document, action, f"arn:aws:s3:::{resource}", **context)


@pytest.mark.parametrize("place", ["s3://wheels/cu130/", "/srv/wheels"])
def test_wheels_are_asked_for_without_an_index(place: str, box: MakeBox) -> None:
    made = box(engine=host.Engine(requirement="vllm==0.33.0", wheelhouse=place), weights="")
    wheels = made.folder / "s3/wheels/cu130" if place.startswith("s3") else made.path("/opt/wheels")
    wheels.mkdir(parents=True)
    (wheels / "vllm.whl").touch()
    if not place.startswith("s3"):
        env = made.path(f"{ROOT}/setup.env")
        env.write_text(env.read_text().replace(place, str(wheels)))
    done = prepare(made)
    assert done.returncode == 0, done.stderr
    there = f"{ROOT}/download" if place.startswith("s3") else "/opt/wheels"
    assert f"{PIP} --no-index --find-links {there} vllm==0.33.0" in made.calls


def test_a_rented_box_without_venv_installs_it_and_an_owned_host_is_left_alone(box: MakeBox) -> None:
    made = box(weights="")
    (made.folder / "no-venv").touch()
    assert prepare(made).returncode == 0
    assert made.calls[1:3] == ["apt-get update -q", "apt-get install -qy python3-venv python3-dev gcc"]


def test_an_owned_host_without_venv_is_told_what_it_lacks(box: MakeBox) -> None:
    made = box(weights="", rented=False)
    (made.folder / "no-venv").touch()
    done = prepare(made)
    assert (done.returncode, done.stderr) == (1, "python3-venv is missing: apt-get install python3-venv\n")
    assert made.calls == ["python3 -c import ensurepip, venv"]
    assert made.console == ""


def test_the_fast_disk_of_the_box_holds_the_weights_where_there_is_one(box: MakeBox) -> None:
    made = box(hf_token_parameter="")
    made.path("/opt/dlami/nvme").mkdir(parents=True)
    assert prepare(made).returncode == 0
    model = made.path(f"{ROOT}/model")
    assert model.is_symlink()
    assert model.resolve() == made.path("/opt/dlami/nvme/corral-scout").resolve()
    assert (model / "config.json").exists()


def test_a_disk_that_a_stop_has_emptied_gets_the_weights_again(box: MakeBox) -> None:
    made = box(hf_token_parameter="")
    disk = made.path("/opt/dlami/nvme")
    disk.mkdir(parents=True)
    assert prepare(made).returncode == 0
    made.forget()
    assert prepare(made).returncode == 0
    assert made.calls == ["systemctl daemon-reload"]
    shutil.rmtree(disk / "corral-scout")
    made.forget()
    assert prepare(made).returncode == 0
    assert made.calls == ["mountpoint -q /opt/dlami/nvme", HUB, "systemctl daemon-reload"]
    assert made.path(f"{ROOT}/model").resolve() == (disk / "corral-scout").resolve()
    assert (disk / "corral-scout/config.json").exists()


def test_a_release_lies_on_the_fast_disk_beside_the_other_and_knows_what_was_given_up(box: MakeBox) -> None:
    made = box(hf_token_parameter="", api_key="generated")
    made.path("/opt/dlami/nvme").mkdir(parents=True)
    assert prepare(made).returncode == 0
    key, said = made.path(f"{ROOT}/secrets.env").read_text(), made.console
    for file in host_files.host_files(
        setup(hf_token_parameter="", release="0123456789ab", api_key="generated")
    ):
        made.put(file)
    made.path(f"{ROOT}/gave-up").write_text("gave up after three starts")
    own = "/opt/corral/.releases/scout/0123456789ab"
    assert made.run([f"{own}/bin/prepare"]).returncode == 0
    disk = made.path("/opt/dlami/nvme")
    assert made.path(f"{own}/model").resolve() == (disk / "corral-scout-0123456789ab").resolve()
    assert made.path(f"{ROOT}/model").resolve() == (disk / "corral-scout").resolve()
    assert made.path(f"{own}/phase").read_text() == "failed: start: gave up after three starts\n"
    assert (made.path(f"{ROOT}/secrets.env").read_text(), made.path(f"{own}/secrets.env").exists()) == (
        key,
        False,
    )
    assert made.console.startswith(said)


GIB = 2**30


@pytest.mark.parametrize(
    ("weights_bytes", "mib", "words"),
    [
        (2 * GIB, 512, "fetching the weights: 25 % of 2 GiB"),
        (60 * GIB + GIB // 2, 1, "fetching the weights: 0 % of 61 GiB"),
        # The plan counts the weights; a tokenizer comes beside them.
        (GIB // 1024, 2, "fetching the weights: 99 % of 0 GiB"),
    ],
)
def test_once_a_minute_the_box_says_how_much_of_the_weights_has_come(
    weights_bytes: int, mib: int, words: str, box: MakeBox
) -> None:
    made = box(hf_token_parameter="", weights_bytes=weights_bytes)
    made.tool("sleep")
    (made.folder / "slow").write_text(f"{mib} {words}")
    assert prepare(made).returncode == 0
    assert made.console.splitlines()[1:] == [
        "corral: scout: fetching the weights",
        f"corral: scout: {words}",
        "corral: scout: prepared",
    ]
    assert "sleep 60" in made.calls
    assert preparing(made) == []  # nobody is left to say it once more


def preparing(box: Box) -> list[str]:
    """The processes that run the prepare script of that host."""
    script = str(box.path(f"{ROOT}/bin/prepare")).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if script in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(process.name)
    return found


def test_a_download_that_fails_is_the_last_that_is_said(box: MakeBox) -> None:
    made = box(hf_token_parameter="", weights_bytes=GIB)
    made.tool("sleep")
    made.fail(FETCH)
    assert prepare(made).returncode != 0
    assert last_phase(made.console, "scout").words.startswith("failed: weights, line ")


def test_weights_of_the_image_are_used_where_they_lie(box: MakeBox, tmp_path: Path) -> None:
    place = tmp_path / "it's the model"
    place.mkdir()
    made = box(weights=str(place))
    assert prepare(made).returncode != 0
    assert not made.path(f"{ROOT}/model.complete").exists()
    assert last_phase(made.console, "scout").words.startswith("failed: weights, line ")
    (place / "config.json").write_text("{}")
    assert prepare(made).returncode == 0
    assert made.path(f"{ROOT}/model").resolve() == place
    assert made.path(f"{ROOT}/model.complete").read_text() == f"{place}\n"


# --- what fails is told, and is not taken for done

FAILS = [
    ("apt-get install -qy nftables", "lock", {}),
    ("python3 -m venv", "engine", {}),
    ("python -m pip", "engine", {}),
    ("python -c import vllm", "engine", {}),
    ("apt-get update", "engine", {}),
    ("apt-get install", "engine", {}),
    ("aws s3 cp", "engine", {"engine": host.Engine(archive="s3://models/engine.tar")}),
    ("aws s3 sync", "engine", {"engine": host.Engine(requirement="vllm", wheelhouse="s3://models/wheels/")}),
    ("aws s3 sync", "weights", {"weights": "s3://models/scout"}),
    ("aws ssm", "weights", {}),
    ("aws secretsmanager", "weights", {"hf_token_parameter": "arn:aws:secretsmanager:us-east-1:1:secret:hf"}),
    (FETCH, "weights", {"hf_token_parameter": ""}),
    ("ln -sfn", "weights", {"weights": "/"}),
    ("mkdir -p", "weights", {}),
    ("ln -s", "weights", {}),
    ("head", "key", {"hf_token_parameter": "", "api_key": "generated"}),
    ("od", "key", {"hf_token_parameter": "", "api_key": "generated"}),
    ("systemctl daemon-reload", "units", {"hf_token_parameter": ""}),
]
MARKS = {"engine": "engine/.complete", "weights": "model.complete", "key": "secrets.env"}


@pytest.mark.parametrize(
    ("call", "step", "changes"), FAILS, ids=[f"{call} ({step})" for call, step, _ in FAILS]
)
def test_whatever_fails_ends_the_preparation_and_is_named(
    call: str, step: str, changes: dict[str, Any], box: MakeBox
) -> None:
    made = box(**changes)
    secret(made, "/corral/hf-token", "hf_CANARY")
    if "nftables" in call:
        (made.folder / "tools/nft").unlink()
    elif call.startswith("apt-get"):
        (made.folder / "no-venv").touch()
    if call in ("mkdir -p", "ln -s"):
        made.path("/opt/dlami/nvme").mkdir(parents=True)
    if call.split()[0] in ("ln", "mkdir", "head", "od"):
        made.tool(call.split()[0])
    made.fail(call)
    done = prepare(made)
    assert done.returncode != 0
    assert last_phase(made.console, "scout").words.startswith(f"failed: {step}, line ")
    assert made.calls[-1].startswith(call)
    assert step not in MARKS or not made.path(f"{ROOT}/{MARKS[step]}").exists()


# Blocks of the archive that arrive: none, a header, whole members but not all, all but the end, all but the last word.
CUTS = (0, 1, 6, 8, 20)


def test_an_engine_that_comes_in_short_is_none_wherever_it_was_cut(box: MakeBox, tmp_path: Path) -> None:
    made = box(engine=host.Engine(archive="-"), weights="")
    archive = engine_archive(tmp_path)
    for blocks in CUTS:
        assert prepare(made, archive[: blocks * 512]).returncode != 0, blocks
        assert last_phase(made.console, "scout").words.startswith("failed: engine, line "), blocks
        assert not made.path(f"{ROOT}/engine/.complete").exists(), blocks
    assert prepare(made, archive).returncode == 0
    assert made.path(f"{ROOT}/engine/.complete").read_text() == "python3   -\n"


def test_nobody_but_root_may_write_what_root_runs_whatever_the_umask(box: MakeBox, tmp_path: Path) -> None:
    made = box(engine=host.Engine(archive="-"), weights="", api_key="generated")
    archive = engine_archive(tmp_path)
    loose = tmp_path / "loose"
    loose.mkdir()
    subprocess.run(["tar", "-x", "--ignore-zeros", "-C", loose], input=archive, check=True)
    subprocess.run(["chmod", "-R", "a+rwX", loose], check=True)
    packed = subprocess.run(["tar", "-c", "-C", loose, "."], capture_output=True, check=True).stdout
    subprocess.run(["chmod", "-R", "a+rwX", made.path(ROOT)], check=True)
    before = os.umask(0)
    try:
        done = prepare(made, packed)
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    places = [made.path(ROOT), made.path(f"{ROOT}/bin"), *made.path(f"{ROOT}/bin").iterdir()]
    places += [made.path(f"{ROOT}/{name}") for name in ("phase", "secrets.env", "engine/.complete")]
    # Not a stand-in of the test's, which it makes itself.
    places += [path for path in made.path(f"{ROOT}/engine/lib").rglob("*.py")]
    assert [str(path) for path in places if mode(path) & 0o022] == []


def test_an_archive_that_is_none_or_holds_no_vllm_is_no_engine(box: MakeBox, tmp_path: Path) -> None:
    made = box(engine=host.Engine(archive="-"), weights="")
    for archive in (b"no tar at all" * 1000, engine_archive(tmp_path, package="other")):
        assert prepare(made, archive).returncode != 0
        assert not made.path(f"{ROOT}/engine/.complete").exists()


# --- the lock


def start_of(box: Box, setup: host.HostSetup) -> list[int]:
    """Run what the server's unit runs before the server, as systemd does; the exit codes of what may not fail."""
    before = [one for one in commands(host_units.server_unit(setup)) if one[0] == "ExecStartPre"]
    return [box.run(line).returncode for _, prefixes, line in before if "-" not in prefixes]


def test_a_start_loads_the_lock_for_the_user_it_has_and_an_end_removes_it(box: MakeBox) -> None:
    made = box(nodes=2)
    made.path(f"{ROOT}/peers").write_text("10.0.0.5\nfd00::6\n")
    assert start_of(made, setup(nodes=2)) == [0]
    loaded = (made.folder / "nft.loaded").read_text()
    assert loaded == (
        "define server = 64998\n"
        + file_of(setup(nodes=2), f"{ROOT}/egress.nft")
        + "add element inet corral-scout ipv4_addr { 10.0.0.5 }\n"
        + "add element inet corral-scout ipv6_addr { fd00::6 }\n"
    )
    kept = made.path(f"{ROOT}/loaded.nft").read_text()
    assert (
        kept == made.run(["nft", "--numeric", "--stateless", "list", "table", "inet", "corral-scout"]).stdout
    )
    assert "\n\t\tmeta skuid 64998 goto server\n" in kept
    ((_, _, stop),) = [one for one in commands(host_units.server_unit(setup())) if one[0] == "ExecStopPost"]
    for _ in range(2):
        assert made.run(stop).returncode == 0
        assert not (made.folder / "nft.loaded").exists()
        assert made.path(f"{ROOT}/loaded.nft").read_text() == kept
    # With these known nothing is written, so that a full disk keeps nobody from starting again.
    os.utime(made.path(f"{ROOT}/loaded.nft"), ns=(1, 1))
    assert start_of(made, setup(nodes=2)) == [0]
    assert (made.folder / "nft.loaded").read_text() == loaded
    assert made.path(f"{ROOT}/loaded.nft").stat().st_mtime_ns == 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda box: box.path(f"{ROOT}/egress.nft").unlink(),
        lambda box: box.path(f"{ROOT}/egress.nft").write_text(""),
        lambda box: box.fail("nft -f"),
        lambda box: box.fail("nft --numeric --stateless list"),
        lambda box: (box.folder / "turned").touch(),
    ],
    ids=[
        "no rules",
        "empty rules",
        "not loaded",
        "not there",
        "for another user",
    ],
)
def test_a_lock_that_cannot_be_loaded_whole_starts_no_server(
    harm: Callable[[Box], Any], box: MakeBox
) -> None:
    made = box()
    assert start_of(made, setup()) == [0]  # what an earlier start loaded is there still
    harm(made)
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    assert done.returncode == 1
    assert done.stderr.endswith("corral: the egress lock cannot be loaded, so the server is not started\n")


NO_NFT = "nft is missing"
NO_KEY = "the server's key is missing"


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (lambda box: (box.folder / "tools/nft").unlink(), NO_NFT),
        (lambda box: box.path(f"{ROOT}/secrets.env").unlink(), NO_KEY),
        (lambda box: box.path(f"{ROOT}/secrets.env").write_text(""), NO_KEY),
        (lambda box: box.path(f"{ROOT}/secrets.env").write_text("VLLM_API_KEY=\n"), NO_KEY),
        (lambda box: box.fail("nft -f"), "the egress lock cannot be loaded"),
    ],
    ids=["no nft", "no key file", "empty key file", "empty key", "not loaded"],
)
def test_a_server_never_starts_without_its_lock_or_its_key_and_that_is_told(
    lost: Callable[[Box], Any], why: str, box: MakeBox
) -> None:
    made = box(api_key="generated", weights="")
    assert prepare(made).returncode == 0
    assert start_of(made, setup(api_key="generated")) == [0]
    lost(made)
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"corral: {why}, so the server is not started",
    )
    # On EC2 the console is where it is seen, on a host of one's own the phase.
    assert last_phase(made.console, "scout").words == f"failed: start: {why}"
    assert made.path(f"{ROOT}/phase").read_text() == f"failed: start: {why}\n"
    # The end of what there was goes on without nft, too.
    assert made.run([f"{ROOT}/bin/lock", "off", "scout"]).returncode == 0


def takes_nothing(path: Path) -> None:
    """As on a full disk: whoever writes there is refused."""
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


FULL = [f"{ROOT}/phase", f"{ROOT}/refused"]
REFUSED = [f"{ROOT}/refused", "/run/corral-scout/refused"]


@pytest.mark.parametrize(
    ("full", "kept"),
    [
        ([], REFUSED),
        (FULL, REFUSED[1:]),
        (["/run/corral-scout/refused"], REFUSED[:1]),
        ({*FULL, *REFUSED}, []),
    ],
    ids=["room", "no room on the disk", "no room in memory", "no room"],
)
def test_why_a_start_is_refused_is_told_and_kept_wherever_there_is_room(
    full: Iterable[str], kept: list[str], box: MakeBox
) -> None:
    made = box(api_key="generated", weights="")
    assert prepare(made).returncode == 0
    made.path(f"{ROOT}/secrets.env").unlink()
    for path in full:
        takes_nothing(made.path(path))
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"corral: {NO_KEY}, so the server is not started",
    )
    assert last_phase(made.console, "scout").words == f"failed: start: {NO_KEY}"
    assert {
        path: made.path(path).read_text() for path in REFUSED if made.path(path).is_file()
    } == dict.fromkeys(kept, f"{NO_KEY}\n")


def test_a_full_disk_is_named_where_the_rules_cannot_be_kept_and_hinders_no_start_that_needs_no_room(
    box: MakeBox,
) -> None:
    made = box(api_key="generated", weights="")
    assert prepare(made).returncode == 0
    takes_nothing(made.path(f"{ROOT}/loaded.nft"))
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    root = made.path(ROOT)
    why = (
        f"{root} takes nothing more, so the lock's rules cannot be kept; make room there (df -h {root}), and it "
        "starts by itself"
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"corral: {why}, so the server is not started",
    )
    made.path(f"{ROOT}/loaded.nft").rmdir()
    assert start_of(made, setup(api_key="generated")) == [0]
    # What failed before is mended, which cannot be told now.
    (made.path(f"{ROOT}/phase")).write_text("failed: start: nft is missing\n")
    made.path(f"{ROOT}/bin/phase").write_text("#!/bin/sh\nexit 1\n")
    assert start_of(made, setup(api_key="generated")) == [0]


def test_what_is_said_of_a_deployment_is_said_on_a_full_disk_too(box: MakeBox) -> None:
    made = box()
    takes_nothing(made.path(f"{ROOT}/phase"))
    made.path(f"{ROOT}/interrupted").touch()  # all that a full disk took of it
    done = made.run([f"{ROOT}/bin/phase", "interrupted by EC2: soon"])
    assert (done.returncode, last_phase(made.console, "scout").words) == (1, "interrupted by EC2: soon")


def test_once_it_is_mended_the_server_starts_and_nothing_is_said_to_fail(box: MakeBox) -> None:
    made = box(api_key="generated", weights="")
    assert prepare(made).returncode == 0
    made.path(f"{ROOT}/secrets.env").unlink()
    assert start_of(made, setup(api_key="generated")) == [1]
    assert prepare(made).returncode == 0
    assert start_of(made, setup(api_key="generated")) == [0]
    made.path(f"{ROOT}/phase").write_text("failed: start: nft is missing\n")
    assert start_of(made, setup(api_key="generated")) == [0]
    assert last_phase(made.console, "scout").words == "prepared"
    # What else failed is not told away.
    made.path(f"{ROOT}/phase").write_text("failed: weights, line 9\n")
    assert start_of(made, setup(api_key="generated")) == [0]
    assert made.path(f"{ROOT}/phase").read_text() == "failed: weights, line 9\n"


def test_a_rented_box_without_nft_installs_it_and_an_owned_host_is_told(box: MakeBox) -> None:
    made = box(weights="")
    (made.folder / "tools/nft").unlink()
    assert prepare(made).returncode == 0
    assert made.calls[:2] == ["apt-get update -q", "apt-get install -qy nftables"]
    owned = box(weights="", rented=False)
    (owned.folder / "tools/nft").unlink()
    done = prepare(owned)
    assert (done.returncode, done.stderr) == (1, "nftables is missing: apt-get install nftables\n")
    assert owned.path(f"{ROOT}/phase").read_text().startswith("failed: lock, line ")


LOST = "failed: lock: {}, so the server was stopped"


@pytest.mark.parametrize(
    "uid",
    ["", "0", "4294967295", "[not set]", "64998; flush ruleset", "-1", "27"],
    ids=["none", "root", "not set", "not set in words", "a command", "negative", "the host's own"],
)
def test_a_server_without_a_user_of_its_own_is_not_started(uid: str, box: MakeBox) -> None:
    made = box(weights="")
    hosts_users = made.path("/etc/passwd")
    hosts_users.parent.mkdir(exist_ok=True)
    hosts_users.write_text("root:x:0:0::/root:/bin/sh\nmysql:x:27:27::/:/bin/false\n")
    made.knows(UID=uid)
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    why = "the server has no user of its own"
    assert (done.returncode, done.stderr) == (1, f"corral: {why}, so the server is not started\n")
    assert made.path(f"{ROOT}/phase").read_text() == f"failed: start: {why}\n"
    assert not (made.folder / "nft.loaded").exists()


def test_what_the_server_can_write_does_not_turn_the_lock(box: MakeBox) -> None:
    made = box(weights="")
    state = made.path("/var/lib/private/corral-scout")
    state.mkdir()
    made.path("/var/lib/corral-scout").symlink_to(state)
    (made.folder / "pid_max").write_text("27\n")
    for name in ("uid", "user", "pid", "peers", "phase", "egress.nft", "setup.env"):
        (state / name).symlink_to(made.folder / "pid_max")
    assert start_of(made, setup()) == [0]
    assert (made.folder / "nft.loaded").read_text().startswith("define server = 64998\n")


def running(box: Box, uids: str = "64998 64998 64998 64998", **properties: str) -> None:
    """Let the server run as process 7, with these numbers of its user."""
    box.path("/proc/7").mkdir(exist_ok=True)
    box.path("/proc/7/status").write_text(f"Name:\tpython\nUid:\t{uids}\nGid:\t1\n".replace(" ", "\t"))
    known = {"UID": "64998", "MainPID": "7", "SubState": "running"}
    box.knows(**known | properties)


def looked(box: Box) -> tuple[int, str, list[str], str]:
    """What a look at the lock ends with, says, does, and leaves as the phase."""
    box.forget()
    (command,) = [
        words
        for directive, _, words in commands(
            file_of(setup(), f"{host_units.UNIT_FOLDER}/corral-scout.lock.service")
        )
        if directive == "ExecStart"
    ]
    done = box.run(command)
    told = [call for call in box.calls if not call.startswith("nft ")]
    phase = box.path(f"{ROOT}/phase")
    return done.returncode, done.stderr, told, phase.read_text() if phase.exists() else ""


WHOLE: tuple[int, str, list[str], str] = (0, "", [], "")
STOPPED = [
    "systemctl --no-block stop corral-scout.service",
    "systemctl kill --signal=KILL --kill-who=main corral-scout.service",
]


def other_rules(box: Box) -> None:
    loaded = box.folder / "nft.loaded"
    loaded.write_text(loaded.read_text().replace("goto server\n", "goto server\n        accept\n"))


GONE, CHANGED = "the egress lock is gone", "the rules of the egress lock were changed"
ANOTHERS = "the egress lock is not for the server's user"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda box: (box.folder / "nft.loaded").unlink(), GONE),
        (lambda box: box.fail("nft --numeric --stateless list"), GONE),
        (lambda box: (box.folder / "tools/nft").unlink(), GONE),
        (other_rules, CHANGED),
        (lambda box: box.path(f"{ROOT}/loaded.nft").unlink(), CHANGED),
        (lambda box: running(box, "64997 64997 64997 64997"), ANOTHERS),
        (lambda box: running(box, "64998 0 64998 64998"), ANOTHERS),
        (lambda box: running(box, "64998 64998 64998 27"), ANOTHERS),
        (lambda box: running(box, UID="64997"), ANOTHERS),
        (lambda box: running(box, UID="0"), ANOTHERS),
    ],
    ids=[
        *("table removed", "nft fails", "no nft", "a rule added", "nothing to compare with", "another user"),
        *("root in part", "another for files", "systemd says another", "systemd says root"),
    ],
)
def test_a_server_whose_lock_is_not_whole_is_stopped_and_that_is_told(
    harm: Callable[[Box], Any], why: str, box: MakeBox
) -> None:
    made = box(weights="")
    assert start_of(made, setup()) == [0]
    running(made)
    harm(made)
    code, said, told, phase = looked(made)
    assert (code, said.splitlines()[-1:], told) == (1, [f"corral: {why}, so the server was stopped"], STOPPED)
    assert phase == f"{LOST.format(why)}\n"
    assert last_phase(made.console, "scout").words == LOST.format(why)


def test_a_server_that_was_stopped_for_its_lock_says_so_in_its_log_and_starts_anew(box: MakeBox) -> None:
    made = box(weights="")
    running(made)
    assert looked(made)[0] == 1
    made.path("/proc/7/status").unlink()
    made.knows(UID="64998", MainPID="0", SubState="stop-post")
    assert made.run([f"{ROOT}/bin/lock", "off", "scout"]).stdout == f"corral: {LOST.format(GONE)}\n"
    assert start_of(made, setup()) == [0]
    assert last_phase(made.console, "scout").words == "prepared"
    running(made)
    assert looked(made) == (*WHOLE[:3], "prepared\n")


MEANWHILE = """\
#!/bin/sh
[ -e "$BOX/asked" ] && exec {nft} "$@"
touch "$BOX/asked"
printf '%s' '{known}' >"$BOX/known"
exit 1
"""


@pytest.mark.parametrize(
    "known",
    [
        {"UID": "64998", "MainPID": "0", "SubState": "stop-post"},
        {"UID": "64998", "MainPID": "8", "SubState": "running"},
        {"UID": "64998", "MainPID": "7", "SubState": "running"},
    ],
    ids=["it ended", "it was started anew", "its lock was whole when looked at again"],
)
def test_what_changes_while_a_server_is_looked_at_stops_none(known: dict[str, str], box: MakeBox) -> None:
    made = box(weights="")
    assert start_of(made, setup()) == [0]
    running(made)
    real = made.folder / "tools/nft"
    real.rename(made.folder / "tools/nft-then")
    real.write_text(MEANWHILE.format(nft=made.folder / "tools/nft-then", known=json.dumps(known)))
    real.chmod(0o755)
    if known["MainPID"] == "8":
        (made.folder / "nft.loaded").unlink()  # the look at another start is the next one's
    assert looked(made) == WHOLE


@pytest.mark.parametrize("refused", ["systemctl --no-block stop", "systemctl kill", "phase"])
def test_a_server_without_its_lock_is_ended_whatever_else_fails(refused: str, box: MakeBox) -> None:
    made = box(weights="")
    running(made)
    if refused == "phase":  # as on a full disk
        made.path(f"{ROOT}/bin/phase").write_text("#!/bin/sh\nexit 1\n")
    else:
        made.fail(refused)
    code, said, told, _ = looked(made)
    assert (code, said.splitlines()[-1:], told) == (
        1,
        [f"corral: {GONE}, so the server was stopped"],
        STOPPED,
    )


@pytest.mark.parametrize(
    "changes", [{"SubState": "auto-restart"}, {"SubState": "stop-post"}, {"SubState": ""}]
)
def test_of_a_server_that_does_not_run_nothing_is_asked(changes: dict[str, str], box: MakeBox) -> None:
    made = box(weights="")
    running(made, **changes)
    assert looked(made) == WHOLE


def test_what_the_kernel_notes_by_itself_changes_no_rules(box: MakeBox) -> None:
    made = box(weights="")
    assert start_of(made, setup()) == [0]
    running(made)
    (made.folder / "noted").write_text("40000 . 25 timeout 2m expires 3s,\n\t\t\t     40001 . 25 expires 4s")
    assert (
        "elements = "
        in made.run(["nft", "--numeric", "--stateless", "list", "table", "inet", "corral-scout"]).stdout
    )
    assert looked(made) == WHOLE


def test_the_end_of_a_server_ends_what_it_left_running_and_nobody_elses(box: MakeBox) -> None:
    made = box()
    with subprocess.Popen(["sleep", "600"]) as ours, subprocess.Popen(["sleep", "600"]) as theirs:
        ended, alive = "State:\tZ (zombie)\n", "State:\tS (sleeping)\n"
        for process, unit in ((ours, "corral-scout.service"), (theirs, "corral-corral-scout.service")):
            left(made, process.pid, f"{alive}Uid:\t64998\t64998\t64998\t64998\n", unit)
        left(
            made, 999999999, f"{ended}Uid:\t64998\t64998\t64998\t64998\nThreads:\t1\n", "corral-scout.service"
        )
        try:
            done = made.run([f"{ROOT}/bin/lock", "off", "scout"])
            assert theirs.poll() is None
            assert ours.wait() == -9
        finally:
            ours.kill()
            theirs.kill()
    # In this folder its status stays: what cannot be ended keeps its lock.
    stays = "corral: what the server left still runs, so its lock stays\n"
    assert (done.returncode, done.stderr) == (1, stays)


@pytest.mark.parametrize(
    "status",
    [
        "State:\tS (sleeping)\nUid:\t64998\t64998\t64998\t64998\nThreads:\t1\n",
        "State:\tS (sleeping)\nUid:\t0\t64998\t0\t0\nThreads:\t1\n",
        # Its first thread has ended; another has not.
        "State:\tZ (zombie)\nUid:\t64998\t64998\t64998\t64998\nThreads:\t2\n",
    ],
    ids=["alive", "of the user in part", "a zombie with a thread"],
)
def test_while_anything_of_the_server_lives_its_lock_stays(status: str, box: MakeBox) -> None:
    made = box(weights="")
    assert start_of(made, setup()) == [0]
    left(made, 999999999, status, "corral-scout.service")
    assert made.run([f"{ROOT}/bin/lock", "off", "scout"]).returncode == 1
    assert (made.folder / "nft.loaded").exists()
    done = made.run([f"{ROOT}/bin/lock", "on", "scout"])
    assert done.stderr == "corral: an earlier server cannot be ended, so the server is not started\n"
    made.path("/proc/999999999/status").unlink()
    assert made.run([f"{ROOT}/bin/lock", "off", "scout"]).returncode == 0
    assert not (made.folder / "nft.loaded").exists()


def left(box: Box, pid: int, status: str, unit: str) -> None:
    """A process of the host, in that unit's control group."""
    folder = box.path(f"/proc/{pid}")
    folder.mkdir()
    (folder / "status").write_text(f"Name:\tpython\n{status}")
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")


# --- the judge


def test_what_judges_a_server_runs_with_nothing_but_the_hosts_own_python(box: MakeBox) -> None:
    made = box(rented=False)
    python = [sys.executable, "-ISB"]
    asked = ["--url", "http://127.0.0.1:9", "--model", "x", "--ready", "/run/none", "--asked", "/run/asked"]
    judged = made.run([*python, f"{ROOT}/bin/judging", *asked, "--load-s", "0"])
    assert (judged.returncode, judged.stdout, judged.stderr) == (codes.code_of("late"), "", "")
    words = "died: it was not started ()"
    heal = shlex.join([*python, f"{ROOT}/bin/heal", "ended", "scout"])
    ended = made.run(["sh", "-c", f"umask 077; exec {heal}"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"corral: {words}\n", "")
    assert f'"event": "died", "cause": "{words[6:]}"' in made.path(f"{ROOT}/history.jsonl").read_text()
    assert made.path("/run/corral-scout/ends").read_text() == "[1, 1]\n"
    assert mode(made.path("/run/corral-scout")) == 0o755  # the judge, who is not root, looks into it


# --- what is taken away


def test_what_is_removed_is_this_deployments_and_no_neighbours(tmp_path: Path) -> None:
    names = ("scout", "corral-scout", "scout-2", "sco")
    setups = [setup(name=name, nodes=2, rented=False) for name in names]
    box = Box(tmp_path / "box", [file for one in setups for file in host_files.host_files(one)])
    for number, name in enumerate(names, 1):
        box.path(f"/var/lib/private/corral-{name}").mkdir()
        box.path(f"/var/lib/corral-{name}").symlink_to(box.path(f"/var/lib/private/corral-{name}"))
        box.path(f"/run/corral-{name}.nft").touch()
        box.path(f"/run/corral-{name}").mkdir()
        box.path(f"{host_units.UNIT_FOLDER}/corral-{name}.watch.service.d").mkdir()
        box.path(f"/opt/dlami/nvme/corral-{name}").mkdir(parents=True)
        box.path(f"{host.root(name)}/model").symlink_to(box.path(f"/opt/dlami/nvme/corral-{name}"))
        box.path(f"/proc/{number}").mkdir()
        box.path(f"/proc/{number}/cgroup").write_text(f"0::/system.slice/corral-{name}.service\n")
    before = everything(box)
    ours = {path for path in before if OURS.search(path)}
    done = box.run(["sh", "-s", "--", "scout"], box.as_here(removal_script()).encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "left process 1\n"
    assert everything(box) == before - ours | {"/calls"}
    told = {unit for call in box.calls for unit in re.findall(r"corral-\S+", call)}
    assert told == {
        "corral-scout.watch.timer",
        "corral-scout.watch.service",
        "corral-scout.lock.timer",
        "corral-scout.lock.service",
        "corral-scout.judge.service",
        "corral-scout.service",
        "corral-scout",
        "corral-scout.gateway",
        "corral-scout.listener",
    }


OURS = re.compile(r"^/opt/corral/scout(/|$)|(?<!/opt/corral)/corral-scout(\.|/|$)")


def everything(box: Box) -> set[str]:
    """Every path of the host."""
    return {str(path).removeprefix(str(box.folder)) for path in box.folder.rglob("*")}


def test_what_cannot_be_removed_is_named(box: MakeBox) -> None:
    made = box()
    made.tool("rm")
    made.fail("rm -rf", "rm -f")
    done = made.run(["sh", "-s", "--", "scout"], made.as_here(removal_script()).encode())
    assert done.stdout.replace(str(made.folder), "") == (
        f"left path {ROOT}\n"
        "left unit corral-scout.watch.timer\n"
        "left unit corral-scout.watch.service\n"
        "left unit corral-scout.service\n"
        "left unit corral-scout.lock.timer\n"
        "left unit corral-scout.lock.service\n"
    )


# --- what one script writes and another reads


def test_the_end_that_is_moved_is_the_one_the_watch_sees(box: MakeBox) -> None:
    made = box()
    before = int(time.time())
    assert made.run([f"{ROOT}/bin/extend", "30"]).returncode == 0
    ends_at = int(made.path(f"{ROOT}/expires-at").read_text())
    assert before + 1800 <= ends_at <= int(time.time()) + 1800
    assert made.calls == ["shutdown -P +30 corral: the time limit of scout"]
    options = watch.parsed(
        ["--root", str(made.path(ROOT)), "--unit", "u", "--metrics", "http://127.0.0.1:9/"]
    )
    assert [watch.reason_to_end(options, now_s, 1e9) for now_s in (ends_at - 1, ends_at)] == [
        "",
        "its time limit is reached",
    ]


def test_an_owned_host_is_not_powered_off(box: MakeBox) -> None:
    made = box(rented=False)
    assert made.run([f"{ROOT}/bin/extend", "30"]).returncode == 0
    assert made.calls == []
    assert made.run([f"{ROOT}/bin/extend"]).returncode != 0


def test_after_the_notice_the_phase_is_the_notices_whatever_else_is_said(box: MakeBox) -> None:
    made = box(spot=True)
    made.path(f"{ROOT}/interrupted").write_text("interrupted by EC2: spot notice\n")
    assert made.run([f"{ROOT}/bin/phase", "prepared"]).returncode == 0
    assert made.path(f"{ROOT}/phase").read_text() == "interrupted by EC2: spot notice\n"
    assert last_phase(made.console, "scout").words == "interrupted by EC2: spot notice"


PINS = "aiohttp==3.14.5\nvllm==0.33.0\n"


def lock(python: str = f"{sys.version_info[0]}.{sys.version_info[1]}") -> host.Lock:
    """A lock of two packages, whose wheels the stand-in for the index fills with their pins."""
    hashes = sorted(hashlib.sha256(pin.encode()).hexdigest() for pin in PINS.split())
    digest = hashlib.sha256("".join(f"{one}\n" for one in hashes).encode()).hexdigest()
    return host.Lock(
        python=python, platform="any", locked_on=date(2026, 11, 28), sha256=digest, size_bytes=2, pins=PINS
    )


def locked(box: MakeBox, **changes: Any) -> Any:
    engine = host.Engine(requirement="vllm==0.33.0", lock=lock(**changes))
    return box(hf_token_parameter="", engine=engine)


def test_what_is_locked_is_installed_and_nothing_else(box: MakeBox) -> None:
    made = locked(box)
    done = prepare(made)
    assert done.returncode == 0, done.stderr
    wheels = ["aiohttp-3.14.5-py3-none-any.whl", "vllm-0.33.0-py3-none-any.whl"]
    assert made.path(f"{ROOT}/engine/installed").read_text().split() == wheels
    assert not made.path(f"{ROOT}/wheels").exists()
    quiet = "--quiet --disable-pip-version-check --no-deps"
    files = " ".join(f"{ROOT}/wheels/{name}" for name in wheels)
    assert [call for call in made.calls if " pip " in call] == [
        f"python -m pip download {quiet} --only-binary :all: --dest {ROOT}/wheels --requirement {ROOT}/engine.lock",
        f"python -m pip install {quiet} --no-index {files}",
    ]


@pytest.mark.parametrize(
    ("spoiled", "python", "said"),
    [
        ("vllm", {}, "the packages of the index are not those that were locked"),
        ("", {"python": "3.2"}, "the lock is for Python 3.2; this is "),
    ],
)
def test_another_package_than_the_locked_one_is_not_installed(
    box: MakeBox, spoiled: str, python: dict[str, str], said: str
) -> None:
    made = locked(box, **python)
    made.path("spoiled").write_text(spoiled)
    done = prepare(made)
    assert (done.returncode != 0, said in done.stderr) == (True, True)
    assert not made.path(f"{ROOT}/engine/installed").exists()
    assert not made.path(f"{ROOT}/engine/.complete").exists()
    assert "failed: engine, line" in made.path("dev/console").read_text()
    made.path("spoiled").unlink()
    if not python:
        assert prepare(made).returncode == 0
