"""`corral up` of a model: sized first, for a machine that is named or chosen; and of a plan, which says it already."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from renting import door, fresh

from deploy import up_request
from deploy.cli.main import run
from deploy.provision_request import Where
from deploy.targets import adapters, licence
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2 import documents
from deploy.targets.ec2 import place as ec2_place
from deploy.targets.wishes import Wishes
from deploy.up_request import SizedFirst, asking_up
from infra import prices
from infra.aws import session
from infra.errors import CorralError
from infra.hardware import Machine
from serving.model import tiny
from serving.sizing.offer import Offered
from serving.sizing.plan import Plan
from serving.sizing.size_options import WhichMachine

NO_GPU = Machine(name="local", kind="local", gpu=None, gpus_per_host=0, vcpus=2, ram_gib=16.0)
SCOUT = ["scout", "--precision", "int4", "--on", "g5.12xlarge", "--region", "us-east-1"]
BEST = ["g7e.2xlarge", "g5.12xlarge", "p6-b200.48xlarge"]


@pytest.fixture(autouse=True)
def no_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_request, "local_machine", lambda: NO_GPU)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def asked(what: str, on: str | None = None, target: str | None = None, **sized: Any) -> Deployment:
    wishes = Wishes({"ec2": {}, "ssh": {"hosts": ["ops@gpu1"]} if target == "ssh" else {}})
    return asking_up(
        what, WhichMachine(on=on), SizedFirst(**sized), Where(target=target), wishes, True
    ).deployment


def goes(made: Deployment) -> tuple[str, str, str, int]:
    """Which model, on what, where, for prompts of how many tokens."""
    return made.plan.model, made.plan.machine.name, made.target, made.plan.workload.input_tokens


@pytest.mark.parametrize(
    ("on", "target", "goes_to"),
    [
        ("g5.12xlarge", None, "ec2"),  # what EC2 alone has is rented
        ("g5.12xlarge", "ec2", "ec2"),
        ("g5.12xlarge", "local", "local"),  # said, as by somebody on such a machine: nothing is rented
        ("2xA100-80GB", None, "local"),
        ("2xA100-80GB", "ssh", "ssh"),
    ],
)
def test_a_model_is_sized_for_the_machine_that_is_named(on: str, target: str | None, goes_to: str) -> None:
    assert goes(asked("scout", on, target, input_tokens=300)) == ("scout", on, goes_to, 300)


def test_it_listens_on_the_port_that_is_named() -> None:
    """As somebody names one whose machine has another server at the plan's."""
    where = Where(port=8001, target="local")
    made = asking_up("scout", WhichMachine(on="8xH100"), SizedFirst(), where, Wishes({}), True).deployment
    assert made.plan.serve == asked("scout", "8xH100", "local").plan.serve.model_copy(update={"port": 8001})


def answered(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(up_request, "is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.mark.parametrize(
    ("lines", "number"), [(["2"], 1), (["four", "0", "3"], 2)], ids=["at-once", "third-time"]
)
def test_somebody_chooses_of_the_cheapest_the_cheapest_a_token_and_the_fastest(
    lines: list[str], number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, *lines)
    made = asked("scout")
    assert goes(made) == ("scout", BEST[number], "ec2", 1000)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in shown[1:4]] == [[str(n), name] for n, name in enumerate(BEST, 1)]
    assert [line.split("  ")[-1].strip() for line in shown[1:4]] == [
        "cheapest, cheapest a token",
        "next a token",
        "fastest",
    ]
    assert shown[number + 1].split()[3].rstrip(",") == made.plan.precision
    assert shown[4:] == [
        "Prices: us-east-1, AWS Pricing API, as generated into aws/karpenter-provider-aws",
        "  (zz_generated.pricing_aws.go), 2026-07-20",
        "Which? [1-3] " * len(lines),
    ]


