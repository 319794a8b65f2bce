"""What is typed again and again, kept: CORRAL_ variables, corral.toml of this folder, corral.toml of the home.

In this order; what is typed comes before all of them. No folder above this one is looked into: it may be another's.
"""

import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from deploy.targets.wishes import record
from infra import offline
from infra.aws.profile import use
from infra.data import table_of
from infra.errors import DocumentError, UsageError
from infra.home import home, others_can_change
from infra.printable import one_line
from infra.record import Record, read_bytes
from infra.say import QUIET, warn

FILE = "corral.toml"
VERSION = 1
"""Of the file, as its own key `version`; one that names none is of the first."""
MOST_BYTES = 64 * 1024


class OfCorral(Record):
    """What is said of corral itself, whatever the verb."""

    profile: str | None = None
    offline: bool = False
    quiet: bool = False


ITSELF, EC2 = "", "deploy.targets.ec2.options.Ec2Options"
FIELDS = {
    "profile": (ITSELF, "profile"),
    "offline": (ITSELF, "offline"),
    "quiet": (ITSELF, "quiet"),
    "name": ("deploy.targets.wishes.NameOptions", "name"),
    "target": ("deploy.provision_request.Where", "target"),
    "host": ("deploy.targets.ssh.options.SshOptions", "hosts"),
    "region": (EC2, "regions"),
    "tag": (EC2, "tags"),
    "ttl": (EC2, "ttl"),
    "idle": (EC2, "idle"),
    "max-usd-per-hour": (EC2, "max_usd_per_hour"),
    "subnet-id": (EC2, "subnet_ids"),
    "security-group-id": (EC2, "security_group_ids"),
    "permissions-boundary": (EC2, "permissions_boundary"),
    "instance-profile": (EC2, "instance_profile"),
    "scheduler-role": (EC2, "scheduler_role"),
    "kms-key-id": (EC2, "kms_key_id"),
    "hf-token-parameter": (EC2, "hf_token_parameter"),
}
"""Flag, without its hyphens -> the record and the field that check it, and say what it is when nobody does.

Those of corral itself, whatever the verb, are fields of OfCorral.
"""

TAKEN_BY = {
    "size",
    "capacity",
    "simulate",
    "prices",
    "doctor",
    "up",
    "provision",
    "capacity-block",
    "iam-policy",
}
"""The verbs that plan and make take them. What ends or proves something means what is typed, and nothing else."""
UNHINDERED = {"stop", "down", "status", "logs", "reap", "version", "schema"}
"""The verbs that a file which cannot be read does not keep from their work: they end things, or only show them."""
SECRET = ("token", "secret", "password", "api-key", "access-key")

Given = str | list[str] | bool


class Kept(NamedTuple):
    """What a setting was found to be, not yet checked, and where."""

    value: Any
    source: str


class Setting(Record):
    """One setting, as a command that is typed now would take it."""

    key: str
    value: tuple[str, ...] | str | bool | None
    source: str
    """flag, the variable's name, the file's path, or default."""


class Settings(Record):
    """What `corral config` answers."""

    files: tuple[str, ...]
    """Where they are looked for, the first first."""
    settings: tuple[Setting, ...]


def files() -> tuple[Path, ...]:
    """Where the settings may be kept, the first first."""
    return Path(FILE), home() / FILE


def variable(key: str) -> str:
    """The variable of the environment for a setting."""
    return f"CORRAL_{key.replace('-', '_').upper()}"


def kept() -> dict[str, Kept]:
    """Each setting that is kept, from the first place that has it. Raises UsageError for what no file can mean."""
    found: dict[str, Kept] = {}
    for path in reversed(files()):
        found |= {key: Kept(value, str(path)) for key, value in of_file(path).items()}
    return found | {
        key: Kept(text, name) for key in FIELDS if (text := os.environ.get(name := variable(key)))
    }


def heed(verb: str, profile: str | None) -> None:
    """Do as is kept of corral's own options; a profile that was typed is the one that is meant.

    Raises UsageError for a file that cannot be meant, unless it only hinders the verb: then it is told.
    """
    if verb == "config":  # which shows them, and asks nobody
        return
    try:
        there = kept()
        own = OfCorral.model_validate(
            {key: of_itself(key, there[key]) for key in OfCorral.model_fields if key in there}
        )
    except UsageError as error:
        if verb not in UNHINDERED:
            raise
        warn(error.message)
        return
    for switch, name in ((own.offline, offline.VARIABLE), (own.quiet, QUIET)):
        if switch:
            os.environ[name] = "1"
    if own.profile is not None and profile is None:
        use(own.profile)


