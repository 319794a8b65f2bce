"""What root's commands say on a rented box, for fake_aws_cli.py; it is started often, so it imports little."""

import os
import re
import shlex
import signal
import sys

KEY = "key-of-the-box-CANARY"
NAME = os.environ.get("FAKE_NAME", "t1")
"""Of the deployment whose box it is."""
# Where release.sh looks; what it searches units for stays as it is in them.
PLACES = re.compile(r"^((?:root|releases|kept|trial)=|    chmod a\+rx )/", re.MULTILINE)
START = re.compile(
    r"rm -f( /(opt/corral/|run/corral-)[a-z0-9-]+/(gave-up|ends|first-cause))+\n"
    r'systemctl reset-failed "\$1" 2>/dev/null\n'
    r'systemctl enable "\$1" && exec systemctl --no-block start "\$1"\n'
)

ANY_UNIT = re.compile(r"corral-[a-z0-9-]+\.service")


def here(path: str) -> str:
    """Where a file of the box is, in the test's own folder."""
    return f"{os.path.dirname(os.environ['FAKE_AWS_LOG'])}/{os.environ['FAKE_TARGET']}{path}"


def key() -> str:
    """The key of this box's server: what it took, else its own, which may differ from the other boxes'."""
    try:
        with open(here(f"/opt/corral/{NAME}/secrets.env")) as file:
            return file.read().strip().removeprefix("VLLM_API_KEY=")
    except FileNotFoundError:
        return own_key(os.environ["FAKE_TARGET"]) if "FAKE_OWN_KEYS" in os.environ else KEY


STOPPED = "/stopped"
"""There while its server is ended."""
SERVING = "/serving"
"""Which release its server is of; absent for that of the first boot."""
UNIT, BRING = f"corral-{NAME}.service", f"corral-{NAME}.bring.service"
CONTROL, KEPT = "/run/systemd/system.control", "/etc/systemd/system"


def boot(folder: str, user_data: str) -> None:
    """Make a box of what it is told, its engine and weights in place: as cloud-init does."""
    import yaml

    for file in yaml.safe_load(user_data)["write_files"]:
        path = f"{folder}{file['path']}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as written:
            written.write(file["content"])
    prepare(f"{folder}/opt/corral/{NAME}")


def prepare(root: str) -> str:
    """Prepare a release as bin/prepare does, by its setup.env; the last word."""
    with open(f"{root}/setup.env") as file:
        told = {key: value for key, _, value in (word.partition("=") for word in shlex.split(file.read()))}
    if told["ENGINE_REQUIREMENT"] == os.environ.get("FAKE_NO_ENGINE"):
        return "failed: engine, line 104"
    if told["ENGINE_LOCK_SHA256"] and not os.path.exists(f"{root}/engine.lock"):
        return "failed: engine, line 81"
    for needed in ("prepare", "phase", *(["fetch"] if told["WEIGHTS"].startswith("hf://") else [])):
        if not os.path.exists(f"{root}/bin/{needed}"):
            return f"failed: {needed}, line 1"
    mark = " ".join(
        told[key] for key in ("ENGINE_PYTHON", "ENGINE_REQUIREMENT", "ENGINE_WHEELHOUSE", "ENGINE_ARCHIVE")
    )
    for path, content in (
        ("engine/.complete", f"{mark}\n"),
        ("model/config.json", "{}"),
        ("model.complete", f"{told['WEIGHTS']}\n"),
    ):
        os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
        with open(f"{root}/{path}", "w") as file:
            file.write(content)
    return "prepared"


def unit_text(unit: str) -> str:
    """A unit as systemd reads it: what was turned to goes first."""
    for folder in (CONTROL, "/run/systemd/system", KEPT):
        if os.path.exists(path := here(f"{folder}/{unit}")):
            with open(path) as file:
                return file.read()
    return ""


def release_of(text: str) -> str:
    """Which release a unit is of; nothing for that of the first boot."""
    named = re.search(rf"/opt/corral/\.releases/{NAME}/(\w+)/", text)
    return named[1] if named else ""


