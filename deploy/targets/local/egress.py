"""What this machine's server was seen to be connected to, without root and without a lock. Never a proof."""

from datetime import UTC, datetime

from deploy.targets.deployment import Deployment, folder
from deploy.targets.prove_egress import ask
from infra.egress_proof import Egress, foreign, limits
from infra.onhost import egress_look as onhost
from serving.vllm import server
from serving.vllm.endpoint import Endpoint


def observed(deployment: Deployment, endpoint: Endpoint) -> Egress:
    """The connections a server that serves there has between completions."""
    seen: set[str] = set()
    asked = ask(endpoint, lambda: seen.update(connections(deployment)))
    ends = tuple(sorted(seen))
    out = tuple(f"the server has a connection to {end}" for end in foreign(ends, ()))
    return Egress(
        name=deployment.name,
        made_at=datetime.now(UTC),
        verdict="not proved" if out else "observed",
        problems=(*out, "on this machine corral loads no lock: its connections were only looked at"),
        observed=ends,
        completions=asked,
        limits=("Seen between completions only: what is short is missed.", *limits(("this machine",))),
    )


def connections(deployment: Deployment) -> list[str]:
    """The other ends of the connections of this machine's server now."""
    inodes = {inode for pid in server.members(folder(deployment.name)) for inode in onhost.inodes(pid)}
    return onhost.sockets(lambda owner, inode: inode in inodes)
