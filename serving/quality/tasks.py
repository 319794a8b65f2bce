"""PURE: known tasks by lm-evaluation-harness, and the user's own: which are asked for, and how the harness is told."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record
from serving.probe.apis import APIS
from serving.quality.quality_options import PairOptions, QualityOptions
from serving.quality.respondent import Respondent

MODEL_OF = {
    "completions": "local-completions",
    "chat": "local-chat-completions",
    "messages": "anthropic-chat-completions",
}
KEY_OF = {"completions": "OPENAI_API_KEY", "chat": "OPENAI_API_KEY", "messages": "ANTHROPIC_API_KEY"}
GOES_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""vLLM's chat: the last message is the answer's beginning."""


class Task(Record):
    """One, and how it is asked."""

    short: str
    """As the user calls it."""
    name: str
    """As the harness does."""
    items: int | None = None
    metric: str | None = None
    """Of each item 0 or 1, or between; None: the first that the harness tells of."""
    shots: int | None = None
    """Items with their answers that are shown before each; None: as the task says."""
    answer_tokens: int | None = None
    begins_answer: bool = False
    """The answer's first words are given."""
    runs_code: bool = False
    folder: Path | None = None
    """Where it is described, for one of the user's own."""


@cache
def tasks() -> Mapping[str, Task]:
    """The known ones."""
    table = shipped_table("serving.quality", "tasks.toml")
    return {short: Task(short=short, **row) for short, row in table["task"].items()}


def chosen(asked: QualityOptions, pair: PairOptions) -> tuple[Task, ...]:
    """The tasks that are asked for. Raises UsageError for one that is unknown, or may not be run."""
    if asked.tasks is None:
        return ()
    words = dict.fromkeys(word.strip() for word in asked.tasks.split(",") if word.strip())
    folder = asked.task_folder
    if asked.task_tokenizer and {pair.api_a, pair.api_b} != {"completions"}:
        raise UsageError(
            "--task-tokenizer is for an endpoint that scores given answers, and only completions does.",
            "Add: --api-a completions --api-b completions",
        )
    if folder is not None and not any(folder.glob("**/*.yaml")):
        raise UsageError(
            f"{folder} holds no task: no .yaml file.",
            "Describe one as lm-evaluation-harness wants it: docs/new_task_guide.md there.",
        )
    unknown = [word for word in words if folder is None and word not in tasks()]
    if unknown or not words:
        raise UsageError(
            f"--tasks {', '.join(unknown) or 'nothing'} is unknown.",
            f"One or more of: {','.join(tasks())}; one of your own: say where it lies with --task-folder.",
        )
    may_run = asked.run_generated_code
    found = tuple(
        tasks().get(word) or Task(short=word, name=word, runs_code=may_run, folder=folder) for word in words
    )
    if not may_run and any(task.runs_code for task in found):
        raise UsageError(
            "humaneval runs on this machine what the models write.",
            "On a machine that may be spoiled, such as a container: add --run-generated-code.",
        )
    return found


def arguments(of: Respondent, task: Task, limit: int | None, tokenizer: str | None) -> tuple[str, ...]:
    """The command's, after its name, but for where it writes."""
    api = of.target.api
    words = ["--model", MODEL_OF[api], "--model_args", json.dumps(model_arguments(of, task, tokenizer))]
    words += ["--tasks", task.name]
    words += ["--include_path", str(task.folder)] if task.folder else []
    words += [] if api == "completions" else ["--apply_chat_template"]
    words += ["--num_fewshot", str(task.shots)] if task.shots is not None else []
    if task.begins_answer and api == "chat" and of.version:
        words += ["--gen_kwargs", json.dumps(GOES_ON)]
    words += ["--limit", str(limit)] if limit else []
    words += ["--confirm_run_unsafe_code"] if task.runs_code else []
    return (*words, "--log_samples", "--seed", "0")


def model_arguments(of: Respondent, task: Task, tokenizer: str | None) -> dict[str, Any]:
    """Whom it asks, and how much at once."""
    given: dict[str, Any] = {
        "model": of.model,
        "base_url": f"{of.target.base_url}{APIS[of.target.api].path}",
        "num_concurrent": 8,
        "max_retries": 3,
        "timeout": 600,
    }
    if of.target.api == "completions":
        given |= tokens_by(tokenizer, of.longest)
    if task.answer_tokens:
        # A prompt is left half of the context at least.
        given["max_gen_toks"] = min(task.answer_tokens, (of.longest or 2 * task.answer_tokens) // 2)
    return given


def tokens_by(tokenizer: str | None, longest: int | None) -> dict[str, Any]:
    """Who cuts a text into tokens: the harness, which scores a given answer only so, or the server."""
    if tokenizer is None:
        return {"tokenizer_backend": None, "tokenized_requests": False}
    # It would send tokens without the first that Llama was trained to see, and 2048 of them at most.
    given = {"tokenizer": tokenizer, "tokenizer_backend": "huggingface", "tokenized_requests": True}
    return given | {"add_bos_token": True} | ({"max_length": longest} if longest else {})


def unsure(of: Respondent, task: Task) -> str:
    """What the figures of a task do not say of an endpoint; "" where nothing is known against them."""
    if not task.begins_answer or of.target.api == "completions" or (of.target.api == "chat" and of.version):
        return ""
    return (
        f"{task.short} begins each answer, and only of vLLM's own chat is it known how to ask to go on from there. "
        f"Where {of} begins another instead, its share says nothing."
    )
