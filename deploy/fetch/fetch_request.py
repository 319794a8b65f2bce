"""What `corral fetch` is asked: which weights, at which commit, where to, and with which token."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from deploy.targets.token_file import TokenFile
from infra.argument import pasted
from infra.asked import Flag, either
from infra.errors import UsageError
from infra.near import is_called_json, meant
from infra.say import progress
from serving.model.models import PRECISIONS, Precision, model, models, published

if TYPE_CHECKING:  # weights are fetched by name without what reads plans
    from serving.sizing.plan import Plan
    from serving.vllm.serve_options import ServeOptions


class FetchOptions(TokenFile):
    """Which weights of a name, and where to."""

    heading: ClassVar[str] = "What is fetched"

    precision: Annotated[
        Precision | None,
        BeforeValidator(lambda typed: typed and typed.lower()),
        Field(description=f"Of scout and maverick: {either(PRECISIONS)}. [bf16, as released]"),
    ] = None
    to: Annotated[Path | None, Flag(metavar="FOLDER")] = None
    """A folder for the files as they are. [the Hub's own cache, where serve finds them]"""
    revision: Annotated[str | None, Field(pattern=r"^\w[\w./-]{0,200}$", examples=["main"])] = None
    """A commit, branch or tag, which is looked up once. [the one corral or the plan names, else main]"""
    accept_license: Annotated[Literal["llama4"] | None, Flag(metavar="llama4")] = None
    """Accept a licence for this CORRAL_HOME, once, with --country; also without MODEL. By it you say that you and your
    affiliates had at most 700 million monthly active users in March 2025."""
    country: Annotated[str | None, Field(pattern="^[A-Za-z]{2}$", examples=["US"])] = None
    """Of your principal place of business, or your domicile, by two letters."""
    other_rights: Annotated[
        str | None, Field(pattern=r"^[^\n\r]{3,200}$", examples=["agreement of 2026-01-31"])
    ] = None
    """What gives you the right where the licence does not, as in the European Union; it is kept."""
    verify: Annotated[str | None, Flag(metavar="NAME|FOLDER")] = None
    """Only say what is wrong with the weights of a deployment, where they lie, or with a folder that was fetched; asks
    no Hub. Exit 4 when anything is."""


def check_acceptance(options: FetchOptions) -> None:
    """Raise UsageError for an acceptance that lacks its country, or for what belongs to one without it."""
    if options.accept_license and not options.country:
        raise UsageError(
            "A licence is accepted by somebody somewhere.",
            "Say the country of your principal place of business: --accept-license llama4 --country US",
        )
    if (options.country or options.other_rights) and not options.accept_license:
        raise UsageError(
            "--country and --other-rights belong to a licence that is accepted.",
            "Add: --accept-license llama4",
        )


class Subject(NamedTuple):
    """Weights that are asked for."""

    model: str
    """As corral calls it."""
    repository: str
    revision: str | None
    """None for the newest."""
    beside: "tuple[Subject, ...]" = ()
    """A plan's draft and adapters of the Hub, each called as its folder below the model's: draft, adapters/NAME."""


def subject(what: str, options: FetchOptions) -> Subject:
    """What a MODEL or PLAN means. Raises UsageError for what the Hub does not have, DocumentError for a bad plan."""
    if not what.strip():
        raise UsageError("The model's name is empty.", "For example: corral fetch scout")
    if is_plan(what):
        return of_plan(Path(what), options)
    if is_deployed(what):
        return of_deployment(what, options)
    if what in models():
        return of_name(what, options)
    if options.precision:
        raise UsageError(f"{what} is one repository, of one precision.", "Leave out --precision.")
    if not is_repository(what):
        raise UsageError(
            f"{what!r} is no name of weights on the Hub, and no plan.",
            meant(what, models())
            or f"Use {', '.join(models())}, OWNER/NAME, a plan.json or a deployment. "
            "Is a folder here what was fetched? corral fetch --verify .",
        )
    listed = published(what)
    return Subject(what, what, options.revision or (listed[1].revision if listed else None))


def of_name(name: str, options: FetchOptions) -> Subject:
    """A model of the table, at a precision it is published in. Raises UsageError for another."""
    from serving.sizing.size_options import check_precision
    from serving.sizing.sized_model import precisions

    check_precision(options.precision, name)
    checkpoint = model(name).checkpoints[options.precision or precisions(name)[0]]
    return Subject(name, checkpoint.repo, options.revision or checkpoint.revision)


def is_plan(what: str) -> bool:
    """Whether the word means a plan file."""
    return is_called_json(what) or (what not in models() and not is_repository(what) and os.path.isfile(what))


def is_repository(what: str) -> bool:
    """Whether the word means a repository of the Hub: OWNER/NAME, and no folder that is here."""
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", what) is not None and not os.path.isdir(what)


def is_deployed(what: str) -> bool:
    """Whether a deployment is called so, and no model, which is told of."""
    from deploy.targets.deployment import names

    if "/" in what or what not in names():
        return False
    if what in models():
        progress(
            f"{what} is the model here; those of the deployment of that name: corral fetch --verify {what}"
        )
    return what not in models()


def of_deployment(name: str, options: FetchOptions) -> Subject:
    """What a deployment serves. Raises as `of_plan` does."""
    from deploy.targets.deployment import load

    return planned(load(name).plan, options)


def of_plan(path: Path, options: FetchOptions) -> Subject:
    """What the plan in a file serves. Raises as `planned` does, and DocumentError for what is none."""
    from serving.sizing.plan import Plan

    return planned(Plan.read(path), options)


def planned(plan: "Plan", options: FetchOptions) -> Subject:
    """What a plan serves, its draft and its adapters with it, as far as they come from the Hub.

    Raises UsageError for a model in a folder, or a precision or revision beside the plan's own.
    """
    if options.precision or options.revision:
        raise UsageError(
            "A plan says its precision and its revision itself.", "Leave out --precision and --revision."
        )
    serve = plan.serve
    beside = of_hub_beside(serve)
    if serve.model.startswith(("/", ".", "~")):
        alone = "; ".join(
            f"corral fetch {pasted(each.repository)}"
            + (f" --revision {each.revision}" if each.revision else "")
            for each in beside
        )
        raise UsageError(
            f"The plan's model is a folder of its own: {serve.model}.",
            f"Only what is beside it comes from a hub: {alone}"
            if beside
            else "Nothing of it is fetched from a hub.",
        )
    return Subject(plan.model, serve.model, serve.revision, beside)


def of_hub_beside(serve: "ServeOptions") -> tuple[Subject, ...]:
    """The draft and the adapters that a repository has."""
    from deploy.targets import adapters, drafts
    from serving.model import lora_files

    named = {drafts.PLACE: (serve.draft or "", serve.draft_revision)} if drafts.is_fetched(serve) else {}
    for module in serve.lora_modules:
        if of_hub := lora_files.of_hub(module.path):
            named[f"{adapters.PLACE}/{module.name}"] = of_hub
    return tuple(Subject(place, *repository) for place, repository in named.items())