def of_file(path: Path) -> dict[str, Any]:
    """What a file keeps; nothing where there is none. Raises UsageError."""
    if not os.path.lexists(path):
        return {}
    try:
        if why := others_can_change(path, path.parent):
            raise UsageError(
                f"{path} is not taken: {why}.",
                "Read it; then make it yours (chown) and yours alone to write (chmod go-w), its folder too.",
            )
        typed = table_of(read_bytes(path, "", MOST_BYTES).decode())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", f"See what it is: ls -l {FILE}"
        ) from None
    except DocumentError as error:
        raise UsageError(error.message, "It holds lines such as region = 'eu-central-1'.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {one_line(str(error), 200)}.", "Mend that line.") from None
    version = typed.pop("version", VERSION)
    if version != VERSION:
        raise UsageError(
            f"{path} is of version {one_line(str(version), 40)}; this corral reads version {VERSION}.",
            "Use the corral that it was written for, or rewrite it: corral config shows what may stand there.",
        )
    for key in typed:
        if key not in FIELDS:
            raise unknown(path, one_line(key, 60))
    return typed


def unknown(path: Path, key: str) -> UsageError:
    """What to say of a key that is no setting; a value, which may be a secret, is not repeated."""
    if any(word in key.lower().replace("_", "-") for word in SECRET):
        return UsageError(
            f"{path} holds {key!r}, and no secrets are taken from there.",
            "Remove it, and give a secret through the environment or a file that only you read: HF_TOKEN, "
            "--hf-token-file, --api-key-file.",
        )
    near = get_close_matches(key.replace("_", "-"), FIELDS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(FIELDS)}"
    return UsageError(f"{path} holds {key!r}, which is no setting.", hint)


def checked(key: str, found: Kept) -> Given:
    """A setting's value as its flag is given it. Raises UsageError, which says where it stands."""
    path, field = FIELDS[key]
    if path == ITSELF:
        return of_itself(key, found)
    kind = record(path)
    value: Given = as_text(found.value)
    if kind.model_fields[field].default == ():
        words = found.value.split() if found.source == variable(key) else found.value
        value = [as_text(each) for each in (words if isinstance(words, list) else [words])]
    try:
        kind.of({field: value})
    except UsageError as error:
        raise UsageError(f"{found.source}: {error.message}", error.hint) from None
    return value


def of_itself(key: str, found: Kept) -> str | bool:
    """The value of one of corral's own. Raises UsageError."""
    try:
        made: str | bool = getattr(OfCorral.model_validate({key: found.value}), key)
    except ValidationError:
        example = f"{key} = 'work'" if OfCorral.model_fields[key].default is None else f"{key} = true"
        raise UsageError(
            f"{found.source}: {key} cannot be {one_line(repr(found.value), 60)}.", f"For example: {example}"
        ) from None
    return made


def as_text(value: Any) -> Any:
    """A number as it would be typed; anything else is what it is."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def defaults(parameters: Iterable[Any]) -> dict[str, Callable[[], Any]]:
    """Parameter -> what gives its value where nobody typed it, for the parser, which asks only for what it needs.

    A flag that takes one value takes the first of several.
    """
    read = cache(kept)

    def value_of(key: str, several: bool) -> Given | None:
        found = read().get(key)
        value = None if found is None else checked(key, found)
        return value[0] if isinstance(value, list) and not several else value

    keys = {each: each.opts[0].removeprefix("--") for each in parameters}
    return {each.name: partial(value_of, key, each.multiple) for each, key in keys.items() if key in FIELDS}


def settings(typed: OfCorral) -> Settings:
    """Every setting, and where it comes from. Raises UsageError for one that cannot be meant."""
    there = kept()

    def setting(key: str, path: str, field: str) -> Setting:
        kind = OfCorral if path == ITSELF else record(path)
        default = kind.model_fields[field].default
        said = getattr(typed, key, default)
        if said != default:
            return Setting(key=key, value=said, source="flag")
        if key in there:
            return Setting(key=key, value=as_kept(checked(key, there[key])), source=there[key].source)
        return Setting(key=key, value=default, source="default")

    return Settings(
        files=tuple(str(path.absolute()) for path in files()),
        settings=tuple(setting(key, path, field) for key, (path, field) in FIELDS.items()),
    )


def as_kept(value: Given) -> tuple[str, ...] | str | bool:
    """A value as the record of it has it."""
    return tuple(value) if isinstance(value, list) else value