def of_paris(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *usd: tuple[str, str]) -> None:
    """AWS is set to a region of which corral ships no price, and has these there."""
    aws, clock = fresh()
    aws.prices.usd = dict(usd)
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setattr(documents, "reader", lambda: door(aws, clock, tmp_path))
    monkeypatch.setattr(ec2_place, "require_here", lambda: None)


def choice(what: str) -> Plan:
    """As somebody is asked who has it made."""
    return asking_up(what, WhichMachine(), SizedFirst(), Where(), Wishes({"ec2": {}})).deployment.plan


def test_prices_are_of_the_region_that_aws_is_set_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """AWS is asked where none is stored."""
    of_paris(monkeypatch, tmp_path, ("g5.12xlarge", "7.0900000000"), ("g6.12xlarge", "9.5000000000"))
    answered(monkeypatch, "1")
    plan = choice("scout")
    assert plan.price
    assert (plan.machine.name, plan.price.region, plan.price.usd_per_hour) == (
        "g5.12xlarge",
        "eu-west-3",
        Decimal("7.09"),
    )
    shown = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in shown[2:4]] == ["g5.12xlarge", "g6.12xlarge"]
    assert shown[5] == "  (in brackets: us-east-1's price)"
    assert shown[6].startswith("Prices: eu-west-3, AWS Price List API (GetProducts), ")


def test_a_region_without_prices_is_said_to_have_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    of_paris(monkeypatch, tmp_path)
    answered(monkeypatch, "1")
    assert choice("scout").price is None
    shown = capsys.readouterr().err
    assert "corral prices --refresh --region eu-west-3" in shown
    assert "Prices: " not in shown


@pytest.mark.parametrize(
    ("words", "variables", "code", "said"),
    [
        (
            ["--zone", "eu-west-1a"],
            {},
            2,
            "The zone eu-west-1a is in none of the regions that are tried: us-east-1.",
        ),
        (["--max-usd-per-hour", "0.5"], {}, 2, "3.36312 USD per hour is more than --max-usd-per-hour 0.5."),
        (["--instance-type", "t3.micro"], {}, 2, "'t3.micro' is not a machine corral knows."),
        (["--target", "ssh"], {}, 2, "The target ssh needs hosts."),
        (
            [],
            {},
            5,
            "No AWS credentials were found: not in the environment, ~/.aws, or a role of this machine. Session Manager "
            "needs session-manager-plugin on this machine.",
        ),
    ],
    ids=["zone", "dear", "other-type", "hosts", "credentials"],
)
def test_what_must_fail_is_said_before_somebody_is_asked(
    words: list[str], variables: dict[str, str], code: int, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(session, "missing_programs", lambda: ("session-manager-plugin",))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answered(monkeypatch, "1")
    assert run(["up", "scout", *words]) == code
    error = capsys.readouterr().err
    assert (error.splitlines()[0], "Which?" in error) == (f"error: {said}", False)


@pytest.mark.parametrize("is_there", [True, False], ids=["terminal", "pipe"])
def test_where_no_region_is_named_machines_are_offered_by_stored_prices(
    is_there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The region of the hint has such prices, and Llama 4's licence grants rights to who is at home there."""
    monkeypatch.setenv("AWS_REGION", "")
    answered(monkeypatch, "1")
    monkeypatch.setattr(up_request, "is_somebody_there", lambda: is_there)
    assert run(["up", "scout"]) == 2
    *shown, error, hint = capsys.readouterr().err.splitlines()
    names = (
        " Of those that hold it, by the prices of us-east-1: g7e.2xlarge (cheapest, cheapest a token), g5.12xlarge "
        "(next a token), p6-b200.48xlarge (fastest)."
    )
    sentence = "error: No AWS region is named: where a machine stands is not for corral to choose."
    assert error == sentence + ("" if is_there else names)
    assert hint == "hint: Name one, and a region: --on g7e.2xlarge --region us-east-1; or set AWS_REGION"
    assert [line.split()[1] for line in shown[1:4]] == (BEST if is_there else [])
    assert any(line.startswith("Prices: us-east-1, ") for line in shown) == is_there
    assert ("us-east-1" in prices.regions(), "us-east-1" in licence.known()["llama4"].regions) == (
        True,
        False,
    )


@pytest.mark.parametrize("lines", [[""], [], ["x", "9", "-1"]], ids=["empty", "gone", "three-times"])
def test_without_an_answer_nothing_is_made(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, *lines)
    with pytest.raises(CorralError, match=r"^None was chosen; nothing was made\.$"):
        asked("scout")


def test_hosts_of_ones_own_are_offered_what_is_owned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, "1")
    assert goes(asked("scout", target="ssh")) == ("scout", "1xA100-80GB", "ssh", 1000)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()[1:4]] == [
        "1xA100-80GB", "1xB200", "1xB300",
    ]  # fmt: skip


