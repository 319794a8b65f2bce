"""PURE: what `corral upgrade` and `corral roll` say to a person."""

from deploy.releases.release import Release
from deploy.releases.roll import Rolled
from deploy.releases.upgrade import Upgraded


def upgraded(done: Upgraded) -> str:
    """Which release is accepted, and how it compares."""
    if not done.changed:
        return f"{done.name} is {described(done.release)} already; nothing was done."
    return (
        f"{done.name} serves {described(done.release)}\n"
        f"before:  {described(done.previous)}\n"
        f"back:    corral upgrade {done.name} --rollback"
    )


def described(one: Release) -> str:
    """A release in one line."""
    serve = one.deployment.plan.serve
    commit = f" at {serve.revision[:12]}" if serve.revision else ""
    speed = f", {one.figures.output_tokens_per_s:,.1f} tokens/s in a short probe" if one.figures else ""
    return f"release {one.id}: vLLM {one.vllm_version}, {serve.model}{commit}{speed}"


def rolled(done: Rolled) -> str:
    """Which replicas were started anew, and what they serve."""
    is_other = done.release != done.previous
    what = (
        f"serves {done.release} now, and served {done.previous} before"
        if is_other
        else f"serves {done.release}"
    )
    lines = [f"{done.name} {what}"]
    if done.rolled:
        lines.append(f"rolled:  {', '.join(done.rolled)}, one after the other")
    if done.skipped:
        lines.append(f"left:    {', '.join(done.skipped)}, which served it already")
    return "\n".join(lines)
