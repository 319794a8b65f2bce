"""The adapters of a plan, wherever it is served: sent there, or refused, and proved at the start."""

from collections.abc import Sequence
from pathlib import Path

from infra.argument import pasted
from infra.errors import DocumentError, UsageError
from infra.say import progress, warn
from serving.model import lora_files
from serving.model.checkpoint_files import check_own
from serving.sizing.given_adapters import given
from serving.sizing.plan import Plan
from serving.vllm import lora_proof
from serving.vllm.endpoint import Endpoint
from serving.vllm.lora_modules import LoraModule, misapplied
from serving.vllm.serve_options import ServeOptions


def prove(serve: ServeOptions, endpoint: Endpoint) -> None:
    """Ask a server that has just started by the name of each adapter.

    Raises ServerError for one that changes nothing; EndpointError or AuthError where it does not answer.
    """
    lora_proof.require(endpoint, serve.adapters)
    for module in serve.lora_modules:
        progress(f"serve: the adapter {module.name} changes what the model says")
        warn(misapplied(module))


def refuse(serve: ServeOptions, where: str) -> None:
    """Raise UsageError for a plan with adapters that would have to be brought there."""
    if serve.lora_modules:
        raise UsageError(
            f"corral brings no adapter {where}: {serve.adapters[0]}.",
            "Serve it on this machine or on hosts of your own (--target local or ssh), or plan without --lora.",
        )


def sent(plan: Plan) -> tuple[LoraModule, ...]:
    """The adapters whose files are sent to a host, as they were planned for.

    Raises UsageError for one that has changed since, or is not of the model; DocumentError where a file is missing, or
    a link to something else.
    """
    modules = plan.serve.lora_modules
    if not modules:
        return ()
    for module in modules:
        for path in lora_files.paths(lora_files.folder_of(module)):
            if path.exists():
                check_own(path, path.parent)
    for planned, now in zip(modules, checked(plan), strict=True):
        lora_files.check_same(planned, now)
    return modules


def checked(plan: Plan) -> Sequence[LoraModule]:
    """Each as it lies here now, held to the plan's model where that can be read here, else by itself."""
    try:
        return given(plan, plan.serve.lora_modules).serve.lora_modules
    except DocumentError:
        if Path(plan.serve.model).exists():
            raise
        # The checkpoint lies on the host alone: what was planned for was held to it then.
        return [lora_files.unjudged(module) for module in plan.serve.lora_modules]


def there(serve: ServeOptions, folder: str) -> tuple[LoraModule, ...]:
    """The adapters below a folder of another machine, each in one of its own name."""
    return tuple(
        module.model_copy(update={"path": f"{folder}/{module.name}"}) for module in serve.lora_modules
    )


def copied(modules: Sequence[LoraModule], folder: str) -> str:
    """The shell's commands that put them below a folder, each in one of its own name."""
    return " && ".join(
        f"mkdir -p {pasted(f'{folder}/{module.name}')} && cp "
        f"{' '.join(pasted(f'{module.path}/{name}') for name in lora_files.FILES)} {pasted(f'{folder}/{module.name}')}"
        for module in modules
    )
