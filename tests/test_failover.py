"""What becomes of an attempt to launch, as values: what EC2's rows mean, and which other places it rules out."""

from types import SimpleNamespace
from typing import Any

import pytest

from infra.aws import failover
from infra.aws.failover import Attempt
from infra.aws.request import Spot
from infra.errors import CloudError

HERE = Spot(
    region="us-east-1", zone="us-east-1a", subnet_id="s", instance_type="g5.12xlarge", purchase="on-demand"
)


def row(state: str, instance: str = "ok", system: str = "ok") -> dict[str, Any]:
    """One of DescribeInstanceStatus."""
    return {
        "InstanceState": {"Name": state},
        "InstanceStatus": {"Status": instance},
        "SystemStatus": {"Status": system},
    }


RUNS = row("running")


@pytest.mark.parametrize(
    ("rows", "count", "verdict"),
    [
        ([], 1, "late"),
        ([RUNS], 1, "ready"),
        ([RUNS, RUNS], 2, "ready"),
        ([RUNS], 2, "late"),
        ([row("pending")], 1, "late"),
        ([row("running", instance="initializing")], 1, "late"),
        ([row("running", system="impaired")], 1, "late"),
        ([RUNS, row("running", system="initializing")], 2, "late"),
        *(
            ([RUNS, row(state)], 2, "died")
            for state in ("shutting-down", "terminated", "stopping", "stopped")
        ),
        ([row("stopped")], 3, "died"),
    ],
)
def test_what_has_become_of_the_nodes(rows: list[dict[str, Any]], count: int, verdict: str) -> None:
    assert failover.verdict(rows, count) == verdict


def dead(*codes: str) -> list[dict[str, Any]]:
    """Machines, each with the code of its end, or with none."""
    return [{"StateReason": {"Code": code, "Message": f"of {code}"}} if code else {} for code in codes]


@pytest.mark.parametrize(
    ("codes", "code", "reasons"),
    [
        ([], "died", "it ended without a reason"),
        ([""], "died", "it ended without a reason"),
        (["Server.B", "", "Server.A", "Server.B"], "Server.A", "of Server.A; of Server.B"),
        # A quota as the API says it: it decides where else is tried.
        (["Client.A", "Client.VolumeLimitExceeded"], "VolumeLimitExceeded",
         "of Client.A; of Client.VolumeLimitExceeded"),
        (["Client.InternalError"], "Client.InternalError", "of Client.InternalError"),
    ],
)  # fmt: skip
def test_why_machines_ended(codes: list[str], code: str, reasons: str) -> None:
    assert (failover.died_of(dead(*codes)), failover.reasons(dead(*codes))) == (code, reasons)


def test_an_end_for_no_fault_of_the_accounts_is_no_reason_to_stop() -> None:
    failover.refuse_own_fault(dead("Server.SpotInstanceTermination", ""), HERE)
    failover.refuse_own_fault(dead("Client.VolumeLimitExceeded"), HERE)
    with pytest.raises(CloudError) as error:
        failover.refuse_own_fault(dead("Client.New"), HERE)
    assert (error.value.message, error.value.hint) == (
        "on-demand g5.12xlarge in us-east-1a ended as it was launched: of Client.New.",
        "EC2 lays it to the account: look the code up among EC2's StateReason codes.",
    )


def attempt(code: str, **changes: Any) -> Attempt:
    return Attempt(spot=HERE.model_copy(update=changes), code=code, reason="why")


@pytest.mark.parametrize(
    ("code", "region", "purchase", "is_hopeless"),
    [
        ("InsufficientInstanceCapacity", "us-east-1", "on-demand", False),
        ("VcpuLimitExceeded", "us-east-1", "on-demand", True),
        ("VcpuLimitExceeded", "us-east-1", "spot", False),
        ("VcpuLimitExceeded", "us-west-2", "on-demand", False),
        ("UnauthorizedOperation", "us-east-1", "spot", True),
        ("UnauthorizedOperation", "us-west-2", "on-demand", False),
    ],
)
def test_what_one_failure_says_of_another_place(
    code: str, region: str, purchase: str, is_hopeless: bool
) -> None:
    other = HERE.model_copy(update={"region": region, "purchase": purchase})
    assert failover.hopeless(other, attempt(code)) is is_hopeless