def test_a_folder_is_for_this_machine_where_no_other_is_named(tmp_path: Path) -> None:
    made = asked(str(tiny.make(tmp_path / "toy")), input_tokens=64, output_tokens=16)
    assert (made.plan.machine.name, made.target) == ("local", "local")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["scout"], 2,
            "error: Nobody is there to choose a machine. Of those that hold it, by the prices of us-east-1: "
            "g7e.2xlarge (cheapest, cheapest a token), g5.12xlarge (next a token), p6-b200.48xlarge (fastest)."
            "\nhint: Name one: --on g7e.2xlarge\n",
        ),
        (
            ["plan.json", "--on", "8xH100", "--input-tokens", "5"], 2,
            "error: A plan says already which machine it is for, and for which workload.\nhint: Leave out --on 8xH100 "
            "--input-tokens 5, or name a model: corral up scout --on 8xH100 --input-tokens 5\n",
        ),
        (
            ["owner/model", "--target", "ssh", "--host", "gpu-1"], 2,
            "error: A checkpoint is sized on one machine.\nhint: Name it: --on g5.12xlarge\n",
        ),
        (
            ["scout", "--on", "g5.xlarge"], 3,
            "error: This plan does not fit: The weights alone are 60.4 GiB per GPU; of the 22.1 GiB that torch sees on "
            "A10G vLLM may use 20.3 (--gpu-memory-utilization 0.92).\n"
            "hint: See what holds it: corral size scout --precision int4 --region us-east-1\n",
        ),
        (
            ["scoot"], 2,
            "error: 'scoot' is not a model corral knows.\nhint: Did you mean scout?\n",
        ),
        (["none.json"], 4, "error: There is no plan at none.json.\nhint: Check the path: ls -l .\n"),
        (
            ["none.json", "--offline"], 4,
            "error: There is no plan at none.json.\nhint: Check the path: ls -l .\n",
        ),
        (
            ["plan.json", "--on", "8xH100", "--offline"], 2,
            "error: A plan says already which machine it is for, and for which workload.\nhint: Leave out --on 8xH100, "
            "or name a model: corral up scout --on 8xH100 --offline\n",
        ),
    ],
    ids=["nobody", "plan-and-machine", "repository", "small", "misspelt", "no-file", "own", "own-too"],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["up", *words]) == code
    assert capsys.readouterr().err == said


def test_a_word_that_no_file_can_be_called_is_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "x" * 300]) == 2
    assert "does not expect" not in capsys.readouterr().err


def test_all_that_was_typed_is_read_before_an_adapter_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    came: list[object] = []
    monkeypatch.setattr(adapters, "here", lambda *asked: came.append(asked))
    words = ["up", "scout", "--on", "g5.12xlarge", "--lora", "a=owner/name"]
    for wrong in (["--ttl", "nonsense"], ["--name", "A_B"], ["--region", "bogus"], ["--on", "nonsense"]):
        assert run([*words, *wrong]) == 2, wrong
    assert came == []


