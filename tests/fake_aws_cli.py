"""`aws ssm start-session` for the tests: the box behind it has a key, a log, and a server that answers.

Every call's arguments are appended to $FAKE_AWS_LOG. A port forwarding session is the server itself. Its unit is in
the state $FAKE_UNIT; the box $FAKE_STRANGER does not have the addresses it is told.

A command is run by a shell, as the box does it, and the session is what the real plugin makes of it (held against
what that printed by test_session_plugin.py): its words before and after, exit code 0 whatever the command's was, and
wherever its input ends, "Cannot perform start session: EOF" in place of what was still to come (amazon-ssm-agent #354,
session-manager-plugin #59).
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

TOOLS = Path(__file__).parent
PYTHON = f"{sys.executable} -S"
"""Half of what a start takes goes to packages that no fake needs."""


def installed(folder: Path) -> Path:
    """The folder for the PATH in which `aws` and its plugin are, made in that folder."""
    tools = folder / "bin"
    for path, words in (
        (tools / "aws", f'exec {PYTHON} {__file__} "$@"'),
        (tools / "session-manager-plugin", ""),
        (folder / "box" / "sudo", f'exec {PYTHON} {TOOLS}/fake_rented_box.py "$@"'),
        (folder / "box" / "systemctl", f'exec {PYTHON} {TOOLS}/fake_rented_box.py systemctl "$@"'),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)
    return tools


def main() -> None:
    """Answer one command."""
    log = Path(os.environ["FAKE_AWS_LOG"])
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(sys.argv[1:]) + "\n")
    target, parameters = parsed(sys.argv[1:])
    if "localPortNumber" in parameters:
        from fake_rented_server import serve

        os.environ["FAKE_TARGET"] = target
        serve(int(parameters["localPortNumber"][0]))
    print("\nStarting session with SessionId: ann-0123", flush=True)
    box = os.environ | {
        "PATH": f"{log.parent / 'box'}:{os.environ['PATH']}",
        "FAKE_TARGET": target,
    }
    whole = relayed(["sh", "-c", parameters["command"][0]], box)
    print("\n\nExiting session with sessionId: ann-0123.\n" if whole else "Cannot perform start session: EOF")


def relayed(command: list[str], environ: dict[str, str]) -> bool:
    """Whether our input stayed open until the command had ended; nothing of it is left either way."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    output = process.stdout.fileno()
    try:
        while True:
            ready = select.select([0, output], [], [])[0]
            if 0 in ready and not os.read(0, 1024):
                return False
            if output in ready:
                said = os.read(output, 1024)
                if not said:
                    return True
                os.write(1, said)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


PARAMETERS = {
    "AWS-StartNonInteractiveCommand": {"command"},
    "AWS-StartPortForwardingSession": {"portNumber", "localPortNumber"},
}

LONGEST_VALUE = 65535
"""Of a parameter of StartSession, as botocore's own model has it."""


def parsed(arguments: list[str]) -> tuple[str, dict[str, list[str]]]:
    """The target and the document's parameters. Leaves, as the AWS CLI does, where it does not know a word."""
    parser = argparse.ArgumentParser("aws", allow_abbrev=False)
    parser.add_argument("service", choices=["ssm"])
    parser.add_argument("operation", choices=["start-session"])
    for option in ("--region", "--target", "--document-name", "--parameters"):
        parser.add_argument(option, required=True)
    given = parser.parse_args(arguments)
    parameters: dict[str, list[str]] = json.loads(given.parameters)
    if parameters.keys() != PARAMETERS[given.document_name]:
        sys.exit("An error occurred (InvalidParameters) when calling the StartSession operation")
    if max(len(value) for values in parameters.values() for value in values) > LONGEST_VALUE:
        sys.exit("An error occurred (ValidationException) when calling the StartSession operation")
    return given.target, parameters


if __name__ == "__main__":
    main()
