"""What `corral upgrade` is asked: the next release, or the way back."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from deploy.targets.token_file import TokenFile
from infra.asked import Asked
from infra.errors import UsageError
from serving.vllm.lora_modules import LoraOptions


class NextOptions(Asked):
    """What is new of the next release, beside a plan."""

    heading: ClassVar[str] = "The next release"

    vllm_version: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}[a-z0-9.+]{0,40}$", examples=["0.33.0"])
    ] = None
    """That version of the engine. [the present one's]"""
    engine: str | None = None
    """An engine's folder here; over SSH also one of wheels."""
    revision: Annotated[str | None, Field(pattern="^[0-9a-f]{40}$", examples=["5c0c7a3e" * 5])] = None
    """That commit of the weights, in full."""


class JudgedOptions(NextOptions, TokenFile, LoraOptions):
    """Which release is served next, and by what it is judged."""

    heading: ClassVar[str] = "The upgrade"

    slower_at_most: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Taken back where a short probe makes fewer tokens/s than the present one, by more than this share."""

    @property
    def news(self) -> bool:
        """Whether a flag names something new."""
        return bool(self.lora) or any(
            value is not None for value in (self.vllm_version, self.engine, self.revision)
        )


class RollOptions(JudgedOptions):
    """What the replicas are rolled to; without any of it they are only started anew."""


class UpgradeOptions(JudgedOptions):
    """Forward or back."""

    heading: ClassVar[str] = "The upgrade"

    rollback: bool = False
    """Serve the release before the present one again."""

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """Forward or back. Raises UsageError."""
        if self.rollback and self.news:
            raise UsageError(
                "--rollback is the way back, and takes nothing new.", "Leave out --rollback, or the rest."
            )
        return self
