"""The draft that was asked for beside a model: read where it lies, and held to the model as vLLM holds it."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import DocumentError, EndpointError, UsageError
from infra.fetch.hub_answers import NoCommit
from infra.printable import one_line
from infra.typed_path import typed_path
from serving.model.draft import (
    Draft,
    architecture_of,
    auxiliary_of,
    draft_words,
    parts_of,
    shaped,
    target_width,
)
from serving.model.models import Architecture
from serving.model.speculation import EXAMPLE, FLAG, Method, Speculation, data, speculation
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel
from serving.vllm.versions import number, rules

if TYPE_CHECKING:  # what reads checkpoints is imported where a draft is read
    from serving.model.safetensors import Tensor

EXPERTS = re.compile(r"\.experts\.")
JOINS = re.compile(r"(^|\.)fc\.weight")
KINDS: dict[Method, str] = {
    "eagle": "a head of EAGLE",
    "eagle3": "a head of EAGLE-3",
    "draft_model": "a whole model, no head of EAGLE",
}


def draft_of(subject: SizedModel, options: Options) -> Draft | None:
    """The draft, as it serves a model; None where none was asked for.

    Raises UsageError for one that does not suit the model, or that this vLLM lacks; DocumentError for a folder or a
    repository that is no draft; AuthError and EndpointError where the Hub does not tell.
    """
    if options.speculative_config is None:
        return None
    return suited(
        subject,
        options.speculative_config,
        options.acceptance_length,
        options.vllm_version,
        options.tensor_parallel_size,
        options.disable_hybrid_kv_cache_manager,
    )


@lru_cache(maxsize=256)
def suited(
    subject: SizedModel,
    given: str,
    accepted: float | None,
    version: str | None,
    tensor: int | None,
    alike: bool,
) -> Draft:
    """The same of what decides it: a search asks thousands of times."""
    asked = speculation(given)
    check_version(asked, subject, version)
    check_split(asked, tensor)
    found = read_once(asked.given, accepted)
    check_suits(found, subject)
    if not alike:
        check_pages(found, subject.architecture, version)
    return found


@lru_cache(maxsize=64)
def read_once(given: str, accepted: float | None) -> Draft:
    """What a JSON object names, read once for all machines and precisions of a question."""
    asked = speculation(given)
    length, of_length = acceptance(asked, accepted)
    if not asked.is_loaded:
        return Draft(asked, "", None, None, (), 0, "", length, of_length)
    listed = published(asked.model)
    if listed.get("shape") and not asked.revision:
        config = data()["shape"][listed["shape"]]
        a = architecture_of(config, asked.model)
        check_kind("eagle3", asked, asked.model)
        parts = shaped(config, a, draft_words(config, a))
        where, revision, source = asked.model, None, str(listed["source"])
    else:
        config, tensors, where, revision = files(asked)
        a, parts, source = (
            architecture_of(config, where),
            parts_of(tensors),
            f"safetensors headers of {where}",
        )
        check_layers(config, tensors, asked, where)
        check_kind(kind_of(tensors, a), asked, where)
    return Draft(
        speculation=asked,
        repo=where,
        revision=revision,
        architecture=a,
        parts=parts,
        auxiliary=auxiliary_of(config, asked),
        weights_source=source,
        accepted=length,
        accepted_as=of_length,
        positions=a.max_position_embeddings,
        target_width=target_width(config, a),
    )


def files(asked: Speculation) -> tuple[dict[str, Any], tuple["Tensor", ...], str, str | None]:
    """Its config, its tensors, where vLLM finds it, and the commit. Raises DocumentError and as the Hub's door."""
    from serving.model import checkpoint
    from serving.model.hub import headers

    path = typed_path(asked.model)
    if asked.model.startswith((".", "/", "~")) or asked.model.count("/") != 1 or os.path.isdir(path):
        if not os.path.isdir(path):
            raise UsageError(
                f"There is no draft at {one_line(asked.model, 200)}.",
                f"Name its folder, or its repository on the Hub, OWNER/NAME. {EXAMPLE}",
            )
        folder = Path(os.path.abspath(path))
        return checkpoint.config_of(folder), tuple(checkpoint.tensors(folder)), str(folder), None
    try:
        config, tensors, commit = headers(asked.model, asked.revision)
    except NoCommit:
        raise DocumentError(
            f"The draft {asked.model} has no commit {one_line(str(asked.revision), 60)!r}.",
            f"Correct 'revision' in {FLAG}, or leave it out.",
        ) from None
    except EndpointError as error:
        raise EndpointError(error.message, f"Name its folder, or propose by look-up. {EXAMPLE}") from None
    return config, tuple(tensors), asked.model, commit


