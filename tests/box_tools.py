"""The programs that root's scripts call on a host, for tests/fake_box.py: NAME ARGUMENT...

Each notes its call, refuses what the real program would refuse, and does as little as what comes after it needs. The
host is the folder $BOX. Standard library only, and what few of them need is imported there: a start is most of a call.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def start(program: str) -> str:
    """How a shell starts such a program: as a module, which is compiled once and not by each of a thousand calls."""
    import shlex

    begin = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {program}; {program}.main()"
    )
    return shlex.join([sys.executable, "-ISc", begin])


def main() -> None:
    """Be the program that was called."""
    box, (name, *arguments) = Path(os.environ["BOX"]), sys.argv[1:]
    note(box, name, arguments)
    if name in TOOLS:
        TOOLS[name](box, arguments)
    else:  # a real one, which is here to fail when it is told to
        os.execv(f"/usr/bin/{name}", [name, *arguments])


def note(box: Path, name: str, arguments: list[str]) -> None:
    """Note a call, or end here when it was told to fail."""
    call = " ".join([name, *("SCRIPT" if "\n" in word else word for word in arguments)]).replace(str(box), "")
    with (box / "calls").open("a") as calls:
        calls.write(f"{call}\n")
    fails = box / "fails"
    if fails.exists() and call.startswith(tuple(fails.read_text().splitlines())):
        sys.exit(f"{name}: it was told to fail")


def strict(prog: str) -> "ArgumentParser":
    """Takes no shortened option; exits with 2 for what it does not know."""
    from argparse import ArgumentParser

    class Strict(ArgumentParser):
        def __init__(self, prog: str, **_: object) -> None:
            super().__init__(prog, allow_abbrev=False, add_help=False)

    return Strict(prog)


def host_python(box: Path, arguments: list[str]) -> None:
    """The host's own interpreter: it can make an environment, and say whether it could; the proof has its answers."""
    if arguments[:2] == ["-I", "-"] and arguments[2].endswith((".gateway", ".listener")):
        kind = arguments[2].rpartition(".")[2]
        kept, script = box / f"{kind}-look", sys.stdin.read()
        (box / f"{kind}-egress.py").write_text(script)
        nothing = '"nft": "", "rules": "", "rules_at_start": "", "attempts": [], "sockets": []'
        of_none = f'{{"hostname": "gpu-1", "boot_id": "b", "kernel": "6", "pid": 0, "uid": 0, {nothing}}}'
        print(kept.read_text() if kept.exists() else of_none)
        return
    if arguments[:2] == ["-I", "-"]:
        (box / "egress.py").write_text(sys.stdin.read())
        (*others, last) = (box / "looks").read_text().splitlines()
        print((others or [last])[0])
        (box / "looks").write_text("\n".join([*others[1:], last]))
        return
    if arguments == ["-c", "import ensurepip, venv"]:
        sys.exit((box / "no-venv").exists())
    parser = strict("python3")
    parser.add_argument("-m", choices=["venv"], required=True)
    parser.add_argument("--clear", action="store_true", required=True)
    parser.add_argument("--without-pip", action="store_true")
    parser.add_argument("environment", type=Path)
    import shutil

    given = parser.parse_args(arguments)
    shutil.rmtree(given.environment, ignore_errors=True)
    (given.environment / "bin").mkdir(parents=True)
    python = given.environment / "bin/python"
    python.write_text(
        f'#!/bin/sh\nexport PREFIX={given.environment}\nexec {start("box_tools")} python "$@"\n'
    )
    python.chmod(0o755)
    if not given.without_pip:
        (given.environment / "pip").touch()


