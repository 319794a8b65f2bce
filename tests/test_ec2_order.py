"""From a plan and the user's flags to an order: what is asked for, and what is refused before AWS hears of it."""

import json
import re
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import refusals
import yaml
from renting import an_order
from test_fake_aws import HERE, SPOT

from deploy.cli.main import run
from deploy.targets.deployment import Deployment, folder, make
from deploy.targets.ec2 import ordering
from deploy.targets.ec2.nearest_types import nearest, said
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.tags import OURS
from infra import catalog
from infra.aws import permissions, user_policy
from infra.aws.order import Order
from infra.aws.rented_machines import BILLED_TAG
from infra.aws.request import run_instances
from infra.cloud_init import packed
from infra.errors import UsageError
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options


def plan_on(machine: str, precision: str = "int4") -> Plan:
    return answer_for("scout", precision, machine, Options())


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_on("g5.12xlarge")


@pytest.fixture
def deployment(plan: Plan) -> Deployment:
    return make(plan, "ec2", "t1")


@pytest.fixture
def plan_file(plan: Plan, tmp_path: Path) -> Path:
    plan.write(tmp_path / "plan.json")
    return tmp_path / "plan.json"


def order(deployment: Deployment, **options: Any) -> Order:
    return ordering.order(deployment, Ec2Options(**{"regions": ("us-east-1",)} | options))


def test_the_order_of_a_plan(deployment: Deployment) -> None:
    made = order(deployment)
    assert (made.regions, made.instance_types, made.nodes) == (("us-east-1",), ("g5.12xlarge",), 1)
    assert made.usd_per_hour == 5.672
    assert re.search(r", 20\d\d-\d\d-\d\d$", made.price_source)
    assert (made.ttl_minutes, made.idle_minutes) == (720, 60)
    assert made.expires_at == made.created_at + timedelta(hours=12)


def test_the_box_is_told_its_limits_and_no_secret(deployment: Deployment) -> None:
    made = order(deployment, ttl="8h", hf_token_parameter="/team/hf-token", weights="s3://bucket/scout/")
    config = yaml.safe_load(made.user_data)
    assert ["shutdown", "-P", "+480"] in config["runcmd"]
    assert "unattended-upgrades.service" in config["bootcmd"][0]
    assert made.read_parameters == ("/team/hf-token",)
    assert made.read_s3 == ("s3://bucket/scout/",)
    # Of EC2's 16 KiB; what the user adds takes the rest.
    assert len(packed(made.user_data)) < 12 * 1024


def test_a_network_that_is_let_in_is_listened_to(deployment: Deployment) -> None:
    assert '"--host" "127.0.0.1"' in order(deployment).user_data
    assert '"--host" "0.0.0.0"' in order(deployment, cidr="203.0.113.0/24").user_data


def test_an_order_that_was_begun_is_carried_on_while_it_holds(deployment: Deployment) -> None:
    begun, again = order(deployment), order(deployment)
    assert ordering.renewed(None, again) is again
    assert ordering.renewed(begun, again) == begun
    # How few will do may be said anew: nothing was made by it.
    fewer = ordering.renewed(begun, again.model_copy(update={"min_replicas": 1}))
    assert fewer == begun.model_copy(update={"min_replicas": 1})
    over = begun.model_copy(update={"created_at": begun.created_at - timedelta(hours=12)})
    assert ordering.renewed(over, again) is again
    with pytest.raises(UsageError, match="'t1' was begun with other options"):
        ordering.renewed(begun, order(deployment, ttl="1h"))


def test_other_types_must_carry_the_same_gpus(deployment: Deployment) -> None:
    assert order(deployment, instance_types=("g5.12xlarge", "g5.24xlarge")).instance_types[1] == "g5.24xlarge"
    with pytest.raises(UsageError, match="This plan is for 4x A10G a host; g6.12xlarge has 4x L4"):
        order(deployment, instance_types=("g6.12xlarge",))


def test_a_type_without_an_on_demand_price_is_not_sold_on_demand() -> None:
    deployment = make(plan_on("p5e.48xlarge"), "ec2", "t1")
    with pytest.raises(UsageError, match=r"p5e.48xlarge has no on-demand price in us-east-1"):
        order(deployment)
    assert order(deployment, purchases=("spot",)).purchases == ("spot",)


