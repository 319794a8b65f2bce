"""From the flags of `corral export` to what is asked."""

from typing import Any
from urllib.parse import urlsplit

from deploy.export.base import Ask
from deploy.targets import deployment as deployments
from deploy.targets.ec2.options import Ec2Options
from infra.errors import UsageError
from infra.say import progress
from serving.sizing.plan import Plan
from serving.vllm import versions as vllm_versions

ONLY_TERRAFORM = ("region", "weights", "hf_token_parameter")


def ask_from(flags: dict[str, Any]) -> Ask:
    """Read the flags, by their names. Raises UsageError or DocumentError; asks nobody."""
    plan = Plan.read(flags["plan"])
    vllm_versions.check_planned(plan.vllm_version, progress, plan.serve)
    name = flags["name"] if flags["name"] is not None else deployments.default_name(plan)
    return Ask(
        plan=plan,
        name=deployments.checked_name(name),
        replicas=flags["replicas"],
        endpoints=tuple(map(checked_url, flags["endpoint"] or ())),
        claude_model=flags["claude_model"],
        ec2=ec2_options(flags),
    )


def ec2_options(flags: dict[str, Any]) -> Ec2Options:
    """The options of a rented box. Raises UsageError for one that another format would ignore."""
    if flags["to"] != "terraform":
        for name in ONLY_TERRAFORM:
            if flags[name] is not None:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is for --to terraform only.", f"Leave out --{flag}.")
    return Ec2Options(
        regions=(flags["region"],) if flags["region"] else (),
        ttl=flags["ttl"],
        weights=flags["weights"],
        hf_token_parameter=flags["hf_token_parameter"],
        allow_unknown_price=True,
    )


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
