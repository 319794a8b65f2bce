"""PURE: why a server on another machine died: by its unit's log, and what that machine's kernel said while it ran."""

from infra import host as hosts
from serving.vllm import diagnosis

# From a quarter of an hour before its last start on, as it may have been started again since. A container has no kernel
# log of its own, and a kernel always says some.
SCRIPT = """\
[ -n "$(journalctl --dmesg --boot --quiet --no-pager --lines=1 2>/dev/null)" ] || exit 1
began=$(systemctl show --timestamp=unix --value --property=ExecMainStartTimestamp "$1") || exit 1
began=${began#@}
exec journalctl --dmesg --boot --quiet --no-pager --output=cat --lines=2000 "--since=@$((${began:-900} - 900))"
"""


def kernel_command(name: str) -> tuple[str, ...]:
    """What prints, as root there, what the kernel said; it ends with another code than 0 where that cannot be read."""
    return ("sh", "-c", SCRIPT, "kernel", hosts.unit(name))


def explain(log: str, kernel: str, exit_code: int, shell: str) -> diagnosis.Diagnosis:
    """The cause, by the log and that command's answer, and a next step that can be done there through `shell`."""
    return diagnosis.explain(log, kernel=None if exit_code else kernel, shell=shell)
