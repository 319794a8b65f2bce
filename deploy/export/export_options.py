"""What may be asked of `corral export`, and what is to be rendered then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from deploy.export.deployed import answers_at
from deploy.export.formats import FORMATS
from deploy.export.rendering import Ask, RoutedClass
from deploy.export.routed_classes import compared_classes, planned_classes, routed
from deploy.export.router_options import RouterOptions
from deploy.export.watch_options import WatchOptions
from deploy.targets import deployment as deployments
from deploy.targets.ec2.options import BoxOptions
from deploy.targets.wishes import NameOptions, asked_for
from infra.asked import Flag, either, flag_names
from infra.errors import UsageError
from infra.say import progress
from serving.sizing.carried import one_of
from serving.sizing.given_adapters import given
from serving.sizing.plan import Plan
from serving.vllm import chat_template
from serving.vllm import versions as vllm_versions
from serving.vllm.lora_modules import LoraOptions

TAKEN_BY = {
    "replicas": "replicas",
    "namespaces": "guarded",
    "endpoints": "in_front",
    "lora": "adapters",
    "fallback_to_claude": "falls_back",
    "claude_model": "falls_back",
    "classes": "falls_back",
    "comparison": "falls_back",
    **dict.fromkeys(WatchOptions.model_fields, "watches"),
    **dict.fromkeys(BoxOptions.model_fields, "rents"),
}
"""Option -> what a format must be to take it; every other is for all of them."""
INSTEAD = {"replicas": "Leave out --replicas; in front of several machines stands what --to litellm writes."}


class ExportOptions(NameOptions, RouterOptions, WatchOptions, BoxOptions, LoraOptions):
    """What is rendered, and where it is written."""

    heading: ClassVar[str] = "Options"

    to: Annotated[
        str,
        Flag(metavar="FORMAT"),
        Field(description=f"{either(tuple(FORMATS))}.", examples=["compose"]),
    ]
    output: Annotated[Path | None, Flag("--output -o")] = None
    """Write the files into this folder."""
    force: bool = False
    """Replace files that are different."""
    replicas: Annotated[int, Flag(shows_limits=True), Field(ge=1, le=1000)] = 1
    """Equal servers, where the format has them."""
    namespaces: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")], ...],
        Flag("--allow-namespace"),
        Field(examples=["monitoring"]),
    ] = ()
    """For a cluster: whose pods may ask the server, too, as an ingress's or Prometheus'; repeatable."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The record. Raises UsageError for what only another format takes, and then for what does not hold."""
        typed = asked_for(cls, given)
        for field in filter(typed.__contains__, cls.model_fields):
            refuse_ignored(given["to"], field)
        options = super().of(given)
        if "claude_model" in typed:
            options.require_use_of_claude()
        return options


def ask_for(
    planned: Plan, beside: Path | None, options: ExportOptions, deployed: deployments.Deployment | None = None
) -> Ask:
    """What is to be rendered; the plan's file lies in that folder, None for a deployment's, which was looked at then.

    A deployment that is named gives its name and where its servers answer.

    Raises UsageError or DocumentError; asks nobody.
    """
    plan = given(planned, options.lora)
    if beside is not None:
        chat_template.check_planned(plan.serve, beside)
    vllm_versions.check_planned(plan.vllm_version, progress, plan.serve)
    if plan.carried and plan.carried.servers != options.replicas:
        progress(one_of(plan.carried) or "The plan is of one server.")
    own_name = deployed.name if deployed else deployments.default_name(plan)
    known = answers_at(options.to, deployed) if deployed and not options.endpoints else ()
    return Ask(
        plan=plan,
        name=deployments.checked_name(options.name if options.name is not None else own_name),
        replicas=options.replicas,
        namespaces=options.namespaces,
        endpoints=options.endpoints or known,
        claude_model=options.claude_model,
        falls_back=options.fallback_to_claude,
        ttft_s=options.ttft,
        budget_usd_per_month=options.budget_usd_per_month,
        ends_at=options.ends_at,
        gpu_metrics=options.gpu_metrics,
        gateway_metrics=options.gateway_metrics,
        classes=classes_of(plan, options),
        has_one_name=not options.classes and options.comparison is None,
        box=options,
    )


def classes_of(plan: Plan, options: ExportOptions) -> tuple[RoutedClass, ...]:
    """Those that were named, else those the plan was made for. Raises UsageError or DocumentError."""
    if options.comparison is not None:
        return compared_classes(options.comparison, plan)
    return routed(options.classes) or planned_classes(plan)


def refuse_ignored(to: str, field: str) -> None:
    """Raise UsageError for an option that a format would ignore."""
    trait = TAKEN_BY.get(field)
    if trait is None or to not in FORMATS or getattr(FORMATS[to], trait):
        return
    flag = flag_names(ExportOptions, field)[0]
    takers = [name for name, form in FORMATS.items() if getattr(form, trait)]
    raise UsageError(f"{flag} is for --to {either(takers)} only.", INSTEAD.get(field) or f"Leave out {flag}.")
