"""PURE: a comparison of answers as text: the finding first, then the figures, then what they do not say."""

from collections.abc import Iterator

from infra.columns import table, wrapped
from infra.quantity import counted
from serving.quality.bootstrap import Interval
from serving.quality.quality_report import Agreement, NoiseFloor, Perplexities, Quality, Side
from serving.quality.task_result import result_line

Row = tuple[str, str, str, str]


def quality_text(found: Quality) -> str:
    """What `corral quality` prints."""
    blocks = [headline(found), sides(found.a, found.b)]
    if found.perplexity and found.noise:
        blocks.append(table(figures(found, found.perplexity, found.noise)))
    if found.tasks:
        head = ("", "A", "B", "B - A, 95 %", "")
        blocks.append(table([head, *(result_line(each) for each in found.tasks)]))
    if found.notes:
        blocks.append("\n".join(wrapped(note, "- ") for note in found.notes))
    return "\n\n".join(blocks)


def headline(found: Quality) -> str:
    """The finding, on what, and in words."""
    if found.finding is None or found.perplexity is None:
        return f"B against A on known tasks, {found.made_on}"
    texts, tokens = counted(found.texts, "text"), counted(found.tokens, "token")
    first = f"{found.finding.upper()}: B against A on {texts}, {tokens}, {found.made_on}"
    said = in_words(found.perplexity.b_over_a) if found.finding == "different" else ALIKE
    return f"{first}\n{wrapped(said)}"


ALIKE = "B is no further from A than A, asked twice, from itself."


def in_words(ratio: Interval) -> str:
    """What a difference means for the texts."""
    change = f"{abs(ratio.mean - 1):.2%}"
    if ratio.low is not None and ratio.low > 1:
        return f"B foretells these texts worse than A: its perplexity is {change} higher."
    if ratio.high is not None and ratio.high < 1:
        return (
            f"B is another model than A, and foretells these texts better: its perplexity is {change} lower."
        )
    return "B says other things than A; that it foretells these texts better or worse is not shown."


def sides(a: Side, b: Side) -> str:
    """Who was asked."""
    return table((("A", who(a)), ("B", who(b))))


def who(side: Side) -> str:
    """One endpoint."""
    return f"{side.model} at {side.url}" + (f", vLLM {side.vllm_version}" if side.vllm_version else "")


def figures(found: Quality, perplexity: Perplexities, noise: NoiseFloor) -> Iterator[Row]:
    """Each figure with its interval, and what A differs from itself."""
    yield "", "", "95 % by text", "A from itself"
    yield "perplexity of A", f"{perplexity.a:,.4g}", spread(perplexity.a_interval), ""
    yield "perplexity of B", f"{perplexity.b:,.4g}", spread(perplexity.b_interval), ""
    ratio = perplexity.b_over_a
    yield "B / A", f"{ratio.mean:.4f}", spread(ratio, ".4f"), f"{noise.b_over_a.mean:.4f}"
    if (kl := found.kl_per_token) and noise.kl_per_token:
        itself = f"{noise.kl_per_token.mean:.3g}"
        yield "KL(A || B), nats a token", f">= {kl.mean:.3g}", spread(kl, ".3g"), itself
        yield "mass that it saw", f"{kl.covered:.2%}", "", ""
    if found.agreement and noise.agreement:
        yield from answers(found.agreement, noise.agreement)


def answers(between: Agreement, itself: Agreement) -> Iterator[Row]:
    """How far answers agree."""
    yield "same answer", f"{between.same.mean:.0%}", spread(between.same, ".0%"), f"{itself.same.mean:.0%}"
    yield (
        "in common",
        f"{between.common.mean:.0%}",
        spread(between.common, ".0%"),
        f"{itself.common.mean:.0%}",
    )


def spread(of: Interval, form: str = ",.4g") -> str:
    """From-to."""
    return "" if of.low is None or of.high is None else f"{of.low:{form}} to {of.high:{form}}"
