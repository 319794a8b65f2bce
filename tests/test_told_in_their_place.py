"""Commands that README, docs and helps tell, and that ask somebody: each is typed where it can be answered.

So they are in the order of a deployment's life, and each ends as its page says: tests/data/told_in_their_place.toml.

The hosts, the Hub and the servers are those of the other tests. test_told_commands.py runs what asks nobody;
test_told_servers.py goes to servers, test_told_on_this_machine.py installs and serves here, test_told_rented.py rents,
and test_tutorial_aws.py does with the afternoon at AWS; the bank's session is in fleet/.
"""

import ast
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import lying_hub
import pytest
import test_told_commands
import tutorials
from bundling import a_key, an_engine
from fake_box import Box
from fake_scorer import Fake, serving
from test_capacity_blocks import CHEAPEST
from test_capacity_blocks import aws as selling
from test_hub import as_at_first, fake_hub_class
from test_owned_line import ROOT as ON_THE_HOST
from test_owned_line import TARGETS, box, look, says, stopped
from test_owned_line import plan as plan_of_hosts
from test_quality_blind import ANSWERED, A, B
from test_quality_tasks import log as log
from test_weights_push import World, checkpoint, world
from told_places import (
    PLACES,
    TYPED,
    faults,
    home,
    in_place_of,
    in_sessions,
    lines_of,
    lines_told,
    plain,
)

from deploy.bundle.create import create
from deploy.bundle.packing import Packing
from deploy.releases import short_probe
from deploy.releases.release import Figures
from deploy.targets.ec2 import blocks
from infra.onhost import sums
from serving.model import hub
from serving.model.models import model
from serving.quality.blind import Ratings, shuffled
from serving.sizing.plan import Plan
from serving.vllm.endpoint import Endpoint

__all__ = ["box", "checkpoint", "home", "plan_of_hosts", "selling", "world"]

DESCRIBE = hub.describe
"""Which is a word of conftest's in every test but those of the Hub."""
PLANS = tutorials.ROOT / "tests/data/export"


def test_every_command_that_is_told_is_run_somewhere() -> None:
    told = {plain(line) for line in lines_told()}
    placed = {plain(line) for lines in PLACES.values() for line in lines}
    run = (
        placed
        | in_sessions()
        | set(lines_of(TYPED))
        | {shlex.join(words) for words in test_told_commands.told()}
    )
    assert sorted(told - run) == []


def test_each_place_is_gone_through() -> None:
    texts = [path.read_text() for path in (tutorials.ROOT / "tests").glob("test_*.py")]
    typing = "".join(text for text in texts if "told_places" in text)
    assert [name for name in PLACES if not re.search(rf'(faults\(\s*|PLACES\[)"{name}"', typing)] == []


def test_what_another_test_types_as_its_own_is_typed_there() -> None:
    """As the words of something that is called: `told` gives them."""
    there = {file: sorted(given_away(tutorials.ROOT / file)) for file in TYPED}
    assert there == {file: sorted(lines) for file, lines in TYPED.items()}


def given_away(file: Path) -> Iterator[str]:
    """The line of each `told(LINE)` that is given to a call."""
    calls = [each for each in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(each, ast.Call)]
    given = [each.value if isinstance(each, ast.Starred) else each for call in calls for each in call.args]
    for each in given:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "told":
            yield ast.literal_eval(each.args[0])


@pytest.fixture
def signers(home: Path) -> None:
    """A key of SSH's, and the list of those who may sign."""
    (home / ".ssh").mkdir()
    public = a_key(home / ".ssh/id_ed25519")
    (home / "signers").write_text(f"ops@bank {public}me@bank {public}")


def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
    """A release that is as good as any."""
    return Figures(output_tokens_per_s=100.0, requests=16, failed=0)


# --- hosts of one's own


@pytest.fixture
def hosts(box: Box, home: Path) -> Iterator[Box]:
    """gpu1, which every other name leads to, and gpu2; nobody listens there at vLLM's own port."""
    other = Box(home / "ops@gpu2", [])
    (home / "ops@gpu-2").symlink_to(other.folder)
    for name in ("vllm-env", "next-env"):
        (an_engine(home / name, "0.33.0", "3.11") / "lib/vllm").mkdir()
    for tool in ("systemctl", "journalctl"):
        other.tool(tool, "box_systemd")
    facts = (box.folder / "facts").read_text().replace("listening 0100007F:1F40\n", "")
    for each in (box, other):
        (each.folder / "facts").write_text(facts)
    yield box
    for file in (*other.folder.glob("forward-*"), *other.folder.glob("*.pid")):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), 9)


