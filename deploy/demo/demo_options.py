"""What may be asked of the demo."""

from typing import Annotated, ClassVar

from infra.asked import Flag
from serving.probe.probe_options import ServerOptions
from serving.vllm.endpoint import Endpoint


class DemoOptions(ServerOptions):
    """Whom it measures, where it starts no server of its own."""

    heading: ClassVar[str] = "The endpoint"

    endpoint: Annotated[str | None, Flag(metavar="URL")] = None
    """Use this OpenAI-compatible endpoint; starts no server. The others say more of it."""

    @property
    def server(self) -> Endpoint | None:
        """That endpoint; None where the demo starts its own."""
        if self.endpoint is None:
            return None
        return Endpoint(
            base_url=self.endpoint, served_model_name=self.model or "", api_key_file=self.api_key_file
        )
