"""What can go wrong with a host over SSH, each as one sentence and a hint."""

import pytest

from infra import ssh_failures
from infra.errors import AuthError, CorralError, HostError


@pytest.mark.parametrize(
    ("code", "complaint", "kind", "message", "hint"),
    [
        (255, "x\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", HostError,
         "The host key of gpu-1 is not the one you know: it was installed anew, or somebody is in between.",
         "Ask its owner for the fingerprint. Only then: ssh-keygen -R gpu-1, and connect once by hand."),
        (255, "Host key verification failed.", HostError,
         "gpu-1 is not in your known_hosts, and corral never accepts an unknown host key.",
         "Connect once by hand and compare the fingerprint: ssh gpu-1"),
        (255, "me@gpu-1: Permission denied (publickey).", AuthError, "gpu-1 refuses your key.",
         "Try it by hand; corral never asks for a password: ssh -o BatchMode=yes gpu-1 true"),
        (255, "ssh: Could not resolve hostname gpu-1: Name or service not known", HostError,
         "There is no host called gpu-1.", "Check its name in DNS or ~/.ssh/config: ssh -G gpu-1"),
        (255, "debug\nssh: connect to host gpu-1 port 22: Connection refused.\n", HostError,
         "gpu-1 cannot be reached: ssh: connect to host gpu-1 port 22: Connection refused.",
         "Try it by hand: ssh gpu-1 true"),
        (255, "", HostError, "gpu-1 cannot be reached: it said nothing.", "Try it by hand: ssh gpu-1 true"),
        # The command's own words, whatever they hold.
        (1, "Permission denied", HostError, "tar failed on gpu-1 with code 1: Permission denied.",
         "Look there: ssh gpu-1"),
        (2, " \n", HostError, "tar failed on gpu-1 with code 2: it said nothing.", "Look there: ssh gpu-1"),
    ],
)  # fmt: skip
def test_a_complaint_is_one_sentence(
    code: int, complaint: str, kind: type[CorralError], message: str, hint: str
) -> None:
    error = ssh_failures.refused("gpu-1", ["/usr/bin/tar", "-x"], code, complaint)
    assert (type(error), error.message, error.hint) == (kind, message, hint)


def test_a_host_that_comes_to_no_end() -> None:
    errors = [ssh_failures.endless("h"), ssh_failures.stuck("h", 1.5), ssh_failures.silent("h", 60.0)]
    assert [(type(error), error.message, error.hint) for error in errors] == [
        (HostError, "h says more than anything we ask is answered with.",
         "Something there floods the login or the command; look there: ssh h"),
        (HostError, "h took less than 64 KiB of what is sent to it in 1.5 s.",
         "Its disk may be full or hung; look there: ssh h df -h; then run the command again."),
        (HostError, "h did not answer within 60 s.", "It may be overloaded or hung; look there: ssh h uptime"),
    ]  # fmt: skip
