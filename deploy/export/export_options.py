"""What may be asked of `corral export`, and what is to be rendered then."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from deploy.export.formats import FORMATS
from deploy.export.rendering import Ask
from deploy.targets import deployment as deployments
from deploy.targets.ec2.options import BoxOptions
from deploy.targets.wishes import NameOptions
from infra.asked import Flag, flag_names
from infra.errors import UsageError
from infra.say import progress
from serving.sizing.plan import Plan
from serving.vllm import versions as vllm_versions

*FIRST_FORMATS, LAST_FORMAT = FORMATS


class ExportOptions(NameOptions):
    """What is rendered, and where it is written."""

    to: Annotated[
        str, Flag(metavar="FORMAT"), Field(description=f"{', '.join(FIRST_FORMATS)} or {LAST_FORMAT}.")
    ]
    output: Annotated[Path | None, Flag("--output -o")] = None
    """Write the files into this folder."""
    force: bool = False
    """Replace files that are different."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Equal servers, where the format has them."""
    endpoints: Annotated[tuple[str, ...], Flag("--endpoint")] = ()
    """litellm, vllm-router: a server that runs; repeatable."""
    claude_model: str = "claude-sonnet-5-5"
    """litellm: who answers when no server does."""

    @field_validator("endpoints")
    @classmethod
    def of_servers(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        """Base URLs. Raises UsageError."""
        return tuple(map(checked_url, endpoints))


def ask_for(plan_file: Path, options: ExportOptions, box: BoxOptions) -> Ask:
    """What is to be rendered. Raises UsageError or DocumentError; asks nobody."""
    plan = Plan.read(plan_file)
    vllm_versions.check_planned(plan.vllm_version, progress, plan.serve)
    refuse_ignored(options.to, box)
    return Ask(
        plan=plan,
        name=deployments.checked_name(
            options.name if options.name is not None else deployments.default_name(plan)
        ),
        replicas=options.replicas,
        endpoints=options.endpoints,
        claude_model=options.claude_model,
        box=box,
    )


def refuse_ignored(to: str, box: BoxOptions) -> None:
    """Raise UsageError for an option of the rented machine that a format would ignore."""
    if to not in FORMATS or FORMATS[to].rents:
        return
    renting = next(name for name, each in FORMATS.items() if each.rents)
    for field, info in BoxOptions.model_fields.items():
        if getattr(box, field) != info.default:
            flag = flag_names(BoxOptions, field)[0]
            raise UsageError(f"{flag} is for --to {renting} only.", f"Leave out {flag}.")


def checked_url(text: str) -> str:
    """A base URL. Raises UsageError for anything else, and for one with a key or password in it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"{text!r} is no URL of a server.", "For example: --endpoint http://10.0.0.5:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "--endpoint has more than an address in it.",
            "Keys go through the environment; give http://HOST:PORT",
        )
    return text