def environments_python(box: Path, arguments: list[str]) -> None:
    """The interpreter of an environment: pip, a look whether vLLM is there, and the Hub's download."""
    prefix = Path(os.environ["PREFIX"])
    if arguments == ["-c", "import vllm"]:
        sys.exit(None if (prefix / "lib/vllm").exists() else "ModuleNotFoundError: No module named 'vllm'")
    if arguments and arguments[0].endswith("/bin/fetch"):
        download(box, arguments)
        return
    if arguments[:3] == ["-s", "-m", "infra.fetch"]:
        fetch(box, arguments[3:])
        return
    if arguments[:1] == ["-c"]:
        exec(arguments[1], {"__name__": "__main__"})
        return
    if arguments[:1] == ["-IS"] and arguments[1].endswith("/bin/confine"):
        os.execv(sys.executable, [sys.executable, *arguments])
    if arguments[:2] == ["-m", "vllm.entrypoints.cli.main"]:
        stub = str(Path(__file__).with_name("data") / "stub_vllm.py")
        os.execv(sys.executable, [sys.executable, "-IS", stub, *arguments[2:]])
    parser = strict("python")
    parser.add_argument("-m", choices=["pip"], required=True)
    parser.add_argument("command", choices=["install", "download"])
    parser.add_argument("--no-deps", action="store_true")
    parser.add_argument("--only-binary", choices=[":all:"])
    parser.add_argument("--dest", type=Path)
    parser.add_argument("--requirement", type=Path)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--disable-pip-version-check", action="store_true")
    parser.add_argument("--no-index", action="store_true")
    parser.add_argument("--find-links", type=Path)
    parser.add_argument("wanted", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if not (prefix / "pip").exists():
        sys.exit("No module named pip")
    if given.command == "download":
        wheels_of(box, given)
        return
    if given.no_index and not given.find_links:
        if wrong := [name for name in given.wanted if not name.endswith(".whl") or not Path(name).is_file()]:
            sys.exit(f"ERROR: No matching distribution found for {wrong[0]}")
        (prefix / "installed").write_text("\n".join(Path(name).name for name in given.wanted))
    if not given.wanted:
        sys.exit("ERROR: You must give at least one requirement to install")
    if given.no_index and given.find_links and not any(given.find_links.glob("*.whl")):
        sys.exit(f"ERROR: No matching distribution found for {given.wanted[0]}")
    (prefix / "lib/vllm").mkdir(parents=True)


def fetch(box: Path, arguments: list[str]) -> None:
    """Run the package of that name as the host has it, with a Hub that gives a gated repository to one token alone."""
    import json

    sys.path.insert(0, os.getcwd())
    import hashlib

    from infra.fetch import __main__ as program
    from infra.fetch.checksums import Manifest, write
    from infra.fetch.hub_answers import Source
    from infra.fetch.layouts import Layout
    from infra.fetch.listing import Wanted
    from infra.fetch.partial import sums_of

    def given(source: Source, layout: Layout, told: object, is_ours: bool) -> None:
        if source.repository.startswith("meta-llama/") and source.token != "hf_granted_CANARY":
            sys.exit(f"{source.repository} is gated")
        asked = {"repo_id": source.repository, "revision": source.commit}
        (box / "hub.json").write_text(json.dumps(asked))
        layout.make()
        files = {}
        for name in ("config.json", "model.safetensors"):
            (layout.folder / name).write_text("{}")
            file = Wanted(name, 2, hashlib.sha256(b"{}").hexdigest(), "")
            files[name] = layout.kept(file, sums_of(layout.path(file), file))
        write(layout.manifest, Manifest(source.repository, source.commit, files, "", {}))

    vars(program)["fetch"] = given
    sys.exit(program.main(arguments))


def wheels_of(box: Path, given: "Namespace") -> None:
    """The index's wheels of exactly those pins; one of them is another's where the test says so."""
    if not given.no_deps or not given.only_binary or given.wanted:
        sys.exit("ERROR: this index has wheels of pins alone")
    given.dest.mkdir()
    for pin in given.requirement.read_text().split():
        name, equals, version = pin.partition("==")
        if not equals or not version:
            sys.exit(f"ERROR: Invalid requirement: {pin}")
        spoiled = (box / "spoiled").exists() and name == (box / "spoiled").read_text()
        (given.dest / f"{name}-{version}-py3-none-any.whl").write_text("another" if spoiled else pin)


def download(box: Path, arguments: list[str]) -> None:
    """Run the script of that name, with a Hub that notes what it is asked and with which token."""
    import hashlib
    import json
    import types

    content = b"{}"
    blob = hashlib.sha1(b"blob 2\0" + content).hexdigest()
    files = [
        types.SimpleNamespace(rfilename=name, size=2, lfs=None, blob_id=blob)
        for name in ("config.json", "model.safetensors", "pytorch_model.bin")
    ]

    class HfApi:
        def model_info(self, repo_id: str, *, revision: str, files_metadata: bool, token: str | bool) -> Any:
            assert files_metadata
            commit = revision if revision != "main" else "another"
            return types.SimpleNamespace(sha=commit, siblings=files)

    def snapshot_download(
        repo_id: str, *, revision: str, token: str | bool, allow_patterns: list[str], local_dir: Path
    ) -> None:
        asked = {"repo_id": repo_id, "revision": revision, "token": token}
        (box / "hub.json").write_text(json.dumps(asked))
        local_dir.mkdir(parents=True, exist_ok=True)
        if (box / "slow").exists():
            come_slowly(box, local_dir)
        spoiled = (box / "spoiled-weights").exists()
        for name in allow_patterns:
            (local_dir / name).write_bytes(b"[]" if spoiled and name.endswith("s") else content)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download, hub.HfApi = snapshot_download, HfApi  # type: ignore[attr-defined]
    sys.modules["huggingface_hub"] = hub
    sys.argv = arguments
    exec(Path(arguments[0]).read_text(), {"__name__": "__main__"})


def come_slowly(box: Path, folder: Path) -> None:
    """Bring so many MiB, let a minute go by, and wait until the words that are awaited are said."""
    mib, _, words = (box / "slow").read_text().partition(" ")
    with (folder / "part.incomplete").open("wb") as part:
        os.posix_fallocate(part.fileno(), 0, int(mib) << 20)
    (box / "minute").touch()
    wait_until(lambda: f"{words}\n" in (box / "dev/console").read_text())


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something of another process, for half a minute at most."""
    until = time.monotonic() + 30
    while not true():
        if time.monotonic() > until:
            sys.exit("it did not come")
        time.sleep(0.01)


def sleep(box: Path, arguments: list[str]) -> None:
    """A minute, which is over when the test says so, or whoever sleeps is gone."""
    if arguments != ["60"]:
        sys.exit(f"sleep: invalid time interval {arguments}")
    sleeper = os.getppid()
    wait_until(lambda: (box / "minute").exists() or os.getppid() != sleeper)
    (box / "minute").unlink(missing_ok=True)


def aws(box: Path, arguments: list[str]) -> None:
    """The AWS CLI: S3 is the folder s3, and a secret the file of its name in the folder secrets."""
    parser = strict("aws")
    services = parser.add_subparsers(required=True)
    copies = services.add_parser("s3").add_subparsers(required=True)
    for name, do in (("sync", synchronised), ("cp", copied)):
        copy = copies.add_parser(name)
        copy.add_argument("--only-show-errors", action="store_true")
        copy.add_argument("--region", required=True)
        copy.add_argument("source")
        copy.add_argument("target", type=Path)
        copy.set_defaults(do=do)
    for service, operation, naming, field in SECRETS:
        ask = services.add_parser(service).add_subparsers(required=True).add_parser(operation)
        ask.add_argument("--region", required=True)
        ask.add_argument(naming, dest="name", required=True)
        ask.add_argument("--query", choices=[field], required=True)
        ask.add_argument("--output", choices=["text"], required=True)
        if service == "ssm":  # else it gives the ciphertext
            ask.add_argument("--with-decryption", action="store_true", required=True)
        ask.set_defaults(do=told)
    given = parser.parse_args(arguments)
    given.do(box, given)


SECRETS = (
    ("ssm", "get-parameter", "--name", "Parameter.Value"),
    ("secretsmanager", "get-secret-value", "--secret-id", "SecretString"),
)


def told(box: Path, given: "Namespace") -> None:
    """A secret, by its name."""
    secret = box / "secrets" / given.name.replace("/", "_")
    if not secret.exists():
        sys.exit("An error occurred (ParameterNotFound) when calling the GetParameter operation")
    print(secret.read_text())


def stored(box: Path, address: str) -> Path:
    """Where an s3:// address is; each use of it is noted as a request S3 would get."""
    return box / "s3" / address.removeprefix("s3://").rstrip("/")


def noted(box: Path, action: str, resource: str) -> None:
    """One request to S3, as IAM judges it."""
    with (box / "s3.requests").open("a") as requests:
        requests.write(f"{action} {resource}\n")


def synchronised(box: Path, given: "Namespace") -> None:
    """`aws s3 sync`: list what lies below the prefix, fetch each."""
    bucket, _, prefix = f"{given.source.removeprefix('s3://').rstrip('/')}/".partition("/")
    noted(box, "s3:ListBucket", f"{bucket} {prefix}".rstrip())
    import shutil

    folder = stored(box, given.source)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        noted(box, "s3:GetObject", str(file.relative_to(box / "s3")))
    shutil.copytree(folder, given.target, dirs_exist_ok=True)


def copied(box: Path, given: "Namespace") -> None:
    """`aws s3 cp` of one object."""
    noted(box, "s3:GetObject", given.source.removeprefix("s3://"))
    if not stored(box, given.source).is_file():
        sys.exit(
            "fatal error: An error occurred (404) when calling the HeadObject operation: Key does not exist"
        )
    import shutil

    shutil.copy(stored(box, given.source), given.target)


def systemctl(box: Path, arguments: list[str]) -> None:
    """systemd, which notes what it is told, and knows of the server what the test has it know (`Box.knows`)."""
    if arguments[:1] == ["show"]:
        properties = {"UID": "64998", "MainPID": "0", "SubState": "dead"}
        if (box / "known").exists():
            import json

            properties |= json.loads((box / "known").read_text())
        *asked, _ = [word.removeprefix("--property=") for word in arguments[1:]]
        print("\n".join(f"{name}={properties[name]}" for name in sorted(asked)))
        return
    parser = strict("systemctl")
    parser.add_argument("--no-block", action="store_true")
    verbs = parser.add_subparsers(required=True, prog="systemctl")  # asked for, it looks at the terminal
    for verb, options, units in (
        ("daemon-reload", (), 0),
        ("poweroff", (), 0),
        ("start", (), "+"),
        ("restart", (), "+"),
        ("reload", (), 1),
        ("stop", (), "+"),
        ("is-active", (), 1),
        ("reset-failed", (), "+"),
        ("enable", ("--now", "--quiet"), "+"),
        ("disable", ("--now",), "+"),
        ("mask", ("--now",), "+"),
        ("clean", ("--what=all",), "+"),
        ("kill", ("--signal=KILL", "--kill-who=main"), 1),
        ("list-jobs", ("--no-legend", "--plain", "--full"), 1),
    ):
        known = verbs.add_parser(verb)
        for option in options:
            name, _, value = option.partition("=")
            known.add_argument(name, **({"choices": [value]} if value else {"action": "store_true"}))
        if units:
            known.add_argument("units", nargs=units)
    given = parser.parse_args(arguments)
    for unit in getattr(given, "units", ()):
        if not re.fullmatch(r"[\w.@-]+\.(service|timer)", unit):
            sys.exit(f"Failed: Unit name {unit} is not valid.")


def nft(box: Path, arguments: list[str]) -> None:
    """nftables: a table is what was loaded last."""
    loaded = box / "nft.loaded"
    if arguments == ["-f", "-"]:
        rules = sys.stdin.read()
        if not re.match(r"define server = \d+\n", rules):
            sys.exit("Error: User does not exist")
        if "\ntable inet " in rules:  # a file that only defines is no error
            loaded.write_text(rules)
        return
    words = [word for word in arguments if word not in ("--numeric", "--stateless", "--json")]
    match words:
        case ["list" | "delete" as verb, "table", "inet", name]:
            if not loaded.exists() or f"table inet {name} " not in loaded.read_text():
                sys.exit("Error: No such file or directory")
            if verb == "delete":
                loaded.unlink()
            else:
                rules = loaded.read_text()
                if (box / "turned").exists():  # the kernel has something else
                    rules = rules.replace("define server = 64998", "define server = 27")
                print(as_listed(rules, noted=box / "noted"), end="")
        case _:
            sys.exit(f"Error: syntax error, unexpected {words}")


def as_listed(rules: str, noted: Path) -> str:
    """The table as nft says it: a tab a level, a line a word of a set, whose packets are judged as a number.

    In a set that the kernel fills are the elements of the file `noted`.
    """
    (uid,) = re.findall(r"define server = (\d+)\n", rules)
    table = rules[rules.rindex("\ntable inet ") + 1 :].replace("$server", uid).replace("    ", "\t")

    def spread(found: re.Match[str]) -> str:
        lines = [f"\tset {found[1]} {{", *[f"\t\t{word}" for word in found[2].split("; ")]]
        if "dynamic" in found[2] and noted.exists():
            lines.append(f"\t\telements = {{ {noted.read_text()} }}")
        return "\n".join([*lines, "\t}\n"])

    return re.sub(r"\tset (\w+) \{ (.*); \}\n", spread, table)


def shutdown(box: Path, arguments: list[str]) -> None:
    """Power off after some minutes."""
    parser = strict("shutdown")
    parser.add_argument("-P", action="store_true", required=True)
    parser.add_argument("time", type=minutes)
    parser.add_argument("message", nargs="?")
    parser.parse_args(arguments)


def minutes(text: str) -> int:
    """+MINUTES, as shutdown(8) takes it."""
    if not re.fullmatch(r"\+\d+", text):
        raise ValueError(text)
    return int(text)


def apt_get(box: Path, arguments: list[str]) -> None:
    """Debian's packages: they bring what was missing."""
    parser = strict("apt-get")
    verbs = parser.add_subparsers(required=True, dest="verb")
    verbs.add_parser("update").add_argument("-q", action="store_true")
    install = verbs.add_parser("install")
    install.add_argument("-q", action="store_true")
    install.add_argument("-y", action="store_true", required=True)
    install.add_argument("packages", nargs="+")
    given = parser.parse_args(arguments)
    if given.verb == "install" and "python3-venv" in given.packages:
        (box / "no-venv").unlink(missing_ok=True)
    if given.verb == "install" and "nftables" in given.packages:
        tool = box / "tools/nft"
        tool.write_text(f'#!/bin/sh\nexec {start("box_tools")} nft "$@"\n')
        tool.chmod(0o755)


def mountpoint(box: Path, arguments: list[str]) -> NoReturn:
    """Whether a folder is one; it is when the test made it."""
    parser = strict("mountpoint")
    parser.add_argument("-q", action="store_true", required=True)
    parser.add_argument("folder", type=Path)
    sys.exit(not parser.parse_args(arguments).folder.is_dir())


def ip(box: Path, arguments: list[str]) -> None:
    """This host has the address 10.0.0.5."""
    match arguments:
        case ["-o", "address", "show", "to", address]:
            if address == "10.0.0.5":
                print("2: ens5    inet 10.0.0.5/20 brd x")
        case _:
            sys.exit(f'Command "{arguments}" is unknown, try "ip help".')


def nsenter(box: Path, arguments: list[str]) -> NoReturn:
    """The host's own mounts: whoever looks there is in no unit, and here there is no other place."""
    if arguments[:4] != ["--target", "1", "--mount", "--"]:
        sys.exit(f"nsenter: failed to execute {arguments}")
    os.execvp(arguments[4], arguments[4:])


TOOLS: dict[str, Callable[[Path, list[str]], None]] = {
    "python3": host_python,
    "python3.11": host_python,
    "python": environments_python,
    "aws": aws,
    "systemctl": systemctl,
    "nft": nft,
    "shutdown": shutdown,
    "apt-get": apt_get,
    "mountpoint": mountpoint,
    "ip": ip,
    "sleep": sleep,
    "nsenter": nsenter,
}