EC2_QUOTA = "https://us-east-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-DB2E81BA"
EBS_QUOTA = "https://us-east-1.console.aws.amazon.com/servicequotas/home/services/ebs/quotas"
MORE_PLACES = "Allow more: --region, --zone, --instance-type or --purchase, each repeatable."


@pytest.mark.parametrize(
    ("tried", "said", "hint"),
    [
        ([attempt("VcpuLimitExceeded")],
         "No machine after 1 attempt: on-demand g5.12xlarge in us-east-1a: VcpuLimitExceeded.",
         f"Ask for more: {EC2_QUOTA}"),
        ([attempt("VcpuLimitExceeded", purchase="spot"), attempt("MaxIOPSLimitExceeded")],
         "No machine after 2 attempts: spot g5.12xlarge in us-east-1a: VcpuLimitExceeded; "
         "on-demand g5.12xlarge in us-east-1a: MaxIOPSLimitExceeded.",
         f"Ask for more: {EBS_QUOTA}"),
        ([attempt("VolumeLimitExceeded")],
         "No machine after 1 attempt: on-demand g5.12xlarge in us-east-1a: VolumeLimitExceeded.",
         f"Ask for more: {EBS_QUOTA}"),
        ([attempt("InsufficientInstanceCapacity"), attempt("VcpuLimitExceeded", zone="us-east-1b")],
         "No machine after 2 attempts: on-demand g5.12xlarge in us-east-1a: InsufficientInstanceCapacity; "
         "on-demand g5.12xlarge in us-east-1b: VcpuLimitExceeded.",
         MORE_PLACES),
    ],
)  # fmt: skip
def test_nowhere_is_told_with_every_attempt_and_what_would_help(
    tried: list[Attempt], said: str, hint: str
) -> None:
    one: Any = SimpleNamespace(replicas=1, machines=1)
    error = failover.nowhere(one, tried, 0)
    assert (error.message, error.hint) == (said, hint)


FAULTS = {
    "Client.InternalError": "Most often the KMS key that the account's volumes are encrypted with may not be used by "
    "who launches: aws ec2 get-ebs-default-kms-key-id --region us-east-1; have kms:CreateGrant and kms:Decrypt on it "
    "allowed.",
    "Client.InvalidSnapshot.NotFound": "The image's snapshot is gone: name another image (--ami ami-...).",
    "Client.InstanceInitiatedShutdown": "It shut itself down: another image may not (--ami), or a policy of the "
    "account's for new machines does it.",
    "Client.InstanceTerminated": "Somebody ended it, or a rule of the account's that ends such machines: ask "
    "CloudTrail who called TerminateInstances in us-east-1.",
    "Client.UserInitiatedShutdown": "Somebody stopped it, or a rule of the account's that stops such machines: ask "
    "CloudTrail who called StopInstances in us-east-1.",
    "Client.UserInitiatedHibernate": "Somebody hibernated it: ask CloudTrail who called StopInstances in us-east-1.",
}


@pytest.mark.parametrize("code", FAULTS)
def test_what_ec2_lays_to_the_account_has_a_hint_of_its_own(code: str) -> None:
    with pytest.raises(CloudError) as error:
        failover.refuse_own_fault(dead(code), HERE)
    assert error.value.hint == FAULTS[code]
    assert FAULTS.keys() == failover.OWN_FAULTS.keys()


def test_too_few_replicas_are_told_with_how_many_there_are() -> None:
    three: Any = SimpleNamespace(replicas=3, machines=3)
    error = failover.nowhere(three, [attempt("InsufficientInstanceCapacity")], 2)
    assert (error.message, error.hint) == (
        "Only 2 of 3 machines after 1 attempt: on-demand g5.12xlarge in us-east-1a: InsufficientInstanceCapacity.",
        f"{MORE_PLACES} To keep as few as there are: --min-replicas 2",
    )
    none = failover.nowhere(three, [attempt("InsufficientInstanceCapacity")], 0)
    assert (none.message.partition(" after")[0], none.hint) == ("Only 0 of 3 machines", MORE_PLACES)
