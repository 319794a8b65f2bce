"""PURE: what serve and status say to a person."""

import json
import shlex
from typing import cast

from deploy.targets.deployment import UP, Deployment
from deploy.targets.place import Status
from deploy.targets.table import PLACES
from infra.argument import pasted
from infra.printable import sentence
from serving.vllm.endpoint import Endpoint


def command(requests: list[dict[str, object]], as_json: bool) -> str:
    """The requests of a dry run: as JSON, or as shell lines that can be read and pasted."""
    if as_json:
        return json.dumps(requests, indent=2)
    return "\n".join(
        shell(request) if "argv" in request else json.dumps(request, indent=2) for request in requests
    )


def shell(request: dict[str, object]) -> str:
    """One command with its environment, as a shell would take it."""
    settings = cast(dict[str, str], request["environment"])
    given = [f"{name}={shlex.quote(value)} \\" for name, value in settings.items()]
    return "\n".join([*given, shlex.join(cast(list[str], request["argv"]))])


def endpoint(deployment: Deployment, answering: Endpoint) -> str:
    """Where it answers, and what to do with it: lines to paste; the last ends what was begun, and what it costs."""
    name = deployment.name
    key_file = pasted(answering.api_key_file) if answering.api_key_file else ""
    secret = f' -H "Authorization: Bearer $(cat {key_file})"' if key_file else ""
    body = json.dumps(
        {"model": answering.served_model_name, "messages": [{"role": "user", "content": "Hello"}]}
    )
    completions = shlex.quote(f"{answering.base_url}/v1/chat/completions")
    return (
        f"{answering.served_model_name} answers at {answering.base_url}\n"
        f"ask:      curl {completions}{secret} -H 'Content-Type: application/json' -d {shlex.quote(body)}\n"
        f"look:     corral status {name}; corral logs -f {name}\n"
        f"{ending(deployment)}"
    )


def ending(deployment: Deployment) -> str:
    """How to end it: what is rented goes on costing until it is given back."""
    name = deployment.name
    if not PLACES[deployment.target].rents:
        return f"end:      corral stop {name}"
    return f"pause:    corral stop {name}  # its volume still costs\nend:      corral down {name}"


def status(current: Status) -> str:
    """One line of status."""
    where = f" at {current.endpoint.base_url}" if current.endpoint else ""
    money = f", ${current.usd_so_far:.2f} so far" if current.usd_so_far is not None else ""
    until = f", until {current.expires_at}" if current.expires_at else ""
    gateway = f", gateway at {current.gateway}" if current.gateway else ""
    beside = f" with {', '.join(current.adapters)}" if current.endpoint and current.adapters else ""
    out = "".join(
        f"; its gateway gives {each} no requests, unless that is rolled just now: corral gateway ready {current.name} "
        f"{each}"
        for each in current.taken_out
    )
    how = f"{current.state}{where}{gateway}{beside}{money}{until}: {current.detail}{out}"
    return sentence(f"{current.name} ({current.target}): {how}")


NONE = f"No deployments. Make one: {UP}; made from another machine: corral hosts adopt --help"


def listed(statuses: list[Status], as_json: bool) -> str:
    """All deployments, a line each."""
    if as_json:
        return json.dumps([each.model_dump(mode="json") for each in statuses], indent=2)
    return "\n".join(map(status, statuses)) or NONE
