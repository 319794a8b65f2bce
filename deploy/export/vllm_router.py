"""vllm-router (the vllm-project's own, in Rust): one address for replicas of one model."""

import shlex

from deploy.export.litellm import endpoints, keys_note
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from serving.vllm.startup_log import load_budget_s

ROUTER = "0.1.17"
CHECK_S = 2
"""Its own 60 s would send requests to a server that died for as long."""

SCRIPT = """\
#!/bin/sh
# One address for replicas of one model. Requests keep their Authorization header on the way to a server.
set -eu
exec vllm-router \\
    --host 127.0.0.1 --port {port} \\
    --policy cache_aware \\
    --health-check-interval-secs {check_s} \\
    --worker-startup-timeout-secs {patience_s} \\
    --worker-urls {urls}
"""


def render(ask: Ask) -> Export:
    """router.sh; every server must have the same key, which the router is not told."""
    script = SCRIPT.format(
        port=8080,
        check_s=CHECK_S,
        patience_s=load_budget_s(ask.plan.weights_bytes),
        urls=shlex.join(endpoints(ask)),
    )
    return Export(
        format="vllm-router",
        files=(HostFile(path="router.sh", content=script, mode="0755"),),
        notes=(
            f"Run with vllm-router {ROUTER} before two fake servers, whose keys it passed on: of one that was killed "
            "only what it had was lost. Not with a GPU.",
            "It is the package vllm-router of the vllm-project, not production-stack's module of the same name.",
            "Who reaches its port may add and remove servers without a key (/add_worker, /remove_worker): it listens "
            "on loopback only; what you put before it must let no more than /v1 through.",
            *keys_note(ask),
            "Known: /v1/models answers 500 while one server is dead (vllm-project/router issue 135).",
            f"Next: pip install vllm-router=={ROUTER} && ./router.sh",
        ),
    )
