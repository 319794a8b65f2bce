"""Drafts and adapters of a rented box: from the Hub beside the weights, or below them where the weights are kept."""

import os
from collections.abc import Iterator

from deploy.targets import adapters, drafts, hub_weights
from deploy.targets.deployment import Deployment
from deploy.targets.hub_weights import OwnToken
from deploy.targets.place import Check
from infra import host as hosts
from infra.argument import pasted
from infra.errors import UsageError
from serving.model import lora_files
from serving.vllm.lora_modules import LoraModule
from serving.vllm.serve_options import ServeOptions


def fetched(serve: ServeOptions) -> dict[str, str]:
    """PURE: what the box fetches from the Hub: its folder below the root, and the address."""
    found = {drafts.PLACE: drafts.address(serve)} if drafts.is_fetched(serve) else {}
    for module in serve.lora_modules:
        if (named := lora_files.of_hub(module.path)) and named[1]:
            found[place_of(module)] = hosts.from_hub(*named)
    return found


def place_of(module: LoraModule) -> str:
    """Where an adapter lies, below the root or below the weights."""
    return f"{adapters.PLACE}/{module.name}"


def kept(serve: ServeOptions) -> dict[str, str]:
    """PURE: what is expected below the weights: its folder there, and the folder of this machine that it is made of."""
    named = {drafts.PLACE: serve.draft} if serve.draft else {}
    named |= {place_of(module): module.path for module in serve.lora_modules}
    from_hub = fetched(serve)
    return {place: folder for place, folder in named.items() if place not in from_hub}


def require_kept(serve: ServeOptions, weights: str | None) -> None:
    """Raise UsageError for a draft or an adapter in a folder of this machine, where the weights come from the Hub.

    So does an adapter of the Hub without a commit, which only a plan has that was written by hand.
    """
    for module in serve.lora_modules:
        named = None if os.path.exists(module.path) else lora_files.of_hub(module.path)
        if named and not named[1]:
            raise UsageError(
                f"Which commit of the adapter {module.name}, {named[0]}, to fetch is not known, and a branch may move.",
                f"Name it again, which looks it up: --lora {pasted(f'{module.name}={named[0]}')}",
            )
    for place, folder in kept(serve).items():
        if not weights:
            lies = pasted(folder)
            raise UsageError(
                f"EC2 cannot see the folder {folder} of this machine.",
                f"Put it below the weights in S3 (aws s3 sync {lies} s3://bucket/scout/{place}/), and say where they "
                "are: --weights s3://bucket/scout/",
            )


def there(serve: ServeOptions, name: str, release: str = "") -> ServeOptions:
    """PURE: the options with the box's own paths of the draft and the adapters; of a release in its folder."""
    from_hub = fetched(serve)

    def path(place: str) -> str:
        own = hosts.own_root(name, release) if place in from_hub else hosts.model_folder(name, release)
        return f"{own}/{place}"

    modules = tuple(
        module.model_copy(update={"path": path(place_of(module))}) for module in serve.lora_modules
    )
    return serve.model_copy(update={"lora_modules": modules}).with_draft(path(drafts.PLACE))


def sums(serve: ServeOptions) -> dict[str, str]:
    """PURE: what the files of the adapters must be on the box, by their paths below its root."""
    from_hub = fetched(serve)
    found: dict[str, str] = {}
    for module in serve.lora_modules:
        place = place_of(module)
        folder = place if place in from_hub else f"model/{place}"
        wanted = (module.config_sha256, module.weights_sha256)
        found |= {
            f"{folder}/{name}": each for name, each in zip(lora_files.FILES, wanted, strict=True) if each
        }
    return found


def settled(
    deployment: Deployment, weights: str | None, machine: OwnToken
) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commit of its draft, and what there is to say of all that comes beside the weights.

    Raises UsageError or DocumentError for an adapter that is another than was planned for, and what the Hub refuses.
    """
    adapters.check_those_here(deployment.plan)
    deployment, about = drafts.settled(deployment, machine)
    return deployment, (*about, *looked_at(deployment, weights, machine))


def looked_at(deployment: Deployment, weights: str | None, machine: OwnToken) -> Iterator[Check]:
    """The lines of adapters, and of what is expected below the weights."""
    serve, token = deployment.plan.serve, hub_weights.token_of(deployment)
    for module in serve.lora_modules:
        named = lora_files.of_hub(module.path)
        if named and named[1]:
            known = hub_weights.looked_up(*named, token, machine)
            yield hub_weights.check(known, f"adapter {module.name}")
    for place, folder in kept(serve).items():
        at = f"{(weights or '').rstrip('/')}/{place}/"
        unseen = "" if at.startswith("s3://") else "; what lies there is not looked at"
        found = f"expected at {at}, as in {folder} here{unseen}"
        yield Check(name=place, outcome="ok", found=found)
