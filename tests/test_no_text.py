"""What other programs, files and machines say may be no text: it is told as far as it is, and is no fault of ours."""

import ast
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.targets import licence
from deploy.targets.ec2 import weights_push
from infra import kernel_messages, local_facts, processes, signature, ssh_client, user_systemd
from infra.aws.bucket import Place
from infra.errors import CorralError, UsageError
from infra.onhost import heal, history
from infra.ssh import Host
from serving.probe import probe_options
from serving.quality import harness
from serving.vllm import engine

SAYS = r"printf 'no \377 text\n'"
TOLD = "no \N{REPLACEMENT CHARACTER} text"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make a program of that name, from a line of shell, the only one on the PATH beside the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


Program = Callable[[str, str], None]


def test_the_kernels(program: Program) -> None:
    program("journalctl", r"printf '9.0 box kernel: no \377 text\n9.5 box kernel: Out of memory\n'")
    assert kernel_messages.since(datetime.fromtimestamp(9, UTC)) == f"{TOLD}\nOut of memory"


def test_a_systemds(program: Program) -> None:
    program("systemctl", f"{SAYS}; {SAYS} >&2; exit 3")
    said = user_systemd.asked("status")
    assert (said.returncode, said.stdout, said.stderr) == (3, f"{TOLD}\n", f"{TOLD}\n")


def test_the_ssh_clients_own(program: Program) -> None:
    program("ssh", f"{SAYS} >&2")
    assert ssh_client.version() == TOLD
    program("ssh", r"printf 'hostname no\377text\n'")
    assert Host("gpu-1").address() == "no\N{REPLACEMENT CHARACTER}text"


@pytest.mark.parametrize(
    "asked",
    [
        lambda: Host("gpu-1").address(),
        lambda: Host("gpu-1").forward(8000, "127.0.0.1", 8000),
        lambda: Host("gpu-1").run(["true"]),
        lambda: list(Host("gpu-1").lines(["true"])),
    ],
    ids=["address", "forward", "run", "lines"],
)
def test_the_ssh_clients_complaint(asked: Callable[[], object], program: Program) -> None:
    program("ssh", f"{SAYS} >&2; exit 255")
    with pytest.raises(CorralError) as caught:
        asked()
    assert TOLD in caught.value.message


def test_a_hosts(program: Program) -> None:
    program("ssh", r"""printf 'a banner \377\n'; for line in "$@"; do :; done; exec sh -c "$line" """)
    there = Host("gpu-1")
    done = there.run(["sh", "-c", f"{SAYS}; {SAYS} >&2"])
    assert (done.stdout, done.stderr) == (f"{TOLD}\n", f"{TOLD}\n")
    assert list(there.lines(["sh", "-c", SAYS])) == [TOLD]


@pytest.mark.parametrize("status", [0, 1])
def test_ssh_keygens(status: int, program: Program, tmp_path: Path) -> None:
    program("ssh-keygen", f"{SAYS}; exit {status}")
    for name in ("signers", "signature"):
        (tmp_path / name).touch()
    words = b"", tmp_path / "signature", tmp_path / "signers", "ann", "file"
    if status == 0:
        assert signature.verified(*words) == TOLD
        return
    with pytest.raises(CorralError, match=TOLD):
        signature.verified(*words)


def test_what_root_asks_on_a_host() -> None:
    assert heal.said(["sh", "-c", SAYS]) == f"{TOLD}\n"


def test_a_history_that_a_disk_spoilt(tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(b"no \xff text\n{}\n")
    assert history.already_told(str(tmp_path / "events"), ["{}\n"]) == 1


def test_lm_evals() -> None:
    assert harness.last_line(b"first\nno \xff text\n") == TOLD


def test_a_processs_name() -> None:
    words = r"printf 'no\377text' >/proc/$$/comm; echo; read -r _"
    with subprocess.Popen(["sh", "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        assert processes.name(shell.pid) == "no\N{REPLACEMENT CHARACTER}text"


def test_the_name_of_a_file_that_a_process_has_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    shared = f"7f-8f rw-s 0 00:1a 42 {processes.SHARED_MEMORY}/a"
    (tmp_path / "7" / "maps").write_bytes(b"1f-2f r--p 0 00:1a 41 /tmp/no\xfftext\n" + shared.encode())
    assert list(processes.mapped_inodes(7)) == [42]


def test_a_licences(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b"no \xff text\n" + licence.known()["llama4"].text.lower().encode())
    assert licence.in_folder(tmp_path) == licence.known()["llama4"].names[0]


def test_an_options() -> None:
    with pytest.raises(UsageError, match="--extra-body is no JSON object"):
        probe_options.json_object("--extra-body", "\udcff")


def test_the_shells_about_this_machine(program: Program) -> None:
    program("sh", f"{SAYS} >&2; exit 1")
    with pytest.raises(CorralError, match=f"This machine's facts cannot be read: {TOLD}"):
        local_facts.facts()


def test_uvs(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("uv", f"{SAYS} >&2; exit 1")
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(tmp_path / "bin" / "uv"))
    assert engine.run_uv(("pip", "install"), print) == TOLD


def test_the_aws_clis(program: Program, tmp_path: Path) -> None:
    program("aws", f"{SAYS} >&2; exit 1")
    with pytest.raises(CorralError, match=f"ended with 1: {TOLD}"):
        weights_push.upload(tmp_path, (), Place(bucket="a", prefix="b/"), "us-east-1")


def test_every_program_that_is_read_as_text_may_say_what_is_none() -> None:
    """But for what root asks of systemd and nftables on a host, which write ASCII."""
    root = Path(__file__).parent.parent
    files = [file for top in ("deploy", "serving", "infra") for file in (root / top).rglob("*.py")]
    found = []
    for file in sorted(set(files) - {*(root / "infra/onhost").iterdir()}):
        for call in ast.walk(ast.parse(file.read_bytes())):
            named = {word.arg for word in call.keywords} if isinstance(call, ast.Call) else set()
            if {"text", "encoding", "universal_newlines"} & named and {
                "stdout",
                "stderr",
                "capture_output",
            } & named:
                found.append((file.relative_to(root).as_posix(), "errors" in named))
    assert len(found) >= 7
    assert [name for name, is_said in found if not is_said] == []
