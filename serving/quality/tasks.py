"""PURE: known tasks by lm-evaluation-harness: how it is asked, and what its answers, item by item, come to."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from infra import bounded_json
from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record
from serving.probe.apis import APIS
from serving.quality.bootstrap import Z_95, Interval, of_ratio
from serving.quality.respondent import Respondent

MODEL_OF = {
    "completions": "local-completions",
    "chat": "local-chat-completions",
    "messages": "anthropic-chat-completions",
}
KEY_OF = {"completions": "OPENAI_API_KEY", "chat": "OPENAI_API_KEY", "messages": "ANTHROPIC_API_KEY"}
Items = dict[tuple[str, int], float]
"""What each item was worth, 0 to 1, by its task's file and its number."""


class Task(Record):
    """One that is known by a short name."""

    name: str
    items: int
    runs_code: bool = False


class TaskResult(Record):
    """Both on the same items."""

    task: str
    items: int
    a: float
    """The share that is right."""
    b: float
    b_minus_a: Interval
    """Item by item."""
    cannot_show: float
    """A difference that is smaller would not be told from chance by so many items."""


@cache
def tasks() -> dict[str, Task]:
    """The known ones."""
    table = shipped_table("serving.quality", "tasks.toml")
    return {short: Task(**row) for short, row in table["task"].items()}


def asked(words: str, runs_code: bool) -> tuple[str, ...]:
    """The tasks of a list with commas. Raises UsageError for one that is unknown, or may not be run."""
    chosen = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    unknown = [word for word in chosen if word not in tasks()]
    if unknown or not chosen:
        raise UsageError(
            f"--tasks {', '.join(unknown) or 'nothing'} is unknown.", f"One or more of: {','.join(tasks())}"
        )
    if not runs_code and any(tasks()[word].runs_code for word in chosen):
        raise UsageError(
            "humaneval runs on this machine what the models write.",
            "On a machine that may be spoiled, such as a container: add --run-generated-code.",
        )
    return chosen


def arguments(of: Respondent, task: Task, limit: int | None, folder: str) -> tuple[str, ...]:
    """The command's, after its name. Raises UsageError for a model's name that it would take apart."""
    if "," in of.model or "=" in of.model:
        raise UsageError(
            f"lm-evaluation-harness takes no model of the name {of.model}.", "Serve it under another."
        )
    url = f"{of.target.base_url}{APIS[of.target.api].path}"
    model = f"model={of.model},base_url={url},num_concurrent=8,max_retries=3,timeout=600"
    if of.target.api == "completions":
        model += ",tokenizer_backend=None,tokenized_requests=False"
    words = ["--model", MODEL_OF[of.target.api], "--model_args", model, "--tasks", task.name]
    words += [] if of.target.api == "completions" else ["--apply_chat_template"]
    words += ["--limit", str(limit)] if limit else []
    words += ["--confirm_run_unsafe_code"] if task.runs_code else []
    return (*words, "--log_samples", "--seed", "0", "--output_path", folder)


def items_of(name: str, text: bytes) -> Items:
    """The items of one samples file, by the first filter that it tells of. Raises ValueError."""
    found: Items = {}
    first = None
    for line in text.splitlines():
        sample: dict[str, Any] = bounded_json.load(line)
        try:
            first = first or sample["filter"]
            if sample["filter"] == first:
                found[name, int(sample["doc_id"])] = float(sample[sample["metrics"][0]])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"a sample without {error}") from None
    return found


def result(task: str, a: Mapping[tuple[str, int], float], b: Mapping[tuple[str, int], float]) -> TaskResult:
    """Both on the items that both answered, of which there is one at least."""
    shared = [item for item in a if item in b]
    change = [b[item] - a[item] for item in shared]
    count = len(shared)
    between = of_ratio(change, [1.0] * count)
    spread = math.sqrt(math.fsum((each - between.mean) ** 2 for each in change) / count)
    return TaskResult(
        task=task,
        items=count,
        a=math.fsum(a[item] for item in shared) / count,
        b=math.fsum(b[item] for item in shared) / count,
        b_minus_a=between,
        # Of something that was not seen in so many there may be 3 in as many more: the rule of three.
        cannot_show=max(Z_95 * spread / math.sqrt(count), min(1.0, 3 / count)),
    )


def result_line(found: TaskResult) -> tuple[str, str, str, str, str]:
    """One task, as a row."""
    change = found.b_minus_a
    spread = "" if change.low is None or change.high is None else f"{change.low:+.1%} to {change.high:+.1%}"
    return (
        f"{found.task}, {found.items:,} items",
        f"{found.a:.1%}",
        f"{found.b:.1%}",
        spread,
        f"a difference below {found.cannot_show:.1%} cannot be shown",
    )
