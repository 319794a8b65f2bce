"""PURE: what can go wrong with a host over SSH, as one sentence and a hint."""

from collections.abc import Sequence
from pathlib import Path

from infra.errors import AuthError, CorralError, HostError
from infra.printable import one_line

SSH_FAILED = 255
"""What the client ends with where it did not reach the host."""

# What the OpenSSH client prints, and what it means. First match wins.
REFUSALS: tuple[tuple[str, type[CorralError], str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        HostError,
        "The host key of {host} is not the one you know: it was installed anew, or somebody is in between",
        "Ask its owner for the fingerprint. Only then: ssh-keygen -R {host}, and connect once by hand.",
    ),
    (
        "Host key verification failed",
        HostError,
        "{host} is not in your known_hosts, and corral never accepts an unknown host key",
        "Connect once by hand and compare the fingerprint: ssh {host}",
    ),
    (
        "Permission denied",
        AuthError,
        "{host} refuses your key",
        "Try it by hand; corral never asks for a password: ssh -o BatchMode=yes {host} true",
    ),
    (
        "Could not resolve hostname",
        HostError,
        "There is no host called {host}",
        "Check its name in DNS or ~/.ssh/config: ssh -G {host}",
    ),
)


def refused(destination: str, command: Sequence[str], code: int, complaint: str) -> CorralError:
    """The client's complaint, or the command's own, as one of ours."""
    if code == SSH_FAILED:
        for words, kind, message, hint in REFUSALS:
            if words in complaint:
                return kind(message.format(host=destination) + ".", hint.format(host=destination))
    lines = complaint.strip().splitlines()
    last = one_line(lines[-1]).rstrip(".") if lines else "it said nothing"
    if code == SSH_FAILED:
        return HostError(
            f"{destination} cannot be reached: {last}.",
            f"Try it by hand: ssh {destination} true",
        )
    return HostError(
        f"{Path(command[0]).name} failed on {destination} with code {code}: {last}.",
        f"Look there: ssh {destination}",
    )


def endless(destination: str) -> HostError:
    """More came than was asked for."""
    return HostError(
        f"{destination} says more than anything we ask is answered with.",
        f"Something there floods the login or the command; look there: ssh {destination}",
    )


def stuck(destination: str, within_s: float) -> HostError:
    """It takes nothing more of what is sent to it."""
    return HostError(
        f"{destination} took less than 64 KiB of what is sent to it in {within_s:g} s.",
        f"Its disk may be full or hung; look there: ssh {destination} df -h; then run the command again.",
    )


def silent(destination: str, timeout_s: float) -> HostError:
    """No answer, or no end, in time."""
    return HostError(
        f"{destination} did not answer within {timeout_s:.0f} s.",
        f"It may be overloaded or hung; look there: ssh {destination} uptime",
    )