def test_a_price_that_is_not_stored_is_left_to_the_preflight_to_ask_for(deployment: Deployment) -> None:
    made = order(deployment, regions=("eu-west-1",), max_usd_per_hour=1.0)
    assert (made.usd_per_hour, made.price_source, made.max_usd_per_hour) == (None, "", 1.0)
    assert not made.allow_unknown_price
    assert order(deployment, allow_unknown_price=True).allow_unknown_price


def test_when_every_stored_price_is_above_the_limit_aws_is_not_asked(deployment: Deployment) -> None:
    types = ("g5.24xlarge", "g5.12xlarge")
    with pytest.raises(UsageError) as caught:
        order(deployment, instance_types=types, max_usd_per_hour=5.67)
    assert caught.value.message == "5.672 USD per hour is more than --max-usd-per-hour 5.67."
    assert caught.value.hint.startswith("Raise it to 5.68, or plan for a cheaper machine (corral size ")
    assert order(deployment, instance_types=types, max_usd_per_hour=5.68).max_usd_per_hour == 5.68
    assert order(deployment, instance_types=types, max_usd_per_hour=6.0).max_usd_per_hour == 6.0
    assert order(deployment, purchases=("spot",), max_usd_per_hour=3.0).max_usd_per_hour == 3.0


TOO_MANY = [f"--tag=k{number}=v" for number in range(45)]


def test_tags_of_the_user_are_on_everything_beside_ours(deployment: Deployment) -> None:
    given = ("team=ml platform", "Cost/Centre=a=b", "größe=groß")
    made = order(deployment, tags=given)
    assert made.user_tags == {"team": "ml platform", "Cost/Centre": "a=b", "größe": "groß"}
    ours = order(deployment).tags
    assert {*ours, BILLED_TAG} == set(OURS)  # that one is set when it is started again
    assert set(made.tags) == set(ours) | set(made.user_tags)
    most = order(deployment, tags=tuple(f"k{number}=v" for number in range(43)))
    assert len(most.tags) == 49
    with pytest.raises(UsageError, match="'t1' was begun with other options"):
        ordering.renewed(order(deployment), made)


def test_an_order_written_before_there_were_tags_is_read(deployment: Deployment, tmp_path: Path) -> None:
    made = order(deployment)
    old = made.model_dump(mode="json", exclude={"user_tags", "max_usd_per_hour", "allow_unknown_price"})
    (tmp_path / "order.json").write_text(json.dumps(old))
    assert Order.read(tmp_path / "order.json") == made


def test_a_folder_of_this_machine_is_not_on_ec2(plan: Plan) -> None:
    serve = plan.serve.model_copy(update={"model": "/models/scout"})
    deployment = make(plan.model_copy(update={"serve": serve}), "ec2", "t1")
    with pytest.raises(UsageError, match="EC2 cannot see the folder /models/scout"):
        order(deployment)
    assert order(deployment, weights="s3://bucket/scout/").read_s3 == ("s3://bucket/scout/",)


@pytest.mark.parametrize(
    ("weights", "folder"),
    [
        ("s3://bucket/scout", "s3://bucket/scout/"),
        ("s3://bucket/scout/", "s3://bucket/scout/"),
        ("s3://my-weights", "s3://my-weights/"),
    ],
)
def test_the_box_may_read_the_folder_of_the_weights_and_the_object_of_the_engine(
    weights: str, folder: str, deployment: Deployment
) -> None:
    made = order(deployment, weights=weights, engine="s3://bucket/engine.tar")
    assert made.read_s3 == (folder, "s3://bucket/engine.tar")
    assert order(deployment, weights="/models/of/the/image", engine="/engine.tar").read_s3 == ()


