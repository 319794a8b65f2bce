"""Every error a user can meet, as one tree.

    CorralError            1   anything else that went wrong
    ├── UsageError         2   the request itself is wrong; nothing was done
    ├── DoesNotFit         3   the plan cannot work on that machine
    ├── DocumentError      4   a file is missing, unreadable, corrupt or of another version
    ├── AuthError          5   credentials are missing, expired or refused
    ├── CapacityError      6   the cloud has no capacity or the account no quota
    ├── ServerError        7   the vLLM server died, hung or did not become ready
    ├── EndpointError      8   an endpoint cannot be reached or does not answer as it should
    ├── ProbeInvalid       9   the probe ran, but its result must not be used
    ├── LeftoverError     10   something that was to be removed is still there
    ├── HostError         11   this machine or a host lacks something (GPU, driver, disk, memory, port, tool)
    ├── CloudError        12   the cloud refused or failed for another reason
    └── Interrupted      130   Ctrl-C

The exit codes are part of the machine interface and do not change.
"""

from typing import ClassVar


class CorralError(Exception):
    """A failure the user can act on: one sentence of what is wrong, and one hint of what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CorralError):
    """The request itself is wrong; nothing was done."""

    exit_code = 2


class DoesNotFit(CorralError):
    """The plan cannot work on that machine."""

    exit_code = 3


class DocumentError(CorralError):
    """A file is missing, unreadable, corrupt or of another version."""

    exit_code = 4


class AuthError(CorralError):
    """Credentials are missing, expired or refused."""

    exit_code = 5


class CapacityError(CorralError):
    """The cloud has no capacity, or the account no quota."""

    exit_code = 6


class ServerError(CorralError):
    """The vLLM server died, hung or did not become ready."""

    exit_code = 7


class EndpointError(CorralError):
    """An endpoint cannot be reached, or does not answer as it should."""

    exit_code = 8


class ProbeInvalid(CorralError):
    """The probe ran, but its result must not be used."""

    exit_code = 9


class LeftoverError(CorralError):
    """Something that was to be removed is still there."""

    exit_code = 10


class HostError(CorralError):
    """This machine, or a host, lacks something it needs."""

    exit_code = 11


class CloudError(CorralError):
    """The cloud refused or failed for a reason that is neither credentials nor capacity."""

    exit_code = 12


class Interrupted(CorralError):
    """The user pressed Ctrl-C."""

    exit_code = 130