@pytest.mark.parametrize(
    ("words", "price"),
    [
        ("--purchase spot", "price: g5.12xlarge in us-east-1: at most 5.672 USD per hour ("),
        ("--instance-type g5.24xlarge", "price: g5.24xlarge in us-east-1: 8.144 USD per hour ("),
        ("--region eu-west-3", "price: g5.12xlarge in eu-west-3 at a price nobody knows, for at most 12 hours; plus a"),
        ("--region eu-west-3 --max-usd-per-hour 1 --allow-unknown-price", "price: g5.12xlarge in eu-west-3 at a price"),
        ("--purchase spot --max-usd-per-hour 2", "price: g5.12xlarge in us-east-1: at most 2.000 USD per hour (--max"),
    ],
)  # fmt: skip
def test_the_price_of_what_would_be_rented_is_shown_or_that_nobody_knows_it(
    words: str, price: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "--region" in words else ["--region", "us-east-1"]
    assert run(["up", *SCOUT[:5], "--dry-run", *words.split(), *where]) == 0
    said = capsys.readouterr().out.splitlines()[2]
    assert said.startswith(price)
    paris = "; sold there at all? corral prices --refresh --region eu-west-3" if "eu-west-3" in words else ""
    assert said.endswith(f"(by prices stored here; AWS is asked before the launch{paris})")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("regions", [["eu-west-3"], ["us-east-1", "eu-west-3"]])
def test_a_limit_that_no_stored_price_is_known_to_keep_does_not_pass_unasked(
    regions: list[str], as_json: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    where = [word for region in regions for word in ("--region", region)]
    assert run(["up", *SCOUT[:5], "--max-usd-per-hour", "1", "--dry-run", *where, *as_json]) == 2
    said = capsys.readouterr()
    message = (
        f"No price of g5.12xlarge in {' or '.join(regions)} is stored that is within --max-usd-per-hour 1: "
        "it cannot be checked without asking AWS."
    )
    hint = f"Ask it: corral prices --refresh --region {regions[0]}"
    if as_json:
        assert json.loads(said.out)["error"] == {
            "type": "UsageError",
            "message": message,
            "hint": hint,
            "exit_code": 2,
        }
    else:
        assert (said.out, said.err) == ("", f"error: {message}\nhint: {hint}\n")


def test_a_model_is_deployed_under_its_own_name_unless_another_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def called(precision: str, on: str = "g5.12xlarge") -> str:
        which = WhichMachine.of({"precision": precision, "on": on})
        wishes = Wishes({"ec2": {"regions": ("us-east-1",)}})
        made = asking_up("scout", which, SizedFirst(), Where(), wishes, True).deployment
        made.write(folder(made.name) / "deployment.json")
        return made.name

    names = [
        called("int4"),
        called("int4"),
        called("fp8", "g7e.12xlarge"),
        called("fp8", "g7e.12xlarge"),
        called("int4"),
    ]
    assert names == ["scout", "scout", "scout-fp8", "scout-fp8", "scout"]
    assert "scout is another deployment; this one is called scout-fp8" in capsys.readouterr().err


def test_a_dry_run_is_a_summary_and_with_json_the_requests(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["up", *SCOUT, "--dry-run"]
    assert run([*words, "--json"]) == 0
    requests = json.loads(capsys.readouterr().out)
    assert run(words) == 0
    assert capsys.readouterr().out == (
        "scout: scout in int4 on g5.12xlarge (ec2): tight, requests of up to 32,768 tokens, 342 tokens/s (modelled), "
        "at worst 10 of 16 requests at once\n"
        "weights: 60.4 GiB of RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16, from the model hub\n"
        "price: g5.12xlarge in us-east-1: 5.672 USD per hour (AWS Pricing API, as generated into "
        "aws/karpenter-provider-aws (zz_generated.pricing_aws.go), 2026-07-20), at most 68.61 USD in the 12 hours "
        "until it ends itself; 0.55 USD of it for a volume of 150 GiB and a public address (AWS EBS and VPC pricing as "
        "quoted by others, unverified, 2026-11-28); traffic comes on top (by prices stored here; AWS is asked before "
        "the launch)\n"
        "where: us-east-1, in the account of your credentials\n"
        "end: 12 hours after the launch, or 60 minutes without a request\n"
        "makes: 2x CreateRole, 2x PutRolePolicy, CreateInstanceProfile, AddRoleToInstanceProfile, CreateScheduleGroup, "
        "CreateSecurityGroup, RunInstances, CreateSchedule\n"
        "quota: it takes 48 vCPUs of 'Running On-Demand G and VT instances' (L-DB2E81BA) in us-east-1; a new account "
        "has 0\n"
        "rights: corral iam-policy --region us-east-1 --instance-type g5.12xlarge\n"
        "engine: vLLM 0.33.0\n"
        f"{len(requests)} steps, shown by --json; nobody was asked, and nothing done.\n"
    )
    plan = tmp_path / "plan.json"
    assert run(["size", *SCOUT, "-o", str(plan)]) == 0
    capsys.readouterr()
    of_plan = ["up", str(plan), "--target", "ec2", "--region", "us-east-1", "--dry-run", "--json"]
    assert run(of_plan) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(requests)
    assert Plan.read(plan).machine.name == "g5.12xlarge"
    elsewhere = ["--region", "eu-central-1", "--weights", "s3://bucket/scout/", "--dry-run"]
    assert run(["up", str(plan), "--target", "ec2", *elsewhere]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1] == "weights: s3://bucket/scout/"


@pytest.mark.parametrize(
    ("on", "words", "goes_to"),
    [
        ("g5.12xlarge", [], "ec2"),
        ("g5.12xlarge", ["--region", "eu-west-1"], "ec2"),
        ("g5.12xlarge", ["--target", "local"], "local"),  # as on such a machine
        ("2xA100-80GB", [], "local"),
        ("2xA100-80GB", ["--target", "ssh", "--host", "gpu-1"], "ssh"),
    ],
)
@pytest.mark.parametrize("verb", ["up", "provision"])
def test_a_plan_goes_where_its_machine_is_as_its_model_would(
    verb: str,
    on: str,
    words: list[str],
    goes_to: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone: list[str] = []

    def going(place: str) -> list[dict[str, object]]:
        gone.append(place)
        return []

    for place in ("local", "ssh", "ec2"):
        monkeypatch.setattr(
            f"deploy.targets.{place}.place.requests", lambda *asked, place=place: going(place)
        )
    monkeypatch.chdir(tmp_path)
    assert run(["size", "scout", "--precision", "int4", "--on", on, "-o", "plan.json"]) == 0
    assert run([verb, "plan.json", "--dry-run", *words]) == 0
    assert gone == [goes_to]


def test_what_follows_size_names_the_region_that_was_said_or_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def following(*words: str) -> str:
        assert run(["size", "scout", *words]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    one = ("--precision", "int4", "--on", "g5.12xlarge", "-o", "plan.json")
    said = ("--region", "eu-west-1")
    plain = "Next: corral up plan.json --target ec2"
    assert following(*one) == f"{plain} --region us-east-1"  # whose price it shows
    assert following(*one, *said) == f"{plain} --region eu-west-1"
    assert following(*said).endswith(" --region eu-west-1")
    (tmp_path / "corral.toml").write_text("region = 'eu-central-1'\n")
    assert following(*one) == f"{plain} --region eu-central-1"
    assert following().endswith(" --region eu-central-1")
    assert following("--on", "2xA100-80GB", "-o", "plan.json").endswith(" --target ssh --host gpu-1")


def test_what_is_paid_ahead_is_told_to_who_chooses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = asked("scout", "g5.12xlarge").plan
    assert plan.price
    ahead = plan.model_copy(update={"price": plan.price.model_copy(update={"purchase": "capacity-block"})})
    for plans, said in (([plan], False), ([plan, ahead], True)):
        answered(monkeypatch, "1")
        assert up_request.picked([Offered(each, "") for each in plans]) == 0
        assert ("* paid ahead" in capsys.readouterr().err) == said
