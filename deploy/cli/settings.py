"""What is typed again and again, kept: CORRAL_ variables, corral.toml of this folder, corral.toml of the home.

In this order; what is typed comes before all of them. No folder above this one is looked into: it may be another's.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from deploy.targets.wishes import record
from infra.argument import pasted
from infra.aws.profile import use
from infra.data import shipped_table, table_of
from infra.errors import DocumentError, UsageError
from infra.home import home, others_can_change
from infra.printable import one_line
from infra.record import Record, read_bytes
from infra.say import warn

FILE = "corral.toml"
VERSION = 1
"""Of the file, as its own key `version`; one that names none is of the first."""
MOST_BYTES = 64 * 1024


class OfCorral(Record):
    """What is said of corral itself, whatever the verb."""

    profile: Annotated[str, Field(pattern=r"\S")] | None = None
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

TAKEN_BY = (
    "size",
    "capacity",
    "simulate",
    "prices",
    "doctor",
    "up",
    "provision",
    "capacity-block",
    "iam-policy",
)
"""The verbs that plan and make take them. What ends or proves something means what is typed, and nothing else."""
UNHINDERED = {"stop", "down", "status", "logs", "reap", "version", "schema"}
"""The verbs that nothing kept keeps from their work, however wrong it is: they end things, or only show them."""
SECRET = ("token", "secret", "password", "api-key", "access-key")

Given = str | list[str] | bool


class Kept(NamedTuple):
    """What a setting was found to be, not yet checked, and where."""

    value: Any
    source: str


class Setting(Record):
    """One setting, as a command that is typed now would take it."""

    key: str
    """As it stands in corral.toml, and as the flag without its hyphens."""
    value: tuple[str, ...] | str | bool | None
    """What the flag would be given; a list where it may be repeated, null for nothing."""
    source: str
    """flag, the variable's name, the file's path, or default."""


class Variable(Record):
    """A variable of the environment that is read. Its value, which may be a secret, is not shown."""

    name: str
    """As the environment has it."""
    group: str
    """What it is of: corral, hub, aws, network, machine; shell is what every shell has set."""
    about: str
    """What it does, in a sentence."""
    is_set: bool
    """Whether it has a value here that is not empty."""


class Settings(Record):
    """What `corral config` answers."""

    files: tuple[str, ...]
    """Where they are looked for, the first first."""
    settings: tuple[Setting, ...]
    """Every one that there is, in a fixed order, those at their default too."""
    variables: tuple[Variable, ...]
    """Those that are read beside the settings' own."""


def files() -> tuple[Path, ...]:
    """Where the settings may be kept, the first first."""
    return Path(FILE), home() / FILE


def variable(key: str) -> str:
    """The variable of the environment for a setting."""
    return f"CORRAL_{key.replace('-', '_').upper()}"


def other_variables() -> tuple[Variable, ...]:
    """Those that are read beside the settings' own."""
    return tuple(
        Variable(name=name, group=group, about=about, is_set=bool(os.environ.get(name)))
        for group, variables in shipped_table("deploy.cli", "variables.toml").items()
        for name, about in variables.items()
    )


def kept() -> dict[str, Kept]:
    """Each setting that is kept, from the first place that has it. Raises UsageError for what no file can mean."""
    return of_files() | of_variables()


def of_files() -> dict[str, Kept]:
    """Each setting that a file keeps, from the first that has it. Raises UsageError."""
    found: dict[str, Kept] = {}
    for path in reversed(files()):
        found |= {key: Kept(value, str(path)) for key, value in of_file(path).items()}
    return found


def of_variables() -> dict[str, Kept]:
    """Each setting that the environment has."""
    return {key: Kept(text, name) for key in FIELDS if (text := os.environ.get(name := variable(key)))}


def heed(verb: str, profile: str | None) -> None:
    """Do as is kept of corral's own options; a profile that was typed is the one that is meant.

    Raises UsageError for what cannot be meant, unless it only hinders the verb: then it is told, and no other is lost.
    """
    if verb == "config":  # which shows them, and asks nobody
        return
    there = of_variables()
    with unhindered(verb):
        there = of_files() | there
    if profile is not None:
        there.pop("profile", None)
    for key in OfCorral.model_fields:
        if key in there:
            with unhindered(verb):
                heed_one(key, of_itself(key, there[key]))


@contextmanager
def unhindered(verb: str) -> Iterator[None]:
    """Raise UsageError for a setting that cannot be meant; a verb that it must not keep from its work is told it."""
    try:
        yield
    except UsageError as error:
        if verb not in UNHINDERED:
            raise
        warn(error.message)


def heed_one(key: str, value: str | bool) -> None:
    """Do as one of corral's own options says, here and in what we start."""
    if isinstance(value, str):
        use(value)
    elif value:
        os.environ[variable(key)] = "1"


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
        raise UsageError(error.message, "It holds lines such as region = 'us-east-1'.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8.", f"See what it is: file {pasted(path)}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {one_line(str(error), 200)}.", "Mend that line.") from None
    version = typed.pop("version", VERSION)
    if version != VERSION:
        raise UsageError(
            f"{path} is of version {one_line(str(version), 40)}; this corral reads version {VERSION}.",
            f"Use the corral that it was written for, or move it away: mv {pasted(path)} {pasted(path)}.old",
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
    several = kind.model_fields[field].default == ()
    words = found.value.split() if several and found.source == variable(key) else found.value
    texts = [as_text(each) for each in (words if several and isinstance(words, list) else [words])]
    if not all(isinstance(each, str) for each in texts):
        a_list = ", or a list of such" if several else ""
        raise cannot_be(key, found, f"Give it what --{key} takes, as text or a number{a_list}.")
    value: Given = texts if several else texts[0]
    try:
        kind.of({field: value})
    except UsageError as error:
        hint = re.sub(rf"--{key} (\S+)", lambda flag: as_written(key, flag[1], found), error.hint)
        raise UsageError(f"{found.source}: {error.message.replace(f'--{key} ', f'{key} ')}", hint) from None
    return value


def as_written(key: str, value: str, found: Kept) -> str:
    """A setting as it is written where that one was found."""
    if found.source == variable(key):
        return f"{found.source}={value}"
    return f"{key} = {value if value == 'true' or value.isdecimal() else repr(value)}"


def of_itself(key: str, found: Kept) -> str | bool:
    """The value of one of corral's own. Raises UsageError."""
    try:
        made: str | bool = getattr(OfCorral.model_validate({key: found.value}), key)
    except ValidationError:
        is_text = OfCorral.model_fields[key].default is None
        example = as_written(key, "work" if is_text else "true", found)
        raise cannot_be(key, found, f"For example: {example}") from None
    return made


def cannot_be(key: str, found: Kept, hint: str) -> UsageError:
    """What to say of a value that is of no use for its setting."""
    return UsageError(f"{found.source}: {key} cannot be {one_line(repr(found.value), 60)}.", hint)


def as_text(value: Any) -> Any:
    """A number as it would be typed; anything else is what it is."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def defaults(parameters: Iterable[Any]) -> dict[str, Callable[[], Any]]:
    """Parameter -> what gives its value where nobody typed it, for the parser, which asks only for what it needs.

    A flag that takes one value takes the first of several; several that are none are as good as not kept.
    """
    read = cache(kept)

    def value_of(key: str, several: bool) -> Given | None:
        found = read().get(key)
        value = None if found is None else checked(key, found) or None
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
        variables=other_variables(),
    )


def as_kept(value: Given) -> tuple[str, ...] | str | bool:
    """A value as the record of it has it."""
    return tuple(value) if isinstance(value, list) else value
