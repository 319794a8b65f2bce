"""The release that is asked for: a plan, a version, a commit, adapters; of the rest what is served now."""

from pathlib import Path

from deploy.releases.upgrade import with_address_of
from deploy.releases.upgrade_options import JudgedOptions
from deploy.targets import adapters
from deploy.targets.abilities import HoldsReleases, SendsFiles
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, deployment_for
from infra.errors import UsageError
from infra.say import progress
from serving.sizing.plan import Plan
from serving.vllm import versions


def next_of(
    present: Deployment,
    place: HoldsReleases,
    plan: tuple[Plan, Path | None] | None,
    asked: JudgedOptions,
    is_dry: bool = False,
) -> Deployment:
    """The deployment with what is new, at its present address. Asks no host; an adapter of the Hub is fetched, unless
    it is dry.

    Raises UsageError for what cannot be had there, DocumentError for a plan that cannot be read, DoesNotFit for one
    that does not fit.
    """
    refuse_nothing(present.name, plan, asked)
    read, beside = plan or (present.plan, None)
    token_file = asked.hf_token_file or present.hf_token_file
    planned = (
        adapters.given_unfetched(read, asked.lora)
        if is_dry
        else adapters.given_here(read, asked.lora, token_file)
    )
    if asked.vllm_version:
        planned = planned.model_copy(update={"vllm_version": asked.vllm_version})
    update = {"plan": deployment_for(planned, present.target, present.name).plan, "release": ""}
    wanted = with_address_of(present, place.pinned(present).model_copy(update=update))
    wanted = at_commit(place_of(present).with_token_file(wanted, asked.hf_token_file), asked.revision)
    version = asked.vllm_version or (None if asked.engine else version_planned(planned, present.plan))
    if version or asked.engine:
        wanted = place.with_engine(wanted, version, asked.engine)
    if beside and isinstance(there := place_of(present), SendsFiles):
        there.check_files(wanted, beside)
    tell_of_another_name(present, wanted)
    return wanted


def version_planned(planned: Plan, present: Plan) -> str | None:
    """The version of the engine that the next plan is for, where the present plan is for another; else None."""
    is_same = versions.release(planned.vllm_version) == versions.release(present.vllm_version)
    return None if is_same else planned.vllm_version


def refuse_nothing(name: str, plan: tuple[Plan, Path | None] | None, asked: JudgedOptions) -> None:
    """Raise UsageError where nothing new is named, or a plan on the way back."""
    if plan is None and not asked.news:
        raise UsageError(
            "Nothing new is named: neither a plan, nor a version, an engine, a commit or an adapter.",
            f"Say what comes next: corral upgrade {name} plan.json",
        )


def at_commit(deployment: Deployment, revision: str | None) -> Deployment:
    """With that commit of its weights. Raises UsageError where the model is a folder, which has none."""
    if revision is None:
        return deployment
    serve = deployment.plan.serve
    if serve.model.startswith(("/", ".", "~")):
        raise UsageError(f"{serve.model} is a folder, and has no commits.", "Leave out --revision.")
    plan = deployment.plan.model_copy(update={"serve": serve.model_copy(update={"revision": revision})})
    return deployment.model_copy(update={"plan": plan})


def tell_of_another_name(present: Deployment, wanted: Deployment) -> None:
    """Warn where whoever asks for the model by its name would not find it."""
    was, will = present.plan.serve.served_model_name, wanted.plan.serve.served_model_name
    if was != will:
        progress(f"warning: it will serve {will}; whoever asks for {was} gets a 404 then")
