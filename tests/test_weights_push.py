"""Weights into a bucket: which one may be used, what leave the box has meanwhile, what S3 counts, what that saves."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from fake_aws import ACCOUNT, Clock, FakeAws
from fake_iam import allows, normal
from renting import an_order, door, down, fresh, up

from deploy.cli.main import run
from deploy.targets.abilities import Pushed
from deploy.targets.deployment import folder, make
from deploy.targets.ec2 import documents, weights_push, weights_upload
from deploy.targets.ec2.weights_push import sync
from infra.aws import bucket, push_grant, session, user_policy
from infra.aws.bucket import Contents, Place
from infra.aws.order import utc
from infra.aws.session import Answer
from infra.aws.user_policy import Scope
from infra.errors import AuthError, UsageError
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

GIB = 2**30
TO = "s3://models/scout/"
MODEL = {"config.json": 1000, "model-1.safetensors": 30 * GIB, "model-2.safetensors": 30 * GIB}
TOTAL = sum(MODEL.values())
UNIT = "corral-t1.push.service"
FIND = ["-L", "/opt/corral/t1/model", "-type", "f", "-not", "-path", "*/.cache/*", "-printf", r"%s\n"]
SYNC = ["aws", "s3", "sync", "--only-show-errors", "--region", "us-east-1", "--exclude", ".cache/*"]
Corral = Callable[..., tuple[int, str, str]]


def test_what_an_administrator_allows_is_what_a_push_needs_and_no_more() -> None:
    scope = Scope(read_s3=(TO, "s3://models/engine.tar"))
    leave = push_grant.leave(Place(bucket="models", prefix="scout/"), "aws", datetime(2030, 1, 1, tzinfo=UTC))
    boundary, person = user_policy.boundary(scope), user_policy.policy(scope)
    now = {"aws:CurrentTime": "2026-11-28T12:00:00Z"}
    folder, other = "arn:aws:s3:::models/scout/a", "arn:aws:s3:::models/engine.tar"
    listing = now | {"s3:prefix": "scout/"}
    for policy in (boundary, leave):
        assert is_allowed(policy, "s3:PutObject", folder, now)
        assert is_allowed(policy, "s3:ListBucket", "arn:aws:s3:::models", listing)
        assert not is_allowed(policy, "s3:PutObject", other, now)
    assert is_allowed(person, "s3:GetBucketLocation", "arn:aws:s3:::models", {})
    assert is_allowed(person, "s3:ListBucket", "arn:aws:s3:::models", listing)
    assert not is_allowed(person, "s3:ListBucket", "arn:aws:s3:::models", {"s3:prefix": ""})
    assert not is_allowed(person, "s3:PutObject", folder, {})
    # What a machine of ours may do otherwise is what it was: to read.
    assert not is_allowed(user_policy.box(scope), "s3:PutObject", folder, now)
    assert "s3:" not in json.dumps(user_policy.policy())


class PushingBox:
    """What a rented box says to the commands of a push; its upload is judged by the policies its role has then."""

    def __init__(self, aws: FakeAws, clock: Clock) -> None:
        self.aws, self.clock = aws, clock
        self.complete = True
        self.lost = ""
        """A file that does not arrive, though nothing fails."""
        self.boots = False
        """Whether the box boots meanwhile: then nothing is left of the unit."""
        self.state, self.begun_s, self.last_words = "inactive", 0.0, ""
        self.uploads: list[list[str]] = []

    def run(self, instance_id: str, region: str, words: str, timeout_s: float = 60) -> Answer:
        """Answer a command line with what its last command says."""
        answers = [
            self.answer(shlex.split(one.removeprefix("sudo ").removesuffix(" 2>/dev/null")))
            for one in words.split("; ")
        ]
        return answers[-1]

    def answer(self, words: list[str]) -> Answer:
        """Answer one command; one that is not known fails."""
        match words:
            case ["find", *rest] if rest == FIND:
                return says("".join(f"{size}\n" for size in MODEL.values()))
            case ["test", "-e", "/opt/corral/t1/model.complete"]:
                return says("", 0 if self.complete else 1)
            case ["systemctl", "stop" | "reset-failed", unit] if unit == UNIT:
                self.state = "inactive"
                return says("")
            case ["systemd-run", "--quiet", unit, "--property=RemainAfterExit=yes", *command]:
                assert unit == f"--unit={UNIT}"
                self.uploads.append(command)
                self.state, self.begun_s = "running", self.clock()
                return says("")
            case ["systemctl", "show", "--value", "--property=SubState", unit] if unit == UNIT:
                if self.boots:
                    self.state = "dead"
                if self.state == "running" and self.clock() >= self.begun_s + 20:
                    self.state = "exited" if self.arrives(self.uploads[-1]) else "failed"
                return says(f"{self.state}\n")
            case ["journalctl", "--no-pager", "--output=cat", "--lines=5", unit] if unit == f"--unit={UNIT}":
                return says(f"{self.last_words}\n")
        return says(f"sh: {words}: not found", 127)

    def arrives(self, command: list[str]) -> bool:
        """Upload file by file, as far as the role may."""
        assert command[:-1] == [*SYNC, "/opt/corral/t1/model/"]
        name, _, prefix = command[-1].removeprefix("s3://").partition("/")
        asked = [("s3:ListBucket", f"arn:aws:s3:::{name}", {"s3:prefix": prefix})]
        asked += [("s3:PutObject", f"arn:aws:s3:::{name}/{prefix}{file}", {}) for file in MODEL]
        now = {"aws:CurrentTime": utc(datetime.fromtimestamp(self.clock(), UTC))}
        policies = self.aws.iam.roles["corral-t1-box"]["policies"].values()
        for action, resource, context in asked:
            if not any(is_allowed(policy, action, resource, now | context) for policy in policies):
                self.last_words = f"An error occurred (AccessDenied) when calling the {action[3:]} operation"
                return False
        kept = {f"{prefix}{file}": size for file, size in MODEL.items() if file != self.lost}
        self.aws.s3.buckets[name]["objects"] |= kept
        return True


def is_allowed(policy: dict[str, object], action: str, resource: str, context: dict[str, str]) -> bool:
    """Whether a policy allows a request to S3."""
    return allows(policy, action, resource, **{normal(key): value for key, value in context.items()})


def says(text: str, exit_code: int = 0) -> Answer:
    """What a box says."""
    return Answer(text=text, exit_code=exit_code)


class World:
    """An account with a bucket and the machine t1, which has its weights."""

    def __init__(self) -> None:
        self.aws, self.clock = fresh()
        self.aws.s3.have("models")["scout-of-others/config.json"] = 5
        self.box = PushingBox(self.aws, self.clock)

    @property
    def policies(self) -> list[str]:
        """What the box's role has."""
        return sorted(self.aws.iam.roles["corral-t1-box"]["policies"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(session, "run", made.box.run)
    monkeypatch.setattr(documents, "aws_for", lambda name: door(made.aws, made.clock, folder(name)))
    reader = replace(door(made.aws, made.clock, tmp_path), ledger=None)
    monkeypatch.setattr(weights_push, "reader", lambda: reader)
    deployment = make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1")
    deployment.write(folder("t1") / "deployment.json")
    an_order().write(folder("t1") / "order.json")
    up(door(made.aws, made.clock, folder("t1")), an_order())
    return made


@pytest.fixture
def corral(capsys: pytest.CaptureFixture[str]) -> Corral:
    """Run a command: its exit code, and what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_a_box_pushes_its_weights_and_what_that_saves_is_said(world: World, corral: Corral) -> None:
    """60 GiB: 644 s at 100 MB a second, 129 at 500; the rest at 5.672 USD an hour."""
    code, out, err = corral("weights", "push", "t1", "--to", "s3://models/scout")
    assert code == 0, err
    assert out == (
        "s3://models/scout/ holds 3 files, 60.0 GiB, as S3 counts them.\n"
        "A launch that fetches them from there and not from the model hub saves about 9 minutes, 0.81 USD at 5.672 USD "
        "per hour; they cost about 1.48 USD a month there (speeds and S3's price of 2026-11-28, unverified).\n"
        "Next: corral up plan.json --target ec2 --weights s3://models/scout/\n"
    )
    assert (world.policies, len(world.box.uploads)) == (["corral"], 1)
    found = Pushed.model_validate_json(corral("weights", "push", "t1", "--to", TO, "--json")[1])
    saves_s = TOTAL / 1e8 - TOTAL / 5e8
    assert (found.address, found.files, found.bytes) == (TO, 3, TOTAL)
    assert (found.usd_per_hour, found.checked_on) == (5.672, "2026-11-28")
    assert found.saves_s == pytest.approx(saves_s)
    assert found.saves_usd == pytest.approx(saves_s * 5.672 / 3600)
    assert found.costs_usd_per_month == pytest.approx(TOTAL / 1e9 * 0.023)


def test_the_box_may_write_that_folder_alone_and_not_for_long() -> None:
    until = datetime(2026, 11, 28, 12, tzinfo=UTC)
    policy = push_grant.leave(Place(bucket="models", prefix="scout/"), "aws", until)
    before = {"aws:CurrentTime": "2026-11-28T11:59:59Z"}
    after = {"aws:CurrentTime": "2026-11-28T12:00:00Z"}
    for action, resource, context, allowed in (
        ("s3:PutObject", "models/scout/a.safetensors", before, True),
        ("s3:AbortMultipartUpload", "models/scout/a.safetensors", before, True),
        ("s3:PutObject", "models/scout/a.safetensors", after, False),
        ("s3:PutObject", "models/scout-of-others/a", before, False),
        ("s3:PutObject", "others/scout/a", before, False),
        ("s3:DeleteObject", "models/scout/a.safetensors", before, False),
        ("s3:GetObject", "models/scout/a.safetensors", before, False),
        ("s3:ListBucket", "models", before | {"s3:prefix": "scout/"}, True),
        ("s3:ListBucket", "models", before | {"s3:prefix": ""}, False),
        ("s3:ListBucket", "models", after | {"s3:prefix": "scout/"}, False),
    ):
        assert is_allowed(policy, action, f"arn:aws:s3:::{resource}", context) == allowed, (action, resource)
    china = push_grant.leave(Place(bucket="b", prefix="p/"), "aws-cn", until)
    assert "arn:aws:" not in json.dumps(china)


def test_a_push_that_is_cut_off_leaves_no_leave_behind(
    world: World, corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert world.policies == ["corral", "corral-push"]
        raise KeyboardInterrupt

    monkeypatch.setattr(weights_upload, "upload", interrupted)
    assert corral("weights", "push", "t1", "--to", TO)[0] == 130
    assert world.policies == ["corral"]
    # Killed, it could take nothing back: the leave ends by itself, and `down` takes the role away all the same.
    until = datetime.now(UTC) + timedelta(hours=6)
    leave = push_grant.leave(Place(bucket="models", prefix="scout/"), "aws", until)
    world.aws.iam.roles["corral-t1-box"]["policies"]["corral-push"] = leave
    assert (down(door(world.aws, world.clock, folder("t1"))).left, world.aws.live()) == ((), [])


def test_a_box_that_boots_meanwhile_ends_the_waiting_and_the_leave(world: World, corral: Corral) -> None:
    world.box.boots = True
    code, _, err = corral("weights", "push", "t1", "--to", TO)
    assert (code, world.policies) == (11, ["corral"])
    assert "could not upload its weights" in err


def test_a_role_of_the_users_own_is_left_as_it_is(world: World, corral: Corral) -> None:
    an_order(instance_profile="llm-box").write(folder("t1") / "order.json")
    world.aws.calls.clear()
    code, _, err = corral("weights", "push", "t1", "--to", TO)
    assert (code, world.policies) == (11, ["corral"])
    denied = "An error occurred (AccessDenied) when calling the ListBucket operation."
    assert f"could not upload its weights: {denied}\n" in err
    assert f"hint: Its role must be allowed s3:PutObject on {TO}" in err
    assert not [call for call in world.aws.calls if call.changes]


def test_what_has_not_come_is_noticed(world: World, corral: Corral) -> None:
    world.box.lost = "config.json"
    code, _, err = corral("weights", "push", "t1", "--to", TO)
    assert (code, world.policies) == (12, ["corral"])
    sentence = f"In {TO} S3 counts 2 files of {TOTAL - 1000} bytes, not the 3 of {TOTAL} that were sent."
    assert f"error: {sentence}\n" in err


def test_a_box_that_has_not_all_yet_pushes_nothing(world: World, corral: Corral) -> None:
    world.box.complete = False
    code, _, err = corral("weights", "push", "t1", "--to", TO)
    assert (code, "has not all of its weights yet." in err) == (11, True)
    assert (world.box.uploads, world.policies) == ([], ["corral"])


NO_FOLDER = "is no folder in a bucket."
LIKE = "It looks like s3://bucket/scout/"


@pytest.mark.parametrize(
    ("to", "code", "sentence", "hint"),
    [
        ("models/scout", 2, f"--to 'models/scout' {NO_FOLDER}", LIKE),
        ("s3://models/", 2, f"--to 's3://models/' {NO_FOLDER}", LIKE),
        ("s3://models//", 2, f"--to 's3://models//' {NO_FOLDER}", LIKE),
        ("s3://models/a*", 2, f"--to 's3://models/a*' {NO_FOLDER}", LIKE),
        (
            "s3://nothing/scout",
            2,
            "There is no bucket nothing.",
            "Make it: aws s3 mb s3://nothing --region us-east-1",
        ),
        (
            "s3://theirs/scout",
            5,
            f"The bucket theirs is not account {ACCOUNT}'s, or you may not look at it: Access Denied.",
            "Use one of your own; have s3:GetBucketLocation and s3:ListBucket allowed on theirs.",
        ),
        (
            "s3://frankfurt/scout",
            2,
            "The bucket frankfurt is in eu-central-1 and the machine in us-east-1: each launch would pay about 1.29 "
            "USD to bring 60.0 GiB over (unverified).",
            "Use one in us-east-1, or make it: aws s3 mb s3://frankfurt-us-east-1 --region us-east-1",
        ),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_sentence_and_no_leave(
    to: str, code: int, sentence: str, hint: str, world: World, corral: Corral
) -> None:
    world.aws.s3.have("frankfurt", "eu-central-1")
    world.aws.s3.have("theirs", owner="210987654321")
    exit_code, _, err = corral("weights", "push", "t1", "--to", to)
    assert (exit_code, err.splitlines()[-2:]) == (code, [f"error: {sentence}", f"hint: {hint}"])
    assert (world.box.uploads, world.policies) == ([], ["corral"])


def test_the_oldest_regions_have_names_of_their_own() -> None:
    names = (None, "", "EU", "eu-west-3")
    found = [bucket.located({"LocationConstraint": name}) for name in names]
    assert found == ["us-east-1", "us-east-1", "eu-west-1", "eu-west-3"]


def test_what_is_not_on_ec2_is_pushed_from_its_folder(corral: Corral) -> None:
    deployment = make(answer_for("scout", "int4", "g5.12xlarge", Options()), "local", "here")
    deployment.write(folder("here") / "deployment.json")
    code, _, err = corral("weights", "push", "here", "--to", TO)
    assert (code, err.splitlines()) == (
        2,
        [
            "error: here is not on EC2: its weights lie in a folder.",
            "hint: Push that: corral weights push checkpoint --to s3://models/scout/",
        ],
    )


# --- from a folder of this machine

AWS = """#!/bin/sh
echo "$@" >>"$LOG"
exit "${FAIL:-0}"
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, and an AWS CLI that notes its call."""
    place = tmp_path / "model"
    (place / ".cache/huggingface").mkdir(parents=True)
    (place / ".cache/huggingface/x.metadata").write_text("x")
    for name in ("id_rsa", ".env", "credentials.json", "notes.txt"):  # what else lies there, stays
        (place / name).write_text("CANARY")
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(bytes(1000))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "aws").write_text(AWS)
    (tools / "aws").chmod(0o755)
    monkeypatch.setenv("LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return place


def test_a_folder_is_pushed_with_the_users_own_credentials(
    world: World, checkpoint: Path, tmp_path: Path, corral: Corral
) -> None:
    objects = world.aws.s3.buckets["models"]["objects"]
    objects |= {"scout/config.json": 2, "scout/model.safetensors": 1000}
    given = ("weights", "push", str(checkpoint), "--to", TO, "--region", "us-east-1")
    code, out, err = corral(*given, "--json")
    assert code == 0, err
    found = Pushed.model_validate_json(out)
    assert (found.files, found.bytes, found.saves_usd) == (2, 1002, None)
    chosen = ["--exclude", "*", "--include", "config.json", "--include", "model.safetensors"]
    words = [*SYNC[1:-2], *chosen, str(checkpoint), TO]
    assert (tmp_path / "calls").read_text() == f"{' '.join(words)}\n"
    assert " USD at " not in corral(*given)[1]
    del objects["scout/config.json"]
    assert corral(*given)[0] == 12


def test_a_files_name_is_no_pattern_to_the_aws_cli() -> None:
    """It reads them as Python's fnmatch does."""
    place = bucket.place_of(TO)
    for name in ("*.safetensors", "model-?.safetensors", "[a-z].safetensors", "[!x].safetensors"):
        words = sync("/m", place, "us-east-1", (name,))
        pattern = words[words.index("--include") + 1]
        assert fnmatchcase(name, pattern)
        assert not any(
            fnmatchcase(other, pattern)
            for other in ("a.safetensors", "model-1.safetensors", "x/y.safetensors")
        )


@pytest.mark.usefixtures("world")
def test_a_link_to_what_is_no_checkpoints_is_not_pushed(
    checkpoint: Path, tmp_path: Path, corral: Corral
) -> None:
    (checkpoint / "tokenizer.json").symlink_to("/etc/passwd")
    code, _, err = corral("weights", "push", str(checkpoint), "--to", TO, "--region", "us-east-1")
    assert (code, "tokenizer.json is a link to /etc/passwd" in err) == (4, True)
    assert not (tmp_path / "calls").exists()


def test_an_upload_that_fails_and_a_cli_that_is_missing_are_told(
    world: World, checkpoint: Path, corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("weights", "push", str(checkpoint), "--to", TO, "--region", "us-east-1")
    monkeypatch.setenv("FAIL", "1")
    code, _, err = corral(*given)
    assert (code, "ended with 1: no reason given." in err) == (11, True)
    monkeypatch.setenv("PATH", "/nonexistent")
    code, _, err = corral(*given)
    assert (code, "error: The AWS CLI is needed to upload a folder." in err) == (11, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["./nothing"], "There is no file in nothing."),
        (["{folder}", "--region", "mars-1"], "'mars-1' is not a region of AWS."),
        (["t1", "--region", "us-east-1"], "A deployment has its region."),
    ],
)
@pytest.mark.usefixtures("world")
def test_a_bad_argument_uploads_nothing(
    arguments: list[str], sentence: str, checkpoint: Path, tmp_path: Path, corral: Corral
) -> None:
    given = [one.format(folder=checkpoint) for one in arguments]
    code, _, err = corral("weights", "push", *given, "--to", TO)
    assert (code, f"error: {sentence}" in err) == (2, True)
    assert not (tmp_path / "calls").exists()


# --- S3 and its stand-in


def test_every_page_is_counted() -> None:
    aws, clock = fresh()
    objects = aws.s3.have("models")
    objects |= {f"scout/{number}": number for number in range(5)}
    objects |= {"scout.txt": 7, "other/x": 9}
    at = door(aws, clock, Path("/nonexistent"))
    asked = [
        bucket.contents(at, bucket.place_of(f"s3://models/{name}"), "us-east-1") for name in ("scout//", "no")
    ]
    assert asked == [Contents(files=5, bytes=10), Contents(files=0, bytes=0)]


@pytest.mark.parametrize(
    ("name", "account", "error"),
    [("theirs", ACCOUNT, AuthError), ("ours", "210987654321", AuthError), ("none", ACCOUNT, UsageError)],
)
def test_the_fake_s3_refuses_what_s3_refuses(name: str, account: str, error: type[Exception]) -> None:
    """S3 API reference, GetBucketLocation: NoSuchBucket; ExpectedBucketOwner that is another gives AccessDenied."""
    aws, clock = fresh()
    aws.s3.have("theirs", owner="210987654321")
    aws.s3.have("ours")
    at = door(aws, clock, Path("/nonexistent"))
    with pytest.raises(error):
        bucket.check(at, Place(bucket=name, prefix="p/"), "us-east-1", account, "")
