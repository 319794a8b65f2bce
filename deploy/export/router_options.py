"""What may be asked of an export that stands before servers that run: which they are, and who answers beside them."""

from pathlib import Path
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from deploy.costs.claude_meant import meant
from deploy.costs.served_class import ServedClasses
from infra.asked import Asked, Flag
from infra.errors import UsageError
from serving.sizing.traffic_class import check_whole


def checked_url(text: str) -> str:
    """A base URL, without the /v1 or /metrics that is asked there.

    Raises UsageError for anything else, and for one with a key or password in it.
    """
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
            f"Keys go through the environment; give {parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        )
    for asked_there in ("/v1", "/metrics"):
        text = text.rstrip("/").removesuffix(asked_there)
    return text.rstrip("/")


def each_once(urls: tuple[str, ...]) -> tuple[str, ...]:
    """The same, where no server is named twice. Raises UsageError."""
    for url in urls:
        if urls.count(url) > 1:
            raise UsageError(f"--endpoint {url} is named twice.", "Name each server once.")
    return urls


class RouterOptions(Asked):
    """The servers, and Claude."""

    heading: ClassVar[str] = "Before servers that run"

    endpoints: Annotated[
        tuple[Annotated[str, AfterValidator(checked_url)], ...],
        AfterValidator(each_once),
        Flag("--endpoint"),
        Field(examples=["http://10.0.0.5:8000"]),
    ] = ()
    """litellm, vllm-router, prometheus: a server that runs; repeatable."""
    fallback_to_claude: bool = False
    """litellm: where every server fails or a request is too long, Claude answers: prompts leave your machines."""
    claude_model: Annotated[str, AfterValidator(meant)] = "claude-sonnet-5-5"
    """litellm: who answers there; sonnet is the newest of that name."""
    classes: ServedClasses = ()
    """litellm: a model name for each class, here or at Claude, as of compare; repeatable."""
    comparison: Path | None = None
    """litellm: the same for each class of this comparison.json. [those of the plan]"""

    @model_validator(mode="after")
    def classes_are_a_whole(self) -> Self:
        """Each once, and all of the requests. Raises UsageError."""
        check_whole(self.classes)
        if self.classes and self.comparison:
            raise UsageError(
                "A comparison has its classes, and others were named.",
                "Use --class or --comparison, not both.",
            )
        return self

    def require_use_of_claude(self) -> None:
        """Raise UsageError where nothing is answered by a Claude."""
        if not (self.fallback_to_claude or self.classes or self.comparison):
            raise UsageError(
                "--claude-model names who answers in place of the servers, and nobody is asked to.",
                "Where prompts may leave your machines, add --fallback-to-claude.",
            )
