"""Two hosts as one fleet: one engine over both, on vLLM's own rendezvous, with nothing else reachable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.vllm import client
from serving.vllm.endpoint import Endpoint

pytestmark = [pytest.mark.fleet, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_one_engine_spans_two_hosts(
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    plan: Path,
    prefix: Path,
    engine_cache: Path,
) -> None:
    machines = [new_machine(), new_machine()]
    for machine in machines:
        machine.begin_sooner(engine_cache, forked=True)
        machine.power_on()
    document = json.loads(plan.read_text())
    document["machine"]["hosts"] = 2
    document["serve"]["tensor_parallel_size"] = 2
    plan.write_text(json.dumps(document))

    named = [word for machine in machines for word in ("--host", machine.name)]
    brought = ["--target", "ssh", *named, "--engine", str(prefix), "--name", "wide"]
    corral("provision", str(plan), *brought, "--yes")
    endpoint = Endpoint.model_validate(corral("serve", "wide"))
    client.canary(endpoint, 600)

    status = corral("status", "wide")
    assert status["state"] == "serving"
    assert f"{machines[1].name}: serving, works for the first host" in status["detail"]
    port = document["serve"]["port"]
    listening = [machine.ssh(f"ss -Hltn 'sport = :{port}'").split()[3:4] for machine in machines]
    assert listening == [[f"127.0.0.1:{port}"], []]

    # The hosts talk to each other through the lock, and to nobody else.
    proofs = corral("egress", "wide")["hosts"]
    assert [proof["completions"] for proof in proofs] == [5, 0]
    for proof in proofs:
        before, after = (proof[when]["lock"]["counters"]["peers"]["packets"] for when in ("before", "after"))
        assert after > before > 0

    assert corral("down", "wide")["left"] == []
    for machine in machines:
        assert machine.ssh("find / -xdev -name '*corral*' -not -path '/var/log/*'") == ""
