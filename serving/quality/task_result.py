"""PURE: what lm-evaluation-harness wrote of a task, item by item, and what two endpoints' items come to."""

import math
from typing import Any

from infra import bounded_json
from infra.record import Record
from serving.quality.bootstrap import Z_95, Interval, of_ratio

Item = tuple[str, int, str]
"""Its task, its number, and what the harness makes of its text: the same of the same item."""
Items = dict[Item, float]
"""What each was worth, 0 to 1."""


class TaskResult(Record):
    """Both on the same items."""

    task: str
    """As lm-evaluation-harness calls it."""
    items: int
    """That both answered."""
    metric: str
    """What tells right from wrong, as lm-evaluation-harness calls it."""
    harness_version: str
    """Of lm-evaluation-harness."""
    a: float
    """The share that is right."""
    b: float
    """Share of them that B has right, 0 to 1."""
    b_minus_a: Interval
    """Item by item."""
    cannot_show: float
    """A difference that is smaller would not be told from chance by so many items."""


class Kept(Record):
    """What one run left."""

    metrics: tuple[str, ...]
    harness_version: str
    items: Items


def kept(metric: str | None, files: dict[str, bytes]) -> Kept:
    """What the files of one run say, by their names; of the samples what the first filter made of them.

    Raises ValueError for files that are not the harness's, or not all of a run's.
    """
    summary: dict[str, Any] = {}
    items: Items = {}
    metrics = set()
    for name, text in files.items():
        if name.startswith("results_"):
            summary = bounded_json.load(text)
        else:
            # samples_NAME_DATE.jsonl: the same name for both endpoints, another date.
            metrics.add(add_items(items, name.removeprefix("samples_").rpartition("_")[0], text, metric))
    try:
        wanted = sum(int(each["effective"]) for each in summary["n-samples"].values())
        version = str(summary["lm_eval_version"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"its results do not say {error}") from None
    if not items or len(items) != wanted:
        raise ValueError(f"it kept {len(items):,} samples of {wanted:,}")
    return Kept(metrics=tuple(sorted(metrics)), harness_version=version, items=items)


def add_items(items: Items, name: str, text: bytes, metric: str | None) -> str:
    """Add those of one samples file, and say by which metric: the one that is asked for, or its first."""
    first = None
    for line in text.splitlines():
        sample: dict[str, Any] = bounded_json.load(line)
        try:
            first = first or sample["filter"]
            if sample["filter"] != first:
                continue
            metric = metric or str(sample["metrics"][0])
            worth = float(sample[metric])
            items[name, int(sample["doc_id"]), str(sample["doc_hash"])] = worth
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"a sample of {name} without {error}") from None
        if not 0 <= worth <= 1:
            raise ValueError(f"{metric} of {name} is no share of what is right: {worth}")
    if metric is None:
        raise ValueError(f"no sample of {name}")
    return metric


def result(task: str, a: Kept, b: Kept) -> TaskResult:
    """Both on the items that both were asked. Raises ValueError where those are not the same."""
    if a.items.keys() != b.items.keys() or a.metrics != b.metrics:
        raise ValueError("A and B were not asked the same items")
    change = [b.items[item] - worth for item, worth in a.items.items()]
    count = len(change)
    between = of_ratio(change, [1.0] * count)
    spread = math.sqrt(math.fsum((each - between.mean) ** 2 for each in change) / count)
    return TaskResult(
        task=task,
        items=count,
        metric=", ".join(a.metrics),
        harness_version=a.harness_version,
        a=math.fsum(a.items.values()) / count,
        b=math.fsum(b.items.values()) / count,
        b_minus_a=between,
        # Of something that was not seen in so many there may be 3 in as many more: the rule of three.
        cannot_show=max(Z_95 * spread / math.sqrt(count), min(1.0, 3 / count)),
    )


def result_line(found: TaskResult) -> tuple[str, str, str, str, str]:
    """One task, as a row."""
    change = found.b_minus_a
    low, high = change.low, change.high
    spread = "" if low is None or high is None else f"{low:+.1%} to {high:+.1%}"
    shown = abs(change.mean) >= found.cannot_show and low is not None and high is not None and low * high > 0
    return (
        f"{found.task}, {found.items:,} items",
        f"{found.a:.1%}",
        f"{found.b:.1%}",
        spread,
        ("different" if shown else "no difference shown") + f"; one below {found.cannot_show:.1%} cannot be",
    )
