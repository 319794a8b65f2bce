"""The SSH door against a stand-in for `ssh`: it runs what would reach the login shell, or fails as OpenSSH does."""

import errno
import hashlib
import math
import os
import selectors
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from deploy.cli.main import run
from deploy.targets.ssh import egress
from infra import bounded_process, deadline, ssh
from infra.bounded_process import Patience
from infra.errors import AuthError, CorralError, HostError, UsageError
from infra.host import HostFile
from infra.printable import printable
from infra.ssh import Host
from infra.transfer import copy_files, manifest, remote_manifest

# The last argument is the line the login shell over there would get.
RUNS_HERE = """\
#!/bin/sh
echo "Welcome! $NOISE"
for line in "$@"; do :; done
exec sh -c "$line"
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that runs commands on this machine, after a banner."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return write(folder / "ssh", RUNS_HERE)


def write(path: Path, script: str) -> Path:
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    "argument",
    ["plain", "a b", "it's", '"', "$(touch owned)", "`id`", "ünïcode", "new\nline", "", "-n", "*", "\\"],
)
def test_every_argument_arrives_as_it_is(fake_ssh: Path, argument: str) -> None:
    assert Host("gpu-1").run(["printf", "%s|", argument, "end"]).stdout == f"{argument}|end|"


def test_noise_before_the_output_is_left_out(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE", "Authorised use only.\nclock_s nonsense\ncpu_count 99999")
    facts = Host("gpu-1").facts()
    assert facts.cpu_count == os.cpu_count()
    assert "Welcome" not in facts.model_dump_json()


def test_standard_input_arrives_whole(fake_ssh: Path) -> None:
    assert Host("gpu-1").run(["wc", "-c"], stdin=b"x" * 300_000).stdout.strip() == "300000"


def test_the_client_is_strict_and_never_asks(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        fake_ssh, '#!/bin/sh\nfor line in "$@"; do :; done\necho "${line%%;*}" | cut -d" " -f2\necho "$*"\n'
    )
    monkeypatch.setenv("CORRAL_SSH_CONFIG", "/etc/my config")
    said = Host("ops@gpu-1").run(["true"]).stdout
    for words in ("-F /etc/my config", "BatchMode=yes", "StrictHostKeyChecking=yes", "-- ops@gpu-1 echo"):
        assert words in said


@pytest.mark.parametrize(
    "destination",
    ["", "-oProxyCommand=id", "a b", "a'b", "$(id)", "a;b", "höst", "a@b@c", "user@", "@host", "a\nb"],
)
def test_what_cannot_be_a_host_is_refused_before_ssh_is_asked(destination: str) -> None:
    with pytest.raises(UsageError, match="is not a host that ssh can reach"):
        Host(destination)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("gpu-1,ops@gpu-2", "Name each by itself: gpu-1 ops@gpu-2"),
        ("gpu-1, gpu-2 gpu-3", "Name each by itself: gpu-1 gpu-2 gpu-3"),
        ("gpu-1,", "Give gpu-1, ubuntu@gpu-1 or a name from ~/.ssh/config."),
        ("gpu-1,$(id)", "Give gpu-1, ubuntu@gpu-1 or a name from ~/.ssh/config."),
    ],
)
def test_several_hosts_in_one_word_are_told_apart(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        Host(typed)
    assert (error.value.message, error.value.hint) == (f"{typed!r} is not a host that ssh can reach.", hint)


@pytest.mark.parametrize(
    "destination", ["gpu-1", "ops@10.0.0.5", "ssh://ops@gpu:2222", "fe80::1%eth0", "[::1]"]
)
def test_what_ssh_can_reach_is_taken(destination: str) -> None:
    assert Host(destination).destination == destination


@pytest.mark.parametrize(
    ("complaint", "kind", "message"),
    [
        (
            "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            HostError,
            "The host key of gpu-1 is not the one you know: it was installed anew, or somebody is in between.",
        ),
        (
            "No ED25519 host key is known for gpu-1 and you have requested strict checking.\n"
            "Host key verification failed.",
            HostError,
            "gpu-1 is not in your known_hosts, and corral never accepts an unknown host key.",
        ),
        ("ops@gpu-1: Permission denied (publickey,password).", AuthError, "gpu-1 refuses your key."),
        (
            "ssh: Could not resolve hostname gpu-1: Name or service not known",
            HostError,
            "There is no host called gpu-1.",
        ),
        (
            "ssh: connect to host gpu-1 port 22: Connection refused",
            HostError,
            "gpu-1 cannot be reached: ssh: connect to host gpu-1 port 22: Connection refused.",
        ),
    ],
)
def test_what_openssh_says_becomes_one_sentence(
    fake_ssh: Path, complaint: str, kind: type[CorralError], message: str
) -> None:
    write(fake_ssh, f"#!/bin/sh\ncat >&2 <<'EOF'\n{complaint}\nEOF\nexit 255\n")
    with pytest.raises(kind) as error:
        Host("gpu-1").run(["true"])
    assert error.value.message == message
    assert "gpu-1" in error.value.hint


def test_a_login_that_never_runs_our_command_is_told_by_its_own_words(fake_ssh: Path) -> None:
    write(fake_ssh, "#!/bin/sh\necho 'This account is currently not available.'\n")
    with pytest.raises(HostError, match="gpu-1 cannot be reached: This account is currently not available."):
        Host("gpu-1").run(["true"])


def test_a_command_that_fails_over_there_is_no_connection_problem(fake_ssh: Path) -> None:
    with pytest.raises(HostError, match=r"sh failed on gpu-1 with code 3: no space left\."):
        Host("gpu-1").run(["sh", "-c", "echo no space left >&2; exit 3"])
    assert Host("gpu-1").run(["false"], check=False).code == 1


def test_a_host_that_does_not_answer_in_time_is_given_up(fake_ssh: Path) -> None:
    write(fake_ssh, "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(HostError, match="gpu-1 did not answer within 0 s"):
        Host("gpu-1").run(["true"], timeout_s=0.2)


def test_without_root_commands_go_through_sudo(fake_ssh: Path) -> None:
    sudo = write(fake_ssh.with_name("sudo"), '#!/bin/sh\necho "sudo: $*"\n')
    host = Host("gpu-1")
    host.privilege = "sudo"
    assert host.run(["id", "-u"], as_root=True).stdout == "sudo: -n -- id -u\n"
    assert sudo.exists()


def test_files_are_written_with_their_modes(fake_ssh: Path, tmp_path: Path) -> None:
    path = tmp_path / "opt" / "a 'b'" / "run"
    Host("gpu-1").write([HostFile(path=str(path), content="#!/bin/sh\nünï\n", mode="0755")])
    assert path.read_text() == "#!/bin/sh\nünï\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_lines_come_as_they_are_written_and_end_with_the_reader(fake_ssh: Path) -> None:
    lines = Host("gpu-1").lines(["sh", "-c", "echo one; echo two; exec sleep 60"])
    assert [next(lines), next(lines)] == ["one", "two"]
    lines.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("echo no such unit >&2; exit 3", "sh failed on gpu-1 with code 3: no such unit."),
        ("kill -KILL $$", "sh failed on gpu-1 with code -9: it said nothing."),
    ],
)
def test_a_command_that_fails_after_its_last_line_is_told(fake_ssh: Path, end: str, message: str) -> None:
    lines = Host("gpu-1").lines(["sh", "-c", f"echo one; {end}"])
    assert next(lines) == "one"
    with pytest.raises(HostError) as error:
        next(lines)
    assert error.value.message == message


def test_no_line_at_all_of_a_host_that_cannot_be_reached_is_no_empty_log(fake_ssh: Path) -> None:
    write(
        fake_ssh, "#!/bin/sh\necho 'ssh: connect to host gpu-1 port 22: Connection refused' >&2\nexit 255\n"
    )
    with pytest.raises(HostError, match="gpu-1 cannot be reached: ssh: connect to host gpu-1 port 22: Conn"):
        list(Host("gpu-1").lines(["journalctl"]))
    write(fake_ssh, "#!/bin/sh\n:\n")
    with pytest.raises(HostError, match="gpu-1 cannot be reached: it said nothing"):
        list(Host("gpu-1").lines(["journalctl"]))


def test_a_configuration_that_ssh_cannot_read_is_told_and_names_no_address(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh.unlink()
    (fake_ssh.parent / "config").write_text("Host gpu-1\n HostNaem 10.0.0.5\n")
    monkeypatch.setenv("CORRAL_SSH_CONFIG", str(fake_ssh.parent / "config"))
    with pytest.raises(
        HostError, match=r"gpu-1 cannot be reached: .* terminating, 1 bad configuration options"
    ):
        Host("gpu-1").address()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sh", "-c", "echo disk full >&2; exit 2"], "sh failed on gpu-1 with code 2: disk full."),
        (["sh", "-c", "kill -KILL $$"], "sh failed on gpu-1 with code -9: it said nothing."),
    ],
)
def test_a_reader_that_leaves_before_the_end_says_why_by_its_own_end(
    fake_ssh: Path, command: list[str], message: str
) -> None:
    def pack(pipe: IO[bytes]) -> None:
        while True:
            pipe.write(b"x" * 2**16)

    with pytest.raises(HostError) as error:
        Host("gpu-1").send(pack, command)
    assert error.value.message == message


# A host that stops: every wait has its end


def endless(pipe: IO[bytes]) -> None:
    while True:
        pipe.write(b"x" * 2**16)


def of_a_child(pipe: IO[bytes]) -> None:
    with pytest.raises(subprocess.CalledProcessError) as ended:
        subprocess.run(["cat", "/dev/zero"], stdout=pipe, check=True)
    raise BrokenPipeError(ended.value.returncode)


STOPPED = "gpu-1 took less than 64 KiB of what is sent to it in 0.2 s."


@pytest.mark.parametrize("pack", [endless, of_a_child])
@pytest.mark.parametrize("reads", ["exec sleep 60", "head -c 1000000 >/dev/null; exec sleep 60"])
def test_a_host_that_stops_reading_is_given_up(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[IO[bytes]], None], reads: str
) -> None:
    monkeypatch.setattr(ssh, "TAKEN_WITHIN_S", 0.2)
    with pytest.raises(HostError) as caught:
        Host("gpu-1").send(pack, ["sh", "-c", reads])
    assert caught.value.message == STOPPED
    assert caught.value.hint.startswith("Its disk may be full or hung; look there: ssh gpu-1 df -h")


def test_a_transfer_that_a_host_stops_is_told_by_the_verb_that_copies(
    fake_ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "shard").write_bytes(b"x" * 2**20)
    monkeypatch.setattr(ssh, "TAKEN_WITHIN_S", 0.2)
    write(fake_ssh.with_name("tar"), "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(HostError) as caught:
        copy_files(Host("gpu-1"), tmp_path / "here", ["shard"], str(tmp_path / "there"))
    assert caught.value.message == STOPPED


class Steps(selectors.SelectSelector):
    """Finds the other side ready so many times, a second later each time."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.now_s, self.times = 0.0, times

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += 1
        return [self.now_s] if self.now_s <= self.times else []


