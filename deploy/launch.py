"""From what a user named, a plan file or a deployment, to a serving endpoint."""

from collections.abc import Callable
from pathlib import Path

from deploy.by_name import is_file, is_named
from deploy.line import unrefused
from deploy.provision_request import tell_of_others
from deploy.releases import settling
from deploy.targets import deployment as deployments
from deploy.targets.abilities import HoldsReleases, PreparesToServe, RunsAsUnit, Supervised
from deploy.targets.another_port import PortOption, with_port
from deploy.targets.choose import place_called, place_of
from deploy.targets.deployment import Deployment, deployment_for
from deploy.targets.place import Place
from deploy.targets.table import default
from deploy.targets.token_file import TokenFile
from deploy.targets.wishes import NameOptions
from infra.errors import UsageError
from serving.sizing.given_adapters import given
from serving.sizing.plan import Plan
from serving.vllm.endpoint import Endpoint
from serving.vllm.lora_modules import LoraModule, LoraOptions, asked_again

Bring = Callable[[Plan, tuple[LoraModule, ...]], Plan]
"""What gives a plan those adapters."""


class ServingOptions(NameOptions, TokenFile, LoraOptions, PortOption):
    """How a deployment is served."""

    supervise: bool = False
    """Stay, and start it again when it dies or hangs; Ctrl-C ends it."""
    unit: bool = False
    """The same as a unit of your own systemd: at boot too, until stopped."""


def deployment_of(
    what: str,
    name: str | None = None,
    port: int | None = None,
    lora: tuple[LoraModule, ...] = (),
    bring: Bring = given,
) -> Deployment:
    """The deployment that a plan file or a name means, with adapters in place of its own where some are given.

    They lie here, unless what brings them fetches them.

    Raises DocumentError when there is neither.
    """
    if is_named(what) or not is_file(what):
        if name is not None:
            raise UsageError(
                f"{what} is no plan file, so --name has nothing to name.", "Give a plan.json, or only a name."
            )
        return with_adapters(with_port(deployments.load(what), port), lora, bring)
    plan = bring(Plan.read(Path(what)), lora)
    here, _ = place_called(default()).wished(deployment_for(plan, default(), name), None)
    tell_of_others(plan)
    return with_port(here, port)


def token_file_of(what: str, named: str | None) -> str:
    """The file of the token that adapters are fetched with: the one named, else the deployment's; empty for none."""
    of_file = is_file(what) and what not in deployments.names()
    return named or ("" if of_file else deployments.load(what).hf_token_file)


def with_adapters(deployment: Deployment, lora: tuple[LoraModule, ...], bring: Bring) -> Deployment:
    """The same deployment with those adapters, if any are given."""
    changed = deployment.model_copy(update={"plan": bring(deployment.plan, lora)})
    if changed.plan.serve.lora_modules != deployment.plan.serve.lora_modules:
        refuse_others(deployment, lora)
    return changed


def refuse_others(deployment: Deployment, lora: tuple[LoraModule, ...]) -> None:
    """Raise UsageError where other adapters would have to be brought, or would be another release than the accepted."""
    place, name, asked = place_of(deployment), deployment.name, asked_again(lora)
    if isinstance(place, PreparesToServe) and not deployment.release:
        return
    hint = f"Bring them as its next release: corral upgrade {name}{asked}"
    if not isinstance(place, HoldsReleases):
        hint = (
            f"Bring it up under another name with them: corral up plan.json --target {deployment.target} --name "
            f"{name[:38]}-2{asked}"
        )
    raise UsageError(f"{name} was brought with other adapters than these.", hint)


def shown(deployment: Deployment, asked: ServingOptions) -> list[dict[str, object]]:
    """What serving would ask of the world; refused as the run would be."""
    place = unrefused(deployment, is_made=True)
    if asked.supervise:
        supervised(place)
    if asked.unit:
        as_unit(place)
    return place.requests(deployment)


def supervised(place: Place) -> Supervised:
    """The place where somebody watches it from here. Raises UsageError for another."""
    if not isinstance(place, Supervised):
        raise UsageError("Only a server of this machine is supervised here.", "Elsewhere systemd does it.")
    return place


def as_unit(place: Place) -> RunsAsUnit:
    """The place where it becomes a unit of this user's. Raises UsageError for another."""
    if not isinstance(place, RunsAsUnit):
        raise UsageError(
            "Only a server of this machine becomes a unit of yours.", "Elsewhere it is one already."
        )
    return place


def launch(deployment: Deployment) -> Endpoint:
    """Make ready what costs nothing, keep the document, and serve.

    Raises UsageError for a name that another deployment has, at another place or running with other options.
    """
    return place_of(deployment).serve(kept(deployment))


def launch_unit(deployment: Deployment) -> Endpoint:
    """The same, served by a unit of this user's. Raises HostError where there can be none."""
    place = as_unit(place_of(deployment))
    place.require_units(deployment)
    return place.serve_as_unit(kept(deployment))


def kept(deployment: Deployment) -> Deployment:
    """The deployment with what costs nothing made ready, and its document kept."""
    place = unrefused(deployment, is_made=True)
    settling.settled(deployment.name)
    if isinstance(place, PreparesToServe):
        deployment = place.prepared(deployment)
    deployment.write(deployments.folder(deployment.name) / "deployment.json")
    return deployment