def start(unit: str) -> int:
    """Start the server by its unit, which refuses an engine that is not whole."""
    text = unit_text(unit)
    for condition in re.findall(r"^ConditionPathExists=([^!].*)$", text, re.MULTILINE):
        if not os.path.exists(here(condition)):
            print(
                f"{unit} was skipped because of an unmet condition check (ConditionPathExists={condition})."
            )
            return 1
    if not os.path.exists(here(STOPPED)):
        return 0
    with open(here(SERVING), "w") as file:
        file.write(release_of(text))
    started()
    return 0


def bring() -> int:
    """Prepare a release as its passing unit does, which must have no way to the console."""
    text = unit_text(BRING)
    if "InaccessiblePaths=/dev/console" not in text:
        print(f"Failed to start {BRING}: Unit {BRING} not found.")
        return 5
    root = here(f"/opt/corral/.releases/{NAME}/{release_of(text)}")
    with open(f"{root}/phase", "w") as file:
        file.write(f"{prepare(root)}\n")
    return 0


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
        case ["systemctl", "--no-block", "try-restart", unit] if ANY_UNIT.fullmatch(unit):
            pass
        case ["sh", "-c", script, "release", *asked] if len(asked) == 5:
            os.execvp("sh", ["sh", "-c", PLACES.sub(rf"\1{here('/')}", script), "release", *asked])
        case ["sh", "-c", script, "room", *asked] if len(asked) == 5:
            os.makedirs(here("/opt"), exist_ok=True)
            places = [here(path) for path in asked[:3]]
            os.execvp("sh", ["sh", "-c", script.replace("/opt", here("/opt")), "room", *places, *asked[3:]])
        case ["systemctl", "--no-block", "start", unit] if unit == BRING:
            return bring()
        case ["systemctl", "--no-block", "start", unit] if unit == UNIT:
            return start(unit)
        case ["systemctl", "enable", "--quiet", unit] if unit == UNIT:
            pass
        case ["systemctl", "reset-failed", unit] if unit == UNIT:
            pass
        case ["systemctl", "is-active", unit] if unit == BRING:
            print("inactive")
            return 3
        case [phase, "prepared"] if phase == f"/opt/corral/{NAME}/bin/phase":
            print(f"corral: {NAME}: prepared")
        case ["test", "-e", path] if path == f"/opt/corral/{NAME}/record.json":
            return int(not os.path.exists(here(path)))
        case ["rm", "-f", path] if re.fullmatch(rf"/opt/corral/\.releases/{NAME}/\w+/phase", path):
            if os.path.exists(here(path)):
                os.unlink(here(path))
        case ["test", "!", "-e", mark] if mark == f"/opt/corral/{NAME}/key-not-loaded":
            return int(os.path.exists(here(mark)))
        case ["rm", "-f", mark] if mark == f"/opt/corral/{NAME}/key-not-loaded":
            if os.path.exists(here(mark)):
                os.unlink(here(mark))
        case ["/usr/bin/python3", "-ISB", heal, "verify", _]:
            if not os.path.exists(here(heal)):
                print(f"/usr/bin/python3: can't open file '{heal}': [Errno 2] No such file or directory")
                return 2
            print(f"read a\n{os.environ['FAKE_VERIFIED']}")
        case ["/usr/bin/python3", "-ISB", heal, "note", name, event, cause] if (
            name == NAME and os.path.exists(here(heal))
        ):
            with open(here("/noted"), "a") as file:
                file.write(f"{event}: {cause}\n")
            print(f"corral: {event}: {cause}")
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
                print(f"tar: opt/corral/{NAME}/bin/heal: Cannot write: No space left on device")
                return 2
            os.makedirs(here("/"), exist_ok=True)
            os.execvp("sh", [*words[:-1], here("/")])
        case ["sh", "-c", script, "start", unit] if START.fullmatch(script):
            if os.environ["FAKE_TARGET"] == os.environ.get("FAKE_STRANGER"):
                print(f"Failed to start {UNIT}: Unit {UNIT} is masked.")
                return 1
            return start(unit)
        case ["systemctl", "stop", unit] if ANY_UNIT.fullmatch(unit):
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