@pytest.mark.slow
@pytest.mark.usefixtures("plan_of_hosts", "signers")
def test_on_hosts_of_ones_own(hosts: Box, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (hosts.folder / "facts").read_text()
    there = hosts.path(ON_THE_HOST) / "model"
    next_one = the_next(home)
    monkeypatch.setattr(short_probe, "measured", measured)

    def looked(*targets: str) -> Callable[[], None]:
        return lambda: says(hosts, look(*map(stopped, targets)), look(packets=150))

    def they_are(gpu: str) -> Callable[[], None]:
        """By a clock that goes right: on a busy machine it is minutes later."""

        def write() -> None:
            text = re.sub(r"clock_s \d+", f"clock_s {int(time.time())}", facts)
            for place in (hosts.folder, home / "ops@gpu2"):
                (place / "facts").write_text(text.replace("H100 80GB HBM3", gpu))

        return write

    sign = "-o egress.json --sign-key ~/.ssh/id_ed25519"
    of_a100 = "scout --precision int4 --on 2xA100-80GB --target ssh"
    both = "--target ssh --host ops@gpu-1 --host ops@gpu-2"
    before = {
        "fetch --verify scout": lambda: sums.changed(there, there.parent / "weights.sums", False),
        "egress scout": looked(*TARGETS),
        "egress scout -o egress.json": looked(*TARGETS),
        f"egress scout {sign}": looked(*TARGETS),
        f"egress scout --target 10.0.0.1:9 {sign}": looked("10.0.0.1:9"),
        f"doctor {of_a100} --host ops@gpu1": they_are("A100-SXM4-80GB"),
        f"up plan.json {both} --engine vllm-env --name scout": they_are("H100 80GB HBM3"),
    }
    brought = f"{home}/.corral/bundles/scout"
    here = in_place_of({"0" * 64: next_one, f"{brought}-int4/plan.json": f"{brought}-bf16/plan.json"})
    assert faults("hosts", monkeypatch, before, here) == {}


def the_next(home: Path) -> str:
    """A signed bundle in `next`, of another release than plan.json and with another engine; its checksum."""
    plan = Plan.read(home / "plan.json")
    serve = plan.serve.model_copy(update={"max_num_seqs": 7})
    key = home / ".ssh/id_ed25519"
    packing = Packing(output=home / "next", engine=home / "next-env", without_corral=True, sign_key=key)
    return create(
        (plan.model_copy(update={"serve": serve}), home), packing, list[str]().append
    ).manifest_sha256


# --- the Hub


@pytest.mark.slow
def test_of_the_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "describe", DESCRIBE)
    int4 = Plan.read(PLANS / "scout-int4.json")
    int4.write(home / "plan.json")
    whole = model("scout").checkpoints["bf16"]
    with fake_hub_class()(int4.serve.model, lying_hub.repository(home / "repository")) as asked:
        as_at_first(asked, "gated", home, monkeypatch)

        def it_is_metas() -> None:
            asked.repo = whole.repo
            monkeypatch.setattr(type(asked), "commit", whole.revision)
            shutil.rmtree("scout")

        before = {"fetch scout --precision bf16 --to scout": it_is_metas}
        found = faults("hub", monkeypatch, before, in_place_of({"/srv/models/scout": f"{home}/srv"}))
        asked.shutdown()
    assert found == {}


# --- what is sold and kept at AWS


@pytest.mark.usefixtures("selling", "home")
def test_of_blocks_that_are_sold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who buys types the price."""
    monkeypatch.setattr(blocks, "is_somebody_there", lambda: True)
    sold = {"cb-0123456789abcdef0": CHEAPEST}
    assert faults("blocks", monkeypatch, here=in_place_of(sold), says="998.40\n") == {}


def test_of_a_bucket(home: Path, world: World, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = world.aws.s3.buckets["models"]

    def another() -> None:
        bucket["objects"] = {"scout/config.json": 2, "scout/model.safetensors": 1000}

    before = {"weights push /srv/models/scout --to s3://models/scout/": another}
    here = in_place_of({"scout": "t1", "/srv/models/scout": str(checkpoint)})
    assert faults("bucket", monkeypatch, before, here) == {}


# --- two models


def test_of_two_models(log: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tasks").mkdir()
    (home / "tasks/mine.yaml").write_text("task: mine\n")
    (home / "texts.txt").write_text("the horse\n\nfence gate\n\nranch river")
    key = shuffled(ANSWERED[:3], A, B)
    key.write(home / "quality/pairs.json")
    (home / "ratings.json").write_text(Ratings(page=key.page, ratings={1: "left"}).model_dump_json())
    full, cheap = Fake(), Fake(answers=("one", "two", "three"))
    claude = Fake(name="claude-haiku-5-5", answers=("one", "two", "three"))
    with serving(full, cheap, claude):
        addresses = {"full": full.url, "cheap": cheap.url, "http://10.0.0.5:8000": full.url}
        here = in_place_of(addresses | {"https://api.anthropic.com": claude.url})
        assert faults("quality", monkeypatch, here=here) == {}
    asked = [words[words.index("--tasks") + 1] for words, _ in json.loads(log.read_text())]
    named = ("mmlu_generative", "minerva_math500", "humaneval_instruct", "mine", "mine")
    assert asked == [each for name in named for each in (name, name)]
