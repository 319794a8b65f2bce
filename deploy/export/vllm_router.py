"""vllm-router (the vllm-project's own, in Rust): one address for replicas of one model."""

import shlex

from deploy.export.litellm import endpoints
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from serving.vllm.startup_log import load_budget_s

ROUTER = "0.1.17"

SCRIPT = """\
#!/bin/sh
# One address for replicas of one model. Requests keep their Authorization header on the way to a server.
set -eu
exec vllm-router \\
    --host 127.0.0.1 --port {port} \\
    --policy cache_aware \\
    --worker-startup-timeout-secs {patience_s} \\
    --worker-urls {urls}
"""


def render(ask: Ask) -> Export:
    """router.sh; every server must have the same key, which the router is not told."""
    urls = [endpoint.rstrip("/").removesuffix("/v1") for endpoint in endpoints(ask)]
    script = SCRIPT.format(port=8080, patience_s=load_budget_s(ask.plan.weights_bytes), urls=shlex.join(urls))
    return Export(
        format="vllm-router",
        files=(HostFile(path="router.sh", content=script, mode="0755"),),
        notes=(
            f"Run with vllm-router {ROUTER} before two fake servers, whose keys it passed on; not with a GPU.",
            "It is the package vllm-router of the vllm-project, not production-stack's module of the same name.",
            "Known: /v1/models answers 500 while one server is dead (vllm-project/router issue 135).",
            f"Next: pip install vllm-router=={ROUTER} && ./router.sh",
        ),
    )
