"""What root's commands say on a rented box, for fake_aws_cli.py; it is started often, so it imports little."""

import os
import re
import signal
import sys

KEY = "key-of-the-box-CANARY"
START = re.compile(
    r"rm -f( /(opt/corral/|run/corral-)[a-z0-9-]+/(gave-up|ends|first-cause))+\n"
    r'systemctl reset-failed "\$1" 2>/dev/null\n'
    r'systemctl enable "\$1" && exec systemctl --no-block start "\$1"\n'
)

UNIT = re.compile(r"corral-[a-z0-9-]+\.service")


def here(path: str) -> str:
    """Where a file of the box is, in the test's own folder."""
    return f"{os.path.dirname(os.environ['FAKE_AWS_LOG'])}/{os.environ['FAKE_TARGET']}{path}"


def key() -> str:
    """The key of this box's server: what it took, else its own, which may differ from the other boxes'."""
    try:
        with open(here("/opt/corral/t1/secrets.env")) as file:
            return file.read().strip().removeprefix("VLLM_API_KEY=")
    except FileNotFoundError:
        return own_key(os.environ["FAKE_TARGET"]) if "FAKE_OWN_KEYS" in os.environ else KEY


STOPPED = "/stopped"
"""There while its server is ended."""


def started() -> None:
    """Its server runs."""
    if os.path.exists(here(STOPPED)):
        os.unlink(here(STOPPED))


def requests() -> int:
    """How many requests its server has, as the test has it; one ends at each look at its metrics."""
    try:
        with open(here("/requests")) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def own_key(target: str) -> str:
    """What a box makes for itself: 32 bytes that another has not."""
    return target.encode().hex().ljust(64, "0")


def on_the_box(words: list[str]) -> int:
    """Run one command as root on the box; its exit code."""
    match words:
        case ["cat", path] if re.fullmatch(r"/opt/corral/[a-z0-9-]+/secrets\.env", path):
            if "FAKE_NO_KEY" in os.environ:
                print(f"cat: {path}: No such file or directory")
                return 1
            print(f"VLLM_API_KEY={key()}")
        case ["/usr/bin/python3", "-ISBc", script, path, mark, pad] if re.fullmatch(r"[0-9a-f]+", pad):
            os.makedirs(os.path.dirname(here(path)), exist_ok=True)
            own = key()
            with open(os.open(here(path), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(f"VLLM_API_KEY={own}\n")
            os.execvp("python3", ["python3", "-ISBc", script, here(path), here(mark), pad])
        case ["systemctl", "--no-block", "try-restart", unit] if UNIT.fullmatch(unit):
            pass
        case ["test", "!", "-e", mark] if mark == "/opt/corral/t1/key-not-loaded":
            return int(os.path.exists(here(mark)))
        case ["rm", "-f", mark] if mark == "/opt/corral/t1/key-not-loaded":
            if os.path.exists(here(mark)):
                os.unlink(here(mark))
        case ["/usr/bin/python3", "-ISB", heal, "verify", _]:
            if not os.path.exists(here(heal)):
                print(f"/usr/bin/python3: can't open file '{heal}': [Errno 2] No such file or directory")
                return 2
            print(f"read a\n{os.environ['FAKE_VERIFIED']}")
        case ["cat", path] if path.startswith("/opt/corral/"):
            os.execvp("cat", ["cat", here(path)])
        case ["sh", "-c", script, "history", count, kept, waiting] if script.count("\n") == 3:
            os.execvp("sh", ["sh", "-c", script, "history", count, here(kept), here(waiting)])
        case ["sha256sum", "--check", "--status"]:
            there = 'sed "s|  /|  $1/|" | sha256sum --check --status'
            os.execvp("sh", ["sh", "-c", there, "check", here("")])
        case ["sh", "-c", script, "unpack", "/"]:
            if os.environ["FAKE_TARGET"] == os.environ.get("FAKE_FULL"):
                sys.stdin.buffer.read()
                print("tar: opt/corral/t1/bin/heal: Cannot write: No space left on device")
                return 2
            os.makedirs(here("/"), exist_ok=True)
            os.execvp("sh", [*words[:-1], here("/")])
        case ["sh", "-c", script, "start", _] if START.fullmatch(script):
            if os.environ["FAKE_TARGET"] == os.environ.get("FAKE_STRANGER"):
                print("Failed to start corral-t1.service: Unit corral-t1.service is masked.")
                return 1
            started()
        case ["systemctl", "stop", unit] if UNIT.fullmatch(unit):
            if left := requests():
                print(f"{left} requests were cut")
                return 1
            os.makedirs(here("/"), exist_ok=True)
            open(here(STOPPED), "w").close()
        case ["systemctl", "daemon-reload"]:
            pass
        case ["systemctl", "is-active", _]:
            print(os.environ["FAKE_UNIT"])
            return 0 if os.environ["FAKE_UNIT"] == "active" else 3
        case [join, rank, *addresses] if join.endswith("/bin/join"):
            name = join.split("/")[3]
            if os.environ["FAKE_TARGET"] == os.environ.get("FAKE_STRANGER"):
                print(f"corral: {name}: not joined: no interface here has the address {addresses[int(rank)]}")
                return 1
            started()
            print(f"corral: {name}: rank {rank} of {len(addresses)}")
        case [extend, minutes] if extend.endswith("/bin/extend") and minutes.isdecimal():
            if os.environ["FAKE_TARGET"] == os.environ.get("FAKE_STRANGER"):
                print("Failed to set wall message, ignoring: Access denied")
                return 1
        case ["journalctl", *options]:
            print("a line of the log", flush=True)
            if "--follow" in options:
                signal.pause()
        case _:
            print(f"sudo: {words[0]}: command not found")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(on_the_box(sys.argv[1:]))