def acceptance(asked: Speculation, accepted: float | None) -> tuple[float, str]:
    """Tokens of a step, and where that is from: the user, who measured that draft, or nobody."""
    if accepted is not None:
        if accepted > asked.tokens + 1:
            raise UsageError(
                f"--acceptance-length {accepted:g} is more than {asked.tokens} proposed tokens and the sampled one.",
                f"Make it at most {asked.tokens + 1}, or raise num_speculative_tokens in {FLAG}.",
            )
        return accepted, f"A step is taken to yield {accepted:g} tokens a request, as you say"
    listed = published(asked.model)
    measured = {
        each["text"]: float(each["by_tokens"][str(asked.tokens)])
        for each in listed.get("accepted", ())
        if str(asked.tokens) in each["by_tokens"]
    }
    if not measured:
        return 1.0, (
            "No proposed token is taken to be accepted, for nobody says how many are: that is the slow end. Say it by "
            '--acceptance-length, tokens a step (vLLM\'s log: "Mean acceptance length")'
        )
    least = min(measured, key=lambda text: measured[text])
    others = ", ".join(f"{text} {length:g}" for text, length in measured.items() if text != least)
    beside = f" (others: {others})" if others else ""
    return measured[least], (
        f"A step is taken to yield {measured[least]:g} tokens a request, as measured with {least}"
        f"{beside}: {listed['accepted_source']}. Yours may be others: --acceptance-length"
    )


def published(repo: str) -> dict[str, Any]:
    """What the table has of a draft; empty for one that it does not know."""
    rows: list[dict[str, Any]] = data()["draft"]
    return next((row for row in rows if row["repo"].lower() == repo.lower()), {})


def check_layers(
    config: dict[str, Any], tensors: tuple["Tensor", ...], asked: Speculation, where: str
) -> None:
    """Raise UsageError for a draft whose layers are not planned for."""
    if any(EXPERTS.search(tensor.name) for tensor in tensors):
        raise UsageError(
            f"The draft {where} has experts, which are not planned for.", f"Name a dense one. {EXAMPLE}"
        )
    if not asked.is_eagle and config.get("attention_chunk_size"):
        raise UsageError(
            f"The draft {where} attends in chunks, which is not planned for.", f"Name another. {EXAMPLE}"
        )


def kind_of(tensors: tuple["Tensor", ...], a: Architecture) -> Method:
    """What it is: a head of EAGLE joins the word with one hidden state of the model, one of EAGLE-3 joins several."""
    joins = next((tensor for tensor in tensors if JOINS.search(tensor.name)), None)
    if joins is None:
        return "draft_model"
    return "eagle" if joins.shape[-1:] == (2 * a.hidden_size,) else "eagle3"


def check_kind(kind: Method, asked: Speculation, where: str) -> None:
    """Raise UsageError for a draft that proposes in another way than it was said to."""
    if kind != asked.method:
        raise UsageError(f"The draft {where} is {KINDS[kind]}.", f'Say "method": "{kind}" in {FLAG}.')


def check_version(asked: Speculation, subject: SizedModel, version: str | None) -> None:
    """Raise UsageError for a vLLM that is older than any in which such drafts were seen."""
    seen = str(data()["read_in"][asked.method])
    planned = rules(version).version
    if number(planned) < number(seen):
        raise UsageError(
            f"Whether vLLM {planned} drafts by {asked.method} for {subject.family.title} was not looked up; "
            f"{seen} does.",
            f"Leave out --vllm-version, or plan for {seen} or newer.",
        )


def check_split(asked: Speculation, tensor: int | None) -> None:
    """Raise UsageError for a draft that is to be split otherwise than vLLM can, or than the model is."""
    if asked.tensor is None or asked.tensor == tensor or (asked.tensor == 1 and asked.is_eagle):
        return
    raise UsageError(
        f"draft_tensor_parallel_size {asked.tensor} in {FLAG} is not the model's.",
        f"Leave it out, which is the model's own, or add --tensor-parallel-size {asked.tensor}.",
    )


def check_suits(draft: Draft, subject: SizedModel) -> None:
    """Raise UsageError for a draft of another vocabulary or width, or that is larger than the model."""
    a, of = draft.architecture, subject.architecture
    if a is None:
        return
    if a.vocab_size != of.vocab_size:
        raise UsageError(
            f"The draft {draft.repo} has {a.vocab_size:,} words, and {subject.title} {of.vocab_size:,}.",
            f"Name a draft of this model's. {EXAMPLE}",
        )
    if draft.speculation.is_eagle and draft.target_width != of.hidden_size:
        raise UsageError(
            f"The draft {draft.repo} reads hidden states of {draft.target_width:,}, and those of {subject.title} have "
            f"{of.hidden_size:,}.",
            f"Name a draft of this model's. {EXAMPLE}",
        )
    if draft.weights_bytes >= subject.weights_bytes:
        raise UsageError(
            f"The draft {draft.repo} takes {draft.weights_bytes / 1e9:.1f} GB, no less than {subject.title} "
            f"{subject.precision} itself, {subject.weights_bytes / 1e9:.1f} GB.",
            f"Name a smaller one. {EXAMPLE}",
        )


def check_pages(draft: Draft, of: Architecture, version: str | None) -> None:
    """Raise UsageError where the hybrid KV manager would have to fit layers of other sizes to the model's."""
    a = draft.architecture
    if a is None or draft.speculation.is_eagle or not rules(version).hybrid:
        return
    if of.attention_chunk_size and (a.kv_heads, a.head_dim) != (of.kv_heads, of.head_dim):
        raise UsageError(
            f"The draft {draft.repo} keeps {a.kv_heads} x {a.head_dim} keys of a token, the model {of.kv_heads} x "
            f"{of.head_dim}: how vLLM's hybrid KV manager lays that out is not planned.",
            "Add --disable-hybrid-kv-cache-manager, which keeps all layers alike.",
        )
