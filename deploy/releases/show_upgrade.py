"""PURE: what `corral upgrade` says to a person."""

from deploy.releases.release import Release
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