def test_a_piece_has_its_time_however_it_drips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda descriptor, data: 1)
    steps = Steps(5)
    with open(tmp_path / "into", "wb") as into:
        bounded_process.give(b"piece", into, steps, Patience(4.5, lambda: steps.now_s))
        assert steps.now_s == 5
        with pytest.raises(bounded_process.NotTaken):
            bounded_process.give(b"piece", into, steps, Patience(4.5, lambda: steps.now_s))


@pytest.mark.parametrize(
    "wrong",
    [
        FileNotFoundError("shard"),
        # A folder of the network whose server is gone, a disk of this machine, a program that packs.
        TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
        OSError(errno.ENOSPC, "No space left on device"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        subprocess.TimeoutExpired("tar", 3),
        bounded_process.TooMuch(),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
@pytest.mark.parametrize("first", [b"", b"x" * 1_000_000], ids=["nothing", "a part"])
def test_what_goes_wrong_here_while_it_is_sent_is_raised_as_it_is(
    fake_ssh: Path, wrong: Exception, first: bytes
) -> None:
    def pack(pipe: IO[bytes]) -> None:
        pipe.write(first)
        raise wrong

    with pytest.raises(type(wrong)) as raised:
        Host("gpu-1").send(pack, ["cat"])
    assert raised.value is wrong


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.ESTALE, errno.EIO, errno.EPIPE, errno.ENOSPC])
@pytest.mark.parametrize("fails", ["while it is hashed", "while it is sent"])
def test_a_file_that_cannot_be_read_here_is_no_fault_of_the_hosts(
    fake_ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "shard").write_bytes(b"x" * 2**17)

    def read(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    if fails == "while it is sent":
        monkeypatch.setattr(tarfile.TarFile, "addfile", read)
    else:
        monkeypatch.setattr(hashlib, "file_digest", read)
    with pytest.raises(HostError) as caught:
        copy_files(Host("gpu-1"), here, ["shard"], str(tmp_path / "there"))
    assert (caught.value.message, caught.value.hint) == (
        f"{here}/shard cannot be read on this machine: {os.strerror(number)}.",
        f"Read it by hand: sha256sum {here}/shard; then run the command again.",
    )


def test_a_command_that_has_all_its_input_and_does_not_end_is_given_up(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "ENDED_WITHIN_S", 0.2)
    with pytest.raises(HostError, match="gpu-1 did not answer within 0 s"):
        Host("gpu-1").send(lambda pipe: None, ["sh", "-c", "cat >/dev/null; exec sleep 60"])


@pytest.mark.parametrize("says", ["exec sleep 60", "echo Welcome; exec sleep 60", "exec >&-; exec sleep 60"])
@pytest.mark.parametrize("is_followed", [False, True])
def test_a_login_that_never_ends_ends_the_log(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, says: str, is_followed: bool
) -> None:
    monkeypatch.setattr(ssh, "COMMAND_TIMEOUT_S", 0.3)
    write(fake_ssh, f"#!/bin/sh\n{says}\n")
    with pytest.raises(HostError, match="gpu-1 did not answer within 0 s"):
        list(Host("gpu-1").lines(["true"], is_followed))


@pytest.mark.parametrize(("is_followed", "left_s"), [(False, 120), (True, math.inf)])
def test_only_a_log_that_is_followed_may_wait_for_ever(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, is_followed: bool, left_s: float
) -> None:
    kept = Patience(120, lambda: 0.0)
    monkeypatch.setattr(ssh, "Patience", lambda most_s: kept)
    assert list(Host("gpu-1").lines(["echo", "one"], is_followed)) == ["one"]
    assert kept.left_s == left_s


def test_a_log_that_is_not_followed_has_an_end(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MOST_LINES_BYTES", 1000)
    lines = Host("gpu-1").lines(["yes"])
    with pytest.raises(HostError) as caught:
        list(lines)
    assert caught.value.message == ENDLESS
    followed = Host("gpu-1").lines(["yes"], is_followed=True)
    assert [next(followed) for _ in range(1000)] == ["y"] * 1000
    followed.close()  # type: ignore[attr-defined]


def test_of_what_a_tunnel_says_a_little_is_kept(fake_ssh: Path) -> None:
    write(
        fake_ssh,
        "#!/bin/sh\necho 'no route' >&2\n"
        'case "$*" in *-fNM*) head -c 99999999 /dev/zero >&2;; esac\nexit 255\n',
    )
    with pytest.raises(HostError) as caught:
        Host("gpu-1").forward(1, "127.0.0.1", 8000)
    assert caught.value.message == "gpu-1 cannot be reached: no route."


def test_a_tunnel_that_is_there_is_taken_and_its_client_is_told_to_exit(
    fake_ssh: Path, tmp_path: Path
) -> None:
    """Each tunnel is a client of its own, behind a socket that bears its port."""
    write(fake_ssh, f'#!/bin/sh\necho "$*" >>"{tmp_path}/asked"\n')
    host = Host("gpu-1")
    host.forward(7001, "127.0.0.1", 8000)
    host.close_forward(7001)
    host.close()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.rpartition(" -O ")[2] for line in asked] == [
        "check -- gpu-1",
        "exit -- gpu-1",
        "exit -- gpu-1",
    ]
    assert ["/7001-%C" in line for line in asked] == [True, True, False]


def test_a_client_that_hangs_or_is_not_there_is_told(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONTROL_TIMEOUT_S", 0.2)
    write(fake_ssh, "#!/bin/sh\nexec sleep 60\n")
    host = Host("gpu-1")
    host.close_forward(1)  # ends a thing, so it goes on
    with pytest.raises(HostError) as caught:
        host.address()
    assert (caught.value.message, caught.value.hint) == (
        "OpenSSH does not tell from its configuration who gpu-1 is.",
        "Try it by hand: ssh -G gpu-1",
    )
    monkeypatch.setenv("PATH", str(fake_ssh.parent / "none"))
    host.close_forward(1)
    for ask in (host.address, lambda: host.forward(1, "127.0.0.1", 8000)):
        with pytest.raises(HostError, match="There is no ssh on this machine"):
            ask()


def folder_of(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


def test_files_are_copied_once_and_a_changed_one_again_and_no_other(fake_ssh: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there $(x)"
    (here / "sub").mkdir(parents=True)
    (here / "sub" / "a b'\nc\\d").write_text("1")
    (here / "blob").write_text("2")
    (here / "blob").chmod(0o600)
    (here / "link").symlink_to("blob")
    host = Host("gpu-1")
    names = sorted(folder_of(here))
    (here / "id_rsa").write_text("a key")
    assert copy_files(host, here, names, str(there)) == 3
    assert folder_of(there) == {name: content for name, content in folder_of(here).items() if name in names}
    assert stat.S_IMODE((there / "blob").stat().st_mode) == 0o644
    assert copy_files(host, here, names, str(there)) == 0
    (there / "blob").write_text("flipped")
    assert copy_files(host, here, names, str(there)) == 1
    assert (there / "blob").read_text() == "2"


NASTY = (
    "a\\nb", "a\\\\nb", "a\\", "\\", "\\n", "a\nb", "\n", "a\\\nb", "a\\rb", "a\rb", "a\r\nb", "\\\\", "a\\tb",
    "a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\u2028b", "a  b", " *a", "-n", "*", "a  \\nb", "\u00fc",
)  # fmt: skip


def test_a_file_is_known_again_on_the_host_whatever_it_is_called(fake_ssh: Path, tmp_path: Path) -> None:
    """As sha256sum there writes names: all lines of it are one file's each."""
    for name in NASTY:
        (tmp_path / "here").mkdir(exist_ok=True)
        (tmp_path / "here" / name).write_text(f"content of {name!r}")
    host, there = Host("gpu-1"), str(tmp_path / "there")
    assert copy_files(host, tmp_path / "here", NASTY, there) == len(NASTY)
    assert remote_manifest(host, there) == manifest(tmp_path / "here", NASTY)
    assert copy_files(host, tmp_path / "here", NASTY, there) == 0


def test_a_file_that_arrives_changed_is_found(fake_ssh: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "shard").write_text("weights")
    broken = 'case $1 in -x) cat >/dev/null; mkdir -p "$4"; echo weightz >"$4/shard";; *) exec /bin/tar "$@";; esac'
    write(fake_ssh.with_name("tar"), f"#!/bin/sh\n{broken}\n")
    with pytest.raises(HostError, match="shard is not the same in gpu-1:.* as here after it was copied"):
        copy_files(Host("gpu-1"), tmp_path / "here", ["shard"], str(tmp_path / "there"))


# What floods us, ended at its bound


ENDLESS = "gpu-1 says more than anything we ask is answered with."


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was read of what clients said, piece by piece."""
    sizes: list[int] = []
    real = os.read

    def counting(descriptor: int, most: int) -> bytes:
        piece = real(descriptor, most)
        sizes.append(len(piece))
        return piece

    monkeypatch.setattr(os, "read", counting)
    return sizes


@pytest.mark.parametrize("command", ["yes", "yes >&2", "yes | tr -d '\\n'", "yes >&2 & yes"])
def test_a_host_that_floods_is_ended_at_the_bound(
    fake_ssh: Path, read_bytes: list[int], command: str
) -> None:
    with pytest.raises(HostError) as caught:
        Host("gpu-1").run(["sh", "-c", command])
    assert caught.value.message == ENDLESS
    assert bounded_process.MOST_BYTES < sum(read_bytes) <= bounded_process.MOST_BYTES + 2 * 65536


@pytest.mark.parametrize("says", ["yes", "yes >&2", "head -c 99999999 /dev/zero"])
def test_a_login_that_floods_never_comes_to_our_command(fake_ssh: Path, says: str) -> None:
    write(fake_ssh, f"#!/bin/sh\n{says}\n")
    with pytest.raises(HostError) as caught:
        Host("gpu-1").run(["true"])
    assert caught.value.message == ENDLESS
    if says != "yes >&2":  # what a stream of lines complains of is read aside, however long it is
        with pytest.raises(HostError) as caught:
            list(Host("gpu-1").lines(["true"]))
        assert caught.value.message == ENDLESS


def test_a_line_without_an_end_comes_in_pieces(fake_ssh: Path) -> None:
    lines = Host("gpu-1").lines(["sh", "-c", "yes | tr -d '\\n'"])
    assert (next(lines), len(next(lines))) == ("y" * 1024 * 1024, 1024 * 1024)
    lines.close()  # type: ignore[attr-defined]


def test_of_a_flood_of_complaints_the_end_is_kept(fake_ssh: Path) -> None:
    flood = "head -c 9999999 /dev/zero >&2; printf '\\nno \\033[2Jroom\\n' >&2; exit 3"
    with pytest.raises(HostError) as sent:
        Host("gpu-1").send(lambda pipe: None, ["sh", "-c", flood])
    with pytest.raises(HostError) as followed:
        list(Host("gpu-1").lines(["sh", "-c", flood]))
    message = "sh failed on gpu-1 with code 3: no �[2Jroom."
    assert (sent.value.message, followed.value.message) == (message, message)
    loud = ["sh", "-c", "head -c 9999999 /dev/zero >&2"]
    with subprocess.Popen(loud, stderr=subprocess.PIPE) as process:
        assert len(bounded_process.LastWords(process.stderr).text()) == bounded_process.LAST_BYTES


def test_a_complaint_is_told_by_one_line_of_it(fake_ssh: Path) -> None:
    with pytest.raises(HostError) as caught:
        Host("gpu-1").run(["sh", "-c", "head -c 999999 /dev/zero | tr '\\0' x >&2; exit 3"])
    assert caught.value.message == f"sh failed on gpu-1 with code 3: {'x' * 297}."


def test_a_host_gets_no_more_than_what_is_left(fake_ssh: Path) -> None:
    with deadline.within(0.2), pytest.raises(HostError, match="gpu-1 did not answer within 0 s"):
        Host("gpu-1").run(["sleep", "60"])


@pytest.mark.parametrize("more", ["hostname", "the list of what it carries"])
def test_what_a_host_says_of_itself_is_short(
    more: str,
    fake_ssh: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "facts").write_text((Path(__file__).parent / "data" / "hosts" / "debian.txt").read_text())
    words = 'for line in "$@"; do :; done; eval "${line%%;*}"; case $line in *is-active*) is_list=yes;; esac'
    long = "head -c 2000000 /dev/zero | tr '\\0' x"
    flood = {
        "hostname": f"printf 'hostname '; {long}; echo",
        "the list of what it carries": f'[ -z "$is_list" ] || {long}',
    }
    write(fake_ssh, f"#!/bin/sh\n{words}\ncat {tmp_path}/facts\n{flood[more]}\n")
    assert run(["hosts", "show", "gpu-1"]) == 11
    assert capsys.readouterr().err.startswith(f"error: {ENDLESS}")


@pytest.mark.parametrize(
    ("said", "asker"),
    [
        ("192.0.2.7", "192.0.2.7:9"),
        ("fe80::7%eth0", "[fe80::7]:9"),
        ("", None),
        ("--help", None),
        ("a b", None),
        ("1.2.3.4\n5.6.7.8", None),
        ("x" * 200_000, None),
    ],
    ids=["IPv4", "IPv6", "nothing", "an option", "words", "two", "a flood"],
)
def test_where_we_come_from_is_an_address_or_is_not_tried(
    said: str, asker: str | None, fake_ssh: Path, tmp_path: Path
) -> None:
    (tmp_path / "said").write_text(said)
    words = 'for line in "$@"; do :; done; eval "${line%%;*}"'
    write(fake_ssh, f"#!/bin/sh\n{words}\ncat {tmp_path}/said\n")
    assert egress.default_destinations(Host("gpu-1")) == (*egress.PUBLIC, *([asker] if asker else []))


def test_an_ssh_that_cannot_be_started_is_told(fake_ssh: Path) -> None:
    with pytest.raises(HostError) as caught:
        Host("gpu-1").run(["echo", "x" * 200_000])
    message = "ssh cannot be started on this machine: Argument list too long."
    assert (caught.value.message, caught.value.hint) == (message, "Try it by hand: ssh -V")


def test_a_host_that_comes_last_is_told_by_the_time_of_all(fake_ssh: Path) -> None:
    clock = iter([0.0, 89.9])
    with deadline.within(90, lambda: next(clock)), pytest.raises(HostError) as caught:
        Host("gpu-1").run(["sleep", "60"])
    assert caught.value.message == "gpu-1 did not answer within 90 s."


def test_what_a_host_says_of_itself_moves_no_cursor(
    fake_ssh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (Path(__file__).parent / "data" / "hosts" / "debian.txt").read_text()
    (tmp_path / "facts").write_text(said.replace("bookworm", "\x1b[2J\x9b\u202e\x7f\u2028 yes"))
    words = 'for line in "$@"; do :; done; eval "${line%%;*}"'
    write(fake_ssh, f"#!/bin/sh\n{words}\ncat {tmp_path}/facts\nprintf 'up\\033]0;x\\007 active\\n'\n")
    assert run(["hosts", "show", "gpu-1"]) == 0
    shown = capsys.readouterr().out
    assert printable(shown) == shown
    assert "Debian GNU/Linux 12 (�[2J���, Linux" in shown
    assert run(["hosts", "show", "gpu-1", "--json"]) == 0
    record = capsys.readouterr().out
    assert (printable(record), "\\u001b[2J" in record) == (record, True)
