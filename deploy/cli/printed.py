"""What each verb prints with --json, as a JSON Schema made from the record itself, for programs that read it."""

from typing import Any

from infra.errors import UsageError
from infra.record import Record

OF_EVERY_DOCUMENT = {
    "document": "What kind of document it is, by which a reader tells it from any other.",
    "schema_version": "Of that kind; a corral that reads another says so and reads nothing of it.",
}
"""Field -> what it is, wherever there is one."""


class ErrorSaid(Record):
    """What went wrong."""

    type: str
    """The kind of error, as in the table of exit codes: UsageError."""
    message: str
    """What is wrong, as on stderr after `error: `."""
    hint: str
    """What to do next; empty where nothing can be said."""
    exit_code: int
    """The one that the verb ends with."""


class Failure(Record):
    """What a verb prints in place of its result when it has none; a result with a bad exit code stays a result."""

    error: ErrorSaid
    """What stderr says, too."""


def schema(verb: str) -> dict[str, Any]:
    """The JSON Schema of a verb's result, or of `error`. Raises UsageError for a verb that prints none."""
    from pydantic import TypeAdapter

    known = printed()
    if verb not in known:
        raise UsageError(f"{verb!r} prints no JSON that is described.", f"Described: {', '.join(known)}.")
    made: dict[str, Any] = TypeAdapter(known[verb]).json_schema(
        mode="serialization", schema_generator=with_docstrings()
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"title": f"corral {verb}"}


def with_docstrings() -> Any:
    """What makes a schema, each field with its docstring. A record itself has none: to read them takes its source."""
    from pydantic.json_schema import GenerateJsonSchema

    from infra.asked import docstrings

    class WithDocstrings(GenerateJsonSchema):
        def model_schema(self, schema: Any) -> dict[str, Any]:
            return told(super().model_schema(schema), schema["cls"])

        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            return told(super().dataclass_schema(schema), schema["cls"])

    def told(made: dict[str, Any], kind: type) -> dict[str, Any]:
        for each in kind.__mro__:
            for field, said in (docstrings(each) | OF_EVERY_DOCUMENT).items():
                if field in made.get("properties", {}):
                    made["properties"][field].setdefault("description", " ".join(said.split()))
        return made

    return WithDocstrings


def printed() -> dict[str, Any]:
    """Verb -> the type of what it prints. Called by nothing that must be fast: it imports every verb's records."""
    from deploy.bundle.create import Made
    from deploy.bundle.install import Installed
    from deploy.bundle.verify import Verdict
    from deploy.cli.settings import Settings
    from deploy.costs.claims import Claims
    from deploy.costs.claude_cost import ClaudeCost
    from deploy.costs.comparison import Comparison
    from deploy.demo.play import Demo
    from deploy.doctor import Diagnosis
    from deploy.export.rendering import Export
    from deploy.fetch.fetch_weights import FetchedWeights, VerifiedWeights
    from deploy.fetch.verify_deployment import VerifiedDeployment
    from deploy.gateway.foreseen_gateway import ForeseenGateway
    from deploy.gateway.gateway import GatewayConfig, GatewayStatus
    from deploy.gateway.keys import Keys, NewKey
    from deploy.gateway.usage import Usage
    from deploy.releases.foreseen_roll import ForeseenRoll
    from deploy.releases.roll import Rolled
    from deploy.releases.upgrade import Upgraded
    from deploy.targets.abilities import Pushed
    from deploy.targets.deployment import Deployment
    from deploy.targets.ec2.blocks import Bought
    from deploy.targets.licence import Acceptance
    from deploy.targets.place import Status, Teardown
    from deploy.targets.show_provision import Extended, Reaped
    from deploy.targets.ssh.owned_hosts import Inventory
    from infra.aws.capacity_blocks import Offering
    from infra.aws.stored_prices import PriceTable
    from infra.egress_checks import Verified
    from infra.egress_proof import Egress
    from serving.model.calibration import Calibration
    from serving.probe.diff import Difference
    from serving.probe.repeats import Repeats
    from serving.probe.report import ProbeReport
    from serving.probe.sweep_report import Sweep
    from serving.quality.blind import WinRate
    from serving.quality.quality_folder import PageWritten
    from serving.quality.quality_report import Quality
    from serving.simulation.simulation import Simulation
    from serving.sizing.capacity import Capacity
    from serving.sizing.plan import Plan
    from serving.sizing.size import Ranking
    from serving.vllm.endpoint import Endpoint
    from serving.vllm.engine import Engine
    from serving.vllm.events import Event
    from serving.vllm.pack import Packed

    requests = list[dict[str, Any]]  # of --dry-run
    return {
        "bundle create": Made,
        "bundle install": Installed,
        "bundle verify": Verdict,
        "calibrate": Calibration,
        "capacity": Capacity,
        "capacity-block buy": Bought,
        "capacity-block list": list[Offering],
        "claude-cost": ClaudeCost,
        "compare": Comparison | Claims,
        "config": Settings,
        "connect": Endpoint,
        "demo": Demo,
        "doctor": Diagnosis,
        "down": Teardown,
        "egress": Egress,
        "egress prove": Egress,
        "egress verify": Verified,
        "engine install": Engine,
        "engine pack": Packed,
        "engine show": Engine,
        "error": Failure,
        "export": Export,
        "extend": Extended,
        "fetch": FetchedWeights | VerifiedWeights | VerifiedDeployment | Acceptance,
        "gateway": GatewayStatus | GatewayConfig | ForeseenGateway,
        "gateway drain": GatewayStatus,
        "gateway ready": GatewayStatus,
        "gateway start": GatewayStatus | GatewayConfig | ForeseenGateway,
        "gateway status": GatewayStatus,
        "gateway stop": GatewayStatus,
        "hosts adopt": Deployment,
        "hosts show": Inventory,
        "keys add": NewKey,
        "keys list": Keys,
        "keys revoke": Keys,
        "keys rotate": NewKey,
        "keys usage": Usage,
        "prices": PriceTable,
        "probe": ProbeReport | Repeats,
        "probe diff": Difference,
        "probe report": ProbeReport,
        "probe run": ProbeReport | Repeats,
        "probe sweep": Sweep,
        "provision": Deployment | requests,
        "quality": Quality | PageWritten,
        "quality rated": WinRate,
        "quality run": Quality | PageWritten,
        "reap": Reaped,
        "report": Comparison,
        "roll": Rolled | ForeseenRoll,
        "serve": Endpoint | requests,
        "simulate": Simulation,
        "size": Plan | Ranking,
        "status": Status | list[Status] | list[Event],
        "stop": Status,
        "up": Endpoint | requests,
        "upgrade": Upgraded,
        "weights push": Pushed,
    }