def test_what_ec2_does_not_sell_is_answered_with_what_it_does() -> None:
    found = nearest(catalog.machine("2xA100-80GB"))
    assert [(one.instance_type, one.gpus, one.idle_gpus, one.replicas) for one in found] == [
        ("p4de.24xlarge", 8, 6, 4),
        ("g7e.12xlarge", 2, 0, 1),
        ("g7e.24xlarge", 4, 2, 2),
    ]
    assert said(found).startswith("p4de.24xlarge (8x A100-80GB, 27.45 USD/h, 6 idle (or 4 replicas)); ")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any call to AWS would need a socket."""

    def refused(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a bad argument reached the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "203.0.113.7/32", "2001:db8::/48", "2001:db8::7/128"])
def test_a_network_of_ones_own_needs_no_other_word(cidr: str) -> None:
    Ec2Options(cidr=cidr)


@pytest.mark.parametrize("cidr", ["3.0.0.0/8", "10.0.0.0/15", "0.0.0.0/0", "2001:db8::/47", "::/0"])
def test_a_wider_one_needs_it_said(cidr: str) -> None:
    with pytest.raises(UsageError, match="wider than /(16|48)") as error:
        Ec2Options(cidr=cidr)
    assert "--open-to-the-world" in error.value.hint
    Ec2Options(cidr=cidr, open_to_the_world=True)


BAD = [
    ["--region", "us-moon-1"],
    ["--region", "us-east-1; rm -rf /"],
    ["--zone", "moon"],
    ["--zone", "us-west-2a"],
    ["--region", ""],
    ["--ttl", "abc"],
    ["--ttl", "0h"],
    ["--ttl", "-1h"],
    ["--ttl", "9m"],
    ["--ttl", "31d"],
    ["--ttl", "nan"],
    ["--idle", "soon"],
    ["--cidr", "0.0.0.0/0"],
    ["--cidr", "::/0"],
    ["--cidr", "0.0.0.0/1"],
    ["--cidr", "10.0.0.1/8"],
    ["--cidr", "3.0.0.0/8"],
    ["--cidr", "10.0.0.0/15"],
    ["--cidr", "2001:db8::/47"],
    ["--cidr", "localhost"],
    ["--volume-gib", "0"],
    ["--volume-gib", "-5"],
    ["--volume-gib", "74"],
    ["--volume-gib", "70000"],
    ["--volume-mib-per-s", "5000"],
    ["--max-usd-per-hour", "nan"],
    ["--max-usd-per-hour", "inf"],
    ["--max-usd-per-hour", "-1"],
    ["--max-usd-per-hour", "0"],
    ["--purchase", "stolen"],
    ["--purchase", "capacity-block"],
    ["--purchase", "spot", "--capacity-reservation-id", "cr-0123456789abcdef0"],
    ["--capacity-reservation-id", "mine"],
    ["--instance-type", "g99.huge"],
    ["--instance-type", "g6f.xlarge"],
    ["--instance-type", "g5g.16xlarge"],
    ["--instance-type", ""],
    ["--instance-type", "8xH100"],
    ["--ami", "ubuntu"],
    ["--ami", ""],
    ["--subnet-id", "subnet-$(id)"],
    ["--weights", "model"],
    ["--weights", ""],
    ["--engine", "../x y.tar"],
    ["--weights", "s3://bucket/$(id)"],
    ["--hf-token-parameter", "hf token"],
    ["--hf-token-parameter", ""],
    ["--hf-token-parameter", "hf_CANARY"],
    ["--name", "Two Words"],
    ["--name", 'a"b'],
    ["--name", "$(id)"],
    ["--name", "naïve"],
    ["--name", "x" * 41],
    ["--name", "-x"],
    ["--tag", "team"],
    ["--tag", "=ml"],
    ["--tag", " =ml"],
    ["--tag", "team="],
    ["--tag", "aws:team=ml"],
    ["--tag", "AWS:team=ml"],
    ["--tag", "corral:deployment=t2"],
    ["--tag", "Name=mine"],
    ["--tag", "name=mine"],
    ["--tag", "team=ml", "--tag", "Team=other"],
    ["--tag", f"{'k' * 129}=v"],
    ["--tag", f"k={'v' * 257}"],
    ["--tag", "team=a;b"],
    ["--tag", "te$m=ml"],
    ["--tag", "team=a\nb"],
    TOO_MANY,
    ["--target", "moon"],
    ["--host", "gpu@10.0.0.5"],
]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: " ".join(arguments)[:60])
def test_a_bad_argument_is_one_sentence_and_no_call(
    arguments: list[str],
    plan_file: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["provision", str(plan_file), "--target", "ec2", "--name", "t1"]
    code = run([*words, "--yes", *arguments])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "CANARY" not in said.err
    assert not (tmp_path / "corral-home").exists()
    refusals.hold(said.err, request, tmp_path, [*words, "--dry-run", *arguments])


@pytest.mark.usefixtures("no_network")
def test_user_data_larger_than_ec2_takes_is_refused(plan: Plan, tmp_path: Path) -> None:
    serve = plan.serve.model_copy(update={"hf_overrides": {"long": secrets.token_hex(16385)}})
    plan.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    assert run(["provision", str(tmp_path / "plan.json"), "--target", "ec2", "--yes"]) == 2


@pytest.mark.usefixtures("no_network")
def test_a_dry_run_is_every_call_in_order_and_makes_none(
    plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["provision", str(plan_file), "--target", "ec2", "--name", "t1", "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [f"{one['service']}:{one['operation']}" for one in shown] == [
        "sts:GetCallerIdentity",
        "ec2:DescribeInstances",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeSubnets",
        "ssm:GetParameter",
        "ec2:DescribeImages",
        "service-quotas:GetServiceQuota",
        "pricing:GetProducts",
        "ec2:CreateSecurityGroup",
        "ec2:RunInstances",
        "iam:SimulatePrincipalPolicy",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "iam:CreateInstanceProfile",
        "iam:AddRoleToInstanceProfile",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "scheduler:CreateScheduleGroup",
        "ec2:CreateSecurityGroup",
        "ec2:RunInstances",
        "scheduler:CreateSchedule",
        "ec2:DescribeInstanceStatus",
    ]
    launch = shown[19]["parameters"]
    assert launch["NetworkInterfaces"][0]["SubnetId"] == "<SubnetId of DescribeSubnets>"
    assert launch["NetworkInterfaces"][0]["Groups"] == ["<GroupId of CreateSecurityGroup>"]
    assert not (tmp_path / "corral-home").exists()


@pytest.mark.usefixtures("no_network")
def test_a_dry_run_shows_what_is_asked_of_prices(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["provision", str(plan_file), "--target", "ec2", "--dry-run", "--json"]
    assert run([*command, "--purchase", "spot", "--max-usd-per-hour", "3"]) == 0
    shown = {one["operation"]: one["parameters"] for one in json.loads(capsys.readouterr().out)}
    assert shown["DescribeSpotPriceHistory"]["InstanceTypes"] == ["g5.12xlarge"]
    assert {"Type": "TERM_MATCH", "Field": "marketoption", "Value": "OnDemand"} in shown["GetProducts"][
        "Filters"
    ]
    assert shown["RunInstances"]["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "3.0000"
    block = ["--purchase", "capacity-block", "--capacity-reservation-id", "cr-0123456789abcdef0"]
    assert run([*command, *block]) == 0
    assert "GetProducts" not in capsys.readouterr().out


@pytest.mark.usefixtures("no_network")
def test_a_plan_that_does_not_fit_is_not_rented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan_on("g5.12xlarge", "bf16").write(tmp_path / "plan.json")
    assert run(["provision", str(tmp_path / "plan.json"), "--target", "ec2", "--yes"]) == 3
    plan_on("2xA100-80GB").write(tmp_path / "owned.json")
    assert run(["provision", str(tmp_path / "owned.json"), "--target", "ec2", "--yes"]) == 2
    assert "EC2 sells no 2xA100-80GB. Nearest: p4de.24xlarge" in capsys.readouterr().err


def test_two_machines_are_one_order_of_two_nodes() -> None:
    made = order(
        make(answer_for("maverick", "bf16", "2xp5.48xlarge", Options()), "ec2", "t1"),
        subnet_ids=("subnet-01234567",),
    )
    assert (made.nodes, made.instance_types, made.usd_per_hour) == (2, ("p5.48xlarge",), 110.08)


def test_one_of_two_machines_waits_until_it_joins_the_other() -> None:
    two = make(answer_for("maverick", "bf16", "2xp5.48xlarge", Options()), "ec2", "t1")
    one = make(answer_for("maverick", "fp8", "p5.48xlarge", Options()), "ec2", "t1")
    assert "systemctl enable --now corral-t1.service" in order(one).user_data
    assert "systemctl enable --now corral-t1.service" not in order(two).user_data
    assert "/opt/corral/t1/bin/join" not in order(two).user_data  # it is brought with its rank


def test_only_what_may_be_a_spot_box_listens_for_the_notice(deployment: Deployment) -> None:
    notice = "http://169.254.169.254/latest"
    assert notice not in order(deployment).user_data
    assert notice in order(deployment, purchases=("on-demand", "spot")).user_data


def test_a_spot_box_must_be_able_to_end_its_requests_in_two_minutes(plan: Plan) -> None:
    def allowing(seconds: int) -> Deployment:
        serve = plan.serve.model_copy(update={"shutdown_timeout": seconds})
        return make(plan.model_copy(update={"serve": serve}), "ec2", "t1")

    made = order(allowing(75), purchases=("spot",))
    assert "TimeoutStopSec=105" in made.user_data
    with pytest.raises(
        UsageError, match="gives running requests 76 s to end; EC2 gives a spot machine 120 s"
    ):
        order(allowing(76), purchases=("spot",))
    assert "TimeoutStopSec=106" in order(allowing(76)).user_data


def test_a_name_that_is_a_deployment_elsewhere_is_not_taken_over(
    plan: Plan, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(plan, "local", "t1").write(folder("t1") / "deployment.json")
    assert run(["provision", str(plan_file), "--target", "ec2", "--name", "t1", "--yes"]) == 2
    assert capsys.readouterr().err.startswith("error: 't1' is already a deployment on local.")


def test_what_was_never_made_here_is_looked_for_on_ec2_only_when_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["down", "nothing"]) == 4
    assert "corral down nothing --target ec2" in capsys.readouterr().err
    assert run(["down", "nothing", "--target", "moon"]) == 2
    assert run(["down", "nothing", "--target", "ec2", "--region", "us-moon-1"]) == 2
    assert run(["reap", "--region", "us-moon-1"]) == 2
    assert run(["extend", "nothing", "1h"]) == 4
    assert run(["extend", "nothing", "soon"]) == 2


def test_only_what_is_rented_has_an_end_to_move(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    make(plan, "local", "t1").write(folder("t1") / "deployment.json")
    assert run(["extend", "t1", "2h"]) == 2
    assert "t1 has no time limit to move" in capsys.readouterr().err


def test_the_policy_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["iam-policy"]) == 0
    assert json.loads(capsys.readouterr().out) == user_policy.policy()


@pytest.mark.usefixtures("no_network")
def test_a_capacity_block_that_cannot_be() -> None:
    for arguments in (
        ["p5.48xlarge", "--days", "15"],
        ["p5.48xlarge", "--count", "0"],
        ["p5.48xlarge", "--count", "-1"],
        ["8xH100"],
        ["p5.48xlarge", "--region", "us-moon-1"],
    ):
        assert run(["capacity-block", "list", *arguments]) == 2, arguments


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "arguments",
    [
        ["cb-0123456789abcdef0", "--yes"],
        ["cb-0123456789abcdef0", "--dry-run"],
        ["cb-0123456789abcdef0", "--yes-i-pay", "yes"],
        ["cb-0123456789abcdef0", "--yes-i-pay", "nan"],
        ["cb-$(id)", "--yes-i-pay", "998.40"],
    ],
    ids=" ".join,
)
def test_what_cannot_buy_a_capacity_block_asks_nobody(arguments: list[str]) -> None:
    assert run(["capacity-block", "buy", "p5.48xlarge", *arguments]) == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("g6f.xlarge", "it is a fraction of an L4 (EC2 counts 0 whole GPUs), and vLLM wants whole ones"),
        ("g5g.16xlarge", "it is arm64, and the image that corral boots is x86_64"),
        ("trn2.48xlarge", "it has Trainium and no NVIDIA GPU"),
    ],
)
def test_what_ec2_sells_and_corral_does_not_plan_for_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name} is not planned for: {why}.")):
        catalog.machine(name)


@pytest.mark.usefixtures("no_network")
def test_a_folder_that_cannot_be_and_what_is_no_address_are_told_before_aws_is_asked(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["provision", str(plan_file), "--target", "ec2", "--yes"]
    with monkeypatch.context() as patched:
        patched.setenv("CORRAL_HOME", str(plan_file))
        assert run(command) == 11
    refused = f"error: {plan_file}/scout-int4 cannot be written: it takes no folder (Not a directory).\n"
    assert refused in capsys.readouterr().err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    assert run(command) == 2
    assert "error: AWS cannot be asked: Invalid endpoint: nonsense." in capsys.readouterr().err
    monkeypatch.setenv("AWS_REGION", "mars west")
    assert run(["reap"]) == 2
    assert "error: 'mars west' is not a region of AWS." in capsys.readouterr().err
    assert not (tmp_path / "corral-home").exists()


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"nodes": 2}, {"IamInstanceProfile", "Placement", "ClientToken"}),
        ({"nodes": 2, "instance_profile": "theirs"}, {"Placement", "ClientToken"}),
    ],
)
def test_a_launch_that_is_only_asked_about_names_nothing_that_is_not_there_yet(
    changes: dict[str, Any], left_out: set[str]
) -> None:
    order = an_order(**changes)
    asked = permissions.launch_dry_run(order, HERE, SPOT).parameters
    meant = run_instances(order, HERE, SPOT, "sg-0").parameters
    assert (set(meant) - set(asked), set(asked) - set(meant)) == (left_out, {"DryRun"})
    assert all("Groups" not in each for each in asked["NetworkInterfaces"])
