"""What may be asked of the demo."""

from typing import Annotated, ClassVar

from pydantic import field_validator

from infra.asked import Flag
from infra.errors import UsageError
from serving.probe.endpoint_options import ServerOptions
from serving.vllm.endpoint import Endpoint


class DemoOptions(ServerOptions):
    """Whom it measures, where it starts no server of its own."""

    heading: ClassVar[str] = "The endpoint"

    endpoint: Annotated[str | None, Flag(metavar="URL")] = None
    """Use this OpenAI-compatible endpoint; starts no server. The others say more of it."""

    @field_validator("model")
    @classmethod
    def one(cls, model: tuple[str, ...]) -> tuple[str, ...]:
        """One model, by its name alone. Raises UsageError."""
        if len(model) > 1:
            raise UsageError("The demo asks one model.", f"For example: --model {model[0]}")
        return model

    @property
    def server(self) -> Endpoint | None:
        """That endpoint; None where the demo starts its own."""
        if self.endpoint is None:
            return None
        return Endpoint(
            base_url=self.endpoint,
            served_model_name=self.model[0] if self.model else "",
            api_key_file=self.api_key_file,
        )
