"""Machines as README, docs and helps tell to rent them: each line is typed, against the strict account in memory.

The afternoon at AWS is gone through on the wire: test_tutorial_aws.py.
"""

from datetime import datetime
from typing import NamedTuple

import pytest
import tutorials
from fake_aws import ACCOUNT, FakeAws
from test_ec2_several import aws, log
from test_ec2_weights import COMMIT, fetched
from told_places import PLACES, faults, home

from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2 import each_server
from infra.aws import user_policy
from infra.aws.api import Aws
from infra.aws.order import Order
from serving.vllm.endpoint import Endpoint

__all__ = ["aws", "home", "log"]

IAM = f"arn:aws:iam::{ACCOUNT}"
BOUNDARY = f"{IAM}:policy/corral-boundary"
AT_THE_HUB = f"WEIGHTS=hf://RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16@{COMMIT}"


class What(NamedTuple):
    """What a line rents."""

    machines: int = 1
    hours: int = 12
    """Until they end themselves."""
    idle_minutes: int | None = 60
    weights: str = AT_THE_HUB
    bounded_by: tuple[str | None, ...] = (None, None)
    """Of each role that was made for them; none where the user brings his own."""
    ended_by: str = f"{IAM}:role/corral-scout-end"


RENTED = {
    "gpu-box": What(bounded_by=(), ended_by=f"{IAM}:role/gpu-end"),
    BOUNDARY: What(bounded_by=(BOUNDARY, BOUNDARY), ended_by=f"{IAM}:role/corral-scout-int4-end"),
    "s3://models/scout/": What(weights="WEIGHTS=s3://models/scout/"),
    "never": What(hours=8, idle_minutes=None),
    "8h": What(hours=8),
    "3": What(machines=3),
}
"""By a word that is in a line: the first one that is."""


@pytest.fixture
def account(aws: FakeAws) -> FakeAws:
    """One in which an administrator made roles and a boundary, and a bucket holds the weights."""
    aws.iam.policies[BOUNDARY] = user_policy.boundary(user_policy.CORRALS)
    aws.iam.have("gpu-box", user_policy.box(user_policy.CORRALS), profile="gpu-box")
    aws.iam.have("gpu-end", user_policy.scheduler(user_policy.CORRALS))
    aws.s3.have("models").update({"scout/config.json": 9, "scout/a.safetensors": 60 * 2**30})
    return aws


def rented(account: FakeAws) -> tuple[str, What]:
    """A deployment's name, and what there is of it."""
    rows = [row for row in account.regions["us-east-1"].instances.values() if row["ended"] is None]
    (tags,) = {tuple((tag["Key"], tag["Value"]) for tag in row["Tags"]) for row in rows}
    name, end = dict(tags)["corral:deployment"], datetime.fromisoformat(dict(tags)["corral:expires-at"])
    made = [role for role in account.iam.roles.values() if role["made"]]
    (by,) = {each["Target"]["RoleArn"] for each in account.schedulers["us-east-1"].schedules.values()}
    hours = round((end.timestamp() - account.clock()) / 3600)
    idle = Order.read(folder(name) / "order.json").idle_minutes
    return name, What(len(rows), hours, idle, fetched(name), tuple(role["boundary"] for role in made), by)


@pytest.mark.slow
@pytest.mark.usefixtures("log", "home")
def test_what_is_told_of_renting_is_rented_and_can_be_given_back(
    account: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first three machines serve, too; that one does is shown on the wire."""
    served = [each_server.served]

    def three(aws: Aws, deployment: Deployment, order: Order) -> Endpoint:
        if order.replicas == 3 and served:
            return served.pop()(aws, deployment, order)
        return Endpoint(base_url="http://127.0.0.1:8000", served_model_name="llama-4-scout")

    monkeypatch.setattr(each_server, "served", three)
    monkeypatch.setenv("FAKE_MODEL", "llama-4-scout")
    monkeypatch.setenv("FAKE_NAME", "scout")
    sized = ["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", "plan.json"]
    assert tutorials.screen(sized)[0] == 0
    before, lines, found = account.live(), iter(PLACES["renting"]), dict[str, What]()

    def look() -> None:
        """What the line before has rented, which is then given back."""
        name, found[next(lines)] = rented(account)
        code, said = tutorials.screen(["down", name])
        assert (code, account.live()) == (0, before), said

    others = dict.fromkeys(PLACES["renting"][1:], look)
    assert faults("renting", monkeypatch, others) == {}
    look()
    wanted = {
        line: next((what for word, what in RENTED.items() if word in line.split()), What()) for line in found
    }
    assert found == wanted
    assert ([*found], served) == (PLACES["renting"], [])
