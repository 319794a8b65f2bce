"""PURE: what `corral upgrade` and `corral roll` say to a person."""

from deploy.releases.foreseen_roll import ForeseenReplica, ForeseenRoll, Order
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


SAID: dict[Order, str] = {
    "drain": "out of rotation",
    "wait": "its requests end (at most {wait:g} s)",
    "restart": "started anew",
    "upgrade": "turned to {release}",
    "canary": "asked a canary",
    "probe": "measured",
    "ready": "in rotation again",
}
MEANWHILE = {
    "served by others": "",
    "waiting": "; no other server is well, so new requests wait in the gateway",
    "refused": "; no gateway gives it its requests, so new ones are refused until it is back",
}


def foreseen_text(seen: ForeseenRoll) -> str:
    """What a roll would do to each replica, in its order."""
    what = f"turn {seen.name} from {seen.previous} to {seen.release}"
    if seen.release == seen.previous:
        what = f"start {seen.name} anew, which serves {seen.release}"
    lines = [f"A roll would {what}, one replica after the other; nothing was changed."]
    lines += [f"changes: {each}" for each in seen.changes]
    lines += [f"{at}. {replica_text(seen, each)}" for at, each in enumerate(seen.replicas, 1)]
    return "\n".join(lines)


def replica_text(seen: ForeseenRoll, one: ForeseenReplica) -> str:
    """How one replica is, and what would be done to it."""
    steps = ", ".join(SAID[each].format(wait=seen.wait_at_most_s, release=seen.release) for each in one.steps)
    how = one.state if one.state == "serving" else f"{one.state} ({one.detail})"
    return f"{one.name}, {how}: {steps or 'left as it is'}{MEANWHILE.get(one.meanwhile or '', '')}"


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
        lines.append(f"left:    {', '.join(done.skipped)}, done before")
    return "\n".join(lines)
