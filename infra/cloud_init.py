"""PURE: the cloud-init user data of a rented box: its files, and what it runs at its first boot."""

import shlex
import zlib

import yaml

from infra.errors import DocumentError, UsageError
from infra.host import HostSetup, guards, prepare_unit, root, unit
from infra.host_files import host_files
from infra.yaml_text import dumped

# EC2 refuses more than 16 KB before base64; the rest is room for a longer command line.
USER_DATA_LIMIT_BYTES = 16 * 1024


def user_data(setup: HostSetup) -> str:
    """The cloud-init user data of a rented box. Raises UsageError when it would be more than EC2 takes."""
    config = {
        # Before anything else runs: no driver may change under the server.
        "bootcmd": [["systemctl", "mask", "--now", *UPGRADE_UNITS]],
        "locale": "C.UTF-8",
        "package_update": False,
        "package_upgrade": False,
        "ssh_pwauth": False,
        "write_files": [
            {"path": file.path, "permissions": file.mode, "content": file.content}
            for file in host_files(setup)
        ],
        "runcmd": _first_boot(setup),
    }
    text = "#cloud-config\n" + dumped(config)
    size = len(packed(text))
    if size > USER_DATA_LIMIT_BYTES:
        raise UsageError(
            f"The user data would be {size} bytes; EC2 takes {USER_DATA_LIMIT_BYTES}.",
            "Shorten the vLLM options: put long ones (chat template, overrides) beside the weights.",
        )
    return text


def told(text: str, name: str) -> dict[str, str]:
    """The values that a box prepares itself by, read back from its user data (host_files.setup_env).

    Raises DocumentError for user data without them.
    """
    try:
        files = yaml.safe_load(text)["write_files"]
        (content,) = [file["content"] for file in files if file["path"] == f"{root(name)}/setup.env"]
        return {key: value for key, _, value in (word.partition("=") for word in shlex.split(content))}
    except (yaml.YAMLError, LookupError, RecursionError, TypeError, ValueError):
        raise DocumentError(f"The order of {name} does not say what its machines were told.") from None


def packed(text: str) -> bytes:
    """User data as it is sent: EC2 counts what is sent, and cloud-init unpacks it. The same bytes for the same text.

    By the best of zlib's sizes of a block (memLevel): keys and digests go into blocks of their own where those are
    small, which saved 3 % beside a command line of 8,000 characters (16,538 to 16,002 bytes, zlib 1.2.13, 2026-11-30).
    """
    return min((gzipped(text.encode(), level) for level in range(1, 10)), key=len)


def gzipped(content: bytes, memory_level: int) -> bytes:
    """A gzip file without a time or a name."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16, memory_level)
    return packer.compress(content) + packer.flush()


UPGRADE_UNITS = ("unattended-upgrades.service", "apt-daily.timer", "apt-daily-upgrade.timer")


def _first_boot(setup: HostSetup) -> list[list[str]]:
    """The limit comes first, so that a box whose preparation fails ends all the same."""
    here = root(setup.name)
    limit: list[list[str]] = []
    if setup.ttl_minutes:
        minutes = str(setup.ttl_minutes)
        limit = [["shutdown", "-P", f"+{minutes}"], [f"{here}/bin/extend", minutes]]
    beside = [["systemctl", "enable", "--now", name] for name in guards(setup)]
    at_boot = [prepare_unit(setup.name), *([unit(setup.name)] if setup.nodes == 1 else [])]
    beside.append(["systemctl", "enable", *at_boot])
    prepare = f"{here}/bin/prepare"
    then = f" && systemctl enable --now {unit(setup.name)}" if setup.nodes == 1 else ""
    return [*limit, *beside, ["bash", "-c", prepare + then]]
