"""A draft beside a model, where corral brings none."""

from infra.errors import UsageError
from serving.model.speculation import EXAMPLE
from serving.vllm.serve_options import ServeOptions


def refuse(serve: ServeOptions, where: str, instead: str = "") -> None:
    """Raise UsageError for a plan with a draft that would have to be brought there."""
    if serve.draft:
        raise UsageError(
            f"corral brings no draft {where}: {serve.draft}.",
            f"{instead}Plan with proposals that are looked up, which need none. {EXAMPLE}",
        )
