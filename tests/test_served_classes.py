"""Classes of a traffic, each here or at Claude: how they are typed, what they cost, and what LiteLLM is told."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.main import run
from deploy.costs.served_class import ServedClass, here_share, served_typed, staying
from deploy.export.litellm import INSTALL
from serving.sizing.carried import Carried, Machines
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic
from serving.sizing.traffic_class import class_means, class_typed

PLAN = str(Path(__file__).parent / "data" / "export" / "scout-int4.json")
EXAMPLE = (
    "hint: Write it as --class chat=70%,2k/300,claude=claude-haiku-4-5,escalation=5%,team=care "
    "--class law=30%,20k/800,at=claude,claude=claude-opus-4-5,team=legal"
)
THREE_TEAMS = (
    "support=60%,2k/300,claude=claude-haiku-4-5,escalation=5%,fallback=yes,team=care",
    "personnel=20%,1k/200,team=people",
    "law=20%,20k/800,at=claude,claude=claude-opus-4-5,team=legal",
)


def words(*classes: str) -> list[str]:
    return [word for each in classes for word in ("--class", each)]


def compared(capsys: pytest.CaptureFixture[str], *further: str) -> dict[str, Any]:
    """By class, of the plan that costs $4,140.56 a month."""
    asked = [*COMPARED, "--json"]
    assert run([*asked, *further]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["by_class"]
    return found


@pytest.mark.parametrize("typed", [*THREE_TEAMS, "\u00fcbersetzung=100%,500-2000/1000~300,at=claude"])
def test_a_class_is_said_as_it_is_typed(typed: str) -> None:
    asked = served_typed(typed)
    assert served_typed(str(asked)) == asked


def test_every_word_of_a_class_is_read() -> None:
    """In any order, with blanks, the model by the name that people use."""
    asked = served_typed(
        " law = 20%  20k/800 team=legal, claude=Opus-4.5 fallback=no ,escalation=0.25 ,at=here,ttft=2"
    )
    assert asked == ServedClass(
        name="law",
        share=0.2,
        input_tokens=asked.input_tokens,
        output_tokens=asked.output_tokens,
        ttft_s=2,
        at="here",
        claude="claude-opus-4-5",
        escalation=0.25,
        team="legal",
    )
    assert (asked.input_tokens.low, asked.output_tokens.low) == (20000, 800)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            ["a=100%,2k/300,claude=claude-haiku-9"],
            "error: corral has no price for a Claude model called 'claude-haiku-9'.",
        ),
        (["a=100%,2k/300,claude="], f"error: --class a names no Claude model.\n{EXAMPLE}"),
        (
            ["a=100%,2k/300,at=claude,escalation=5%"],
            "error: --class a is at Claude, so it has no escalation.\nhint: Leave out escalation, or at=claude.",
        ),
        (
            ["a=100%,2k/300,at=claude,fallback=yes"],
            "error: --class a is at Claude, so it has no fallback.\nhint: Leave out fallback, or at=claude.",
        ),
        (
            ["a=100%,2k/300,at=home"],
            "error: --class a cannot be at 'home'.\nhint: It is at=here or at=claude.",
        ),
        (
            ["a=100%,2k/300,fallback=maybe"],
            "error: The fallback of --class a cannot be 'maybe'.\nhint: It is fallback=yes or fallback=no.",
        ),
        (
            ["a=100%,2k/300,escalation=120%"],
            f"error: The escalation of --class a, 120%, is not between 0% and 100%.\n{EXAMPLE}",
        ),
        (
            ["a=100%,2k/300,escalation=-1%"],
            f"error: The escalation of --class a, -1%, is not between 0% and 100%.\n{EXAMPLE}",
        ),
        (
            ["a=100%,2k/300,escalation=few"],
            f"error: The escalation of --class a, 'few', is no number.\n{EXAMPLE}",
        ),
        (
            ["a=100%,2k/300,team=a/b"],
            "error: The team of --class a cannot be 'a/b'.\n"
            "hint: A name has up to 40 letters, digits, dots, dashes and underscores: team=care",
        ),
        (["a=100%,2k/300,team=x,team=y"], f"error: --class a says one thing twice.\n{EXAMPLE}"),
        (
            ["a=100%,2k/300,team=our care"],
            f"error: --class a: '300 care' is not a length in tokens.\n{EXAMPLE}",
        ),
        (["a=100%,2k/300,price=3"], f"error: --class a: '300,price=3' is not a length in tokens.\n{EXAMPLE}"),
        (
            ["*=100%,2k/300,at=claude"],
            f"error: --class *=100%,2k/300 is not a name, a share and the lengths IN/OUT.\n{EXAMPLE}",
        ),
        (
            ["a=50%,2k/300", "b=20%,2k/300,at=claude"],
            "error: The shares of --class come to 0.7, not to 1.\nhint: They are of all requests: 70% and 30%.",
        ),
        (
            ["a=50%,2k/300", "a=50%,2k/300,at=claude"],
            "error: --class names a twice.\nhint: Give each class a name of its own.",
        ),
        (
            [f"c{each}=0.5%,2k/300" for each in range(200)],
            "error: There are 200 classes, more than 20.\nhint: Put some together.",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize(
    "verb", [["compare", "--plan", PLAN], ["export", PLAN, "--to", "litellm"]], ids=lambda v: v[0]
)
def test_what_no_class_can_be_is_refused(
    verb: list[str], classes: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the same words by both verbs; where the hint names models it is not held."""
    assert run([*verb, *words(*classes)]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (out, lines[: said.count("\n") + 1], len(lines)) == ("", said.splitlines(), 2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ["--class", "a=100%,2k/300,at=claude,claude=claude-haiku-4-5"],
            "error: All of the classes are at Claude, so no machine serves any.\n"
            "hint: Leave out at=claude of one, or price them alone: "
            "corral claude-cost --model claude-haiku-4-5 --input-tokens 2000 --output-tokens 300\n",
        ),
        (
            ["--class", "a=100%,2k/300,escalation=100%"],
            "error: All that is answered here is asked again at Claude, so nothing is spared.\n"
            "hint: Say how much of it really is: escalation=5%\n",
        ),
        (
            ["--class", "a=100%,2k/300,escalation=5%", "--claude-share", "0.2"],
            "error: The classes say already what reaches Claude.\nhint: Leave out --claude-share and --escalation.\n",
        ),
    ],
)
def test_what_a_comparison_of_classes_cannot_be_is_refused(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (run(["compare", "--plan", PLAN, *asked]), *capsys.readouterr()) == (2, "", said)


def test_the_hybrid_of_two_classes_is_the_golden_one(capsys: pytest.CaptureFixture[str]) -> None:
    """3,000 M tokens at 3:1, a fifth of them at Sonnet 5.5 and 15% of the others asked again there: $7,980.56."""
    bulk, hard = "bulk=80%,750/250,escalation=15%,team=a", "hard=20%,750/250,at=claude,team=b"
    found = compared(
        capsys, "--mtok-per-month", "3000", "--claude-model", "claude-sonnet-5-5", *words(bulk, hard)
    )
    assert found["total"] == {
        "requests_per_month": 3_000_000,
        "mtok_per_month": 3000,
        "requests_here": 2_400_000,
        "requests_at_claude": 960_000,
        "here_usd": 4140.56,
        "claude_usd": 3840,
        "usd_per_month": 7980.56,
        "all_claude_usd": 12000,
        "saving_usd_per_month": 4019.44,
    }
    assert found["teams"][1] == {"team": "b"} | {name: found["classes"][1][name] for name in found["total"]}


def test_each_class_is_priced_at_the_claude_that_is_good_enough_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 M requests: 0.6 M at Haiku 4.5 ($0.0035), 0.2 M at the one asked for ($0.004), 0.2 M at Opus 4.5 ($0.12)."""
    mtok = str(0.6 * 2300 + 0.2 * 1200 + 0.2 * 20800)
    found = compared(
        capsys, "--mtok-per-month", mtok, "--claude-model", "claude-sonnet-5-5", *words(*THREE_TEAMS)
    )
    here_usd = {"support": Decimal("4140.56") * 1380 / 1620, "personnel": Decimal("4140.56") * 240 / 1620}
    assert [
        (each["name"], each["claude"], each["requests_at_claude"], each["claude_usd"], each["all_claude_usd"])
        for each in found["classes"]
    ] == [
        ("support", "claude-haiku-4-5", 30_000, 105, 2100),
        ("personnel", "claude-sonnet-5-5", 0, 0, 800),
        ("law", "claude-opus-4-5", 200_000, 24_000, 24_000),
    ]
    assert {
        each["name"]: round(each["here_usd"], 4) for each in found["classes"] if each["at"] == "here"
    } == {name: float(round(usd, 4)) for name, usd in here_usd.items()}
    assert [each["team"] for each in found["teams"]] == ["care", "people", "legal"]


def test_what_stays_is_a_whole_of_its_own() -> None:
    classes = [served_typed(each) for each in THREE_TEAMS]
    assert [(each.name, round(each.share, 9)) for each in staying(classes)] == [
        ("support", 0.75),
        ("personnel", 0.25),
    ]
    assert here_share(classes) == Decimal("0.6") * 2300 / 5780 + Decimal("0.2") * 1200 / 5780
    assert here_share(()) == 1


ALONE = ("--storage-gb", "0", "--public-addresses", "0")
COMPARED = ("compare", "--plan", PLAN, "--price-per-hour", "5.672", "--token-ratio", "1", *ALONE)


def test_the_tables_name_who_answers_and_who_pays(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*COMPARED, "--mtok-per-month", "5780", "--all"]
    assert run([*asked, "--claude-model", "claude-sonnet-5-5", *words(*THREE_TEAMS)]) == 0
    out = capsys.readouterr().out
    shown = out[out.index("A month by class") : out.index("Sensitivity")]
    assert shown == TABLES
    # 800,000 of the million requests stay; a class has no other Claude that is good enough.
    assert (
        "\nA month of 1,620 M tokens (53.3 M a day), 800,000 requests (26,301 a day); 37.7% utilisation\n"
        in out
    )
    assert (
        "\n  each class's own Claude                        live    $2,900.00  -$1,345.56          -$16,146.72\n"
        in out
    )
    assert "Another Claude" not in out


TABLES = """\
A month by class, USD; the machines' bill by the tokens that are answered here
  class      requests   M tokens  answered                            machines   at Claude   together    all at Claude  saved
  support    600,000    1,380     here, 5% again by claude-haiku-4-5  $3,527.14  $105.00     $3,632.14   $2,100.00      -$1,532.14
  personnel  200,000    240       here                                $613.42    $0.00       $613.42     $800.00        $186.58
  law        200,000    4,160     claude-opus-4-5                     $0.00      $24,000.00  $24,000.00  $24,000.00     $0.00
  all        1,000,000  5,780                                         $4,140.56  $24,105.00  $28,245.56  $26,900.00     -$1,345.56

The same by team
  team    requests  M tokens  machines   at Claude   together    all at Claude  saved
  care    600,000   1,380     $3,527.14  $105.00     $3,632.14   $2,100.00      -$1,532.14
  people  200,000   240       $613.42    $0.00       $613.42     $800.00        $186.58
  legal   200,000   4,160     $0.00      $24,000.00  $24,000.00  $24,000.00     $0.00

"""  # noqa: E501


@pytest.mark.parametrize(
    ("classes", "against"),
    [
        (("a=50%,2k/300,claude=claude-haiku-4-5", "b=50%,2k/300,claude=haiku-4.5"), "Claude Haiku 4.5"),
        (
            ("a=50%,2k/300,claude=claude-haiku-4-5", "b=50%,1k/100,at=claude,claude=opus-5.5"),
            "Claude Haiku 4.5",
        ),
        (("a=50%,2k/300,claude=claude-haiku-4-5", "b=50%,2k/300"), "Claude Haiku 4.5"),
        (("a=50%,2k/300,claude=haiku-4.5", "b=50%,2k/300,claude=sonnet-5.5"), "each class's own Claude"),
        (("a=50%,2k/300", "b=50%,1k/100,at=claude,claude=opus-5.5"), "Claude Haiku 5.5"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_the_answer_is_against_what_is_good_enough(
    classes: tuple[str, ...], against: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the classes that stay; the cheapest of corral's own choice only where none names any."""
    assert run(["compare", "--plan", PLAN, "--price-per-hour", "5.672", "--json", *words(*classes)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["break_even"]["against"], found["claude"][0]["name"]) == (against, against)


def test_each_class_at_its_own_claude_costs_what_they_do_together(capsys: pytest.CaptureFixture[str]) -> None:
    """Half at $0.0035 and half at $0.007 a request of 2,300 tokens: $2.2826 a million."""
    asked = [*COMPARED, "--json"]
    classes = words("a=50%,2k/300,claude=claude-haiku-4-5", "b=50%,2k/300,claude=claude-sonnet-5-5")
    assert run([*asked, *classes]) == 0
    side = json.loads(capsys.readouterr().out)["claude"][0]
    assert round(side["usd_per_mtok_blended"], 4) == round((0.0035 + 0.007) / 2 / 2300 * 1e6, 4)
    assert side["usd_per_request"] == 0.00525


def test_what_is_asked_again_counts_in_the_answer_the_break_even_and_the_month(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At $4 a million Claude's $8,000, of which $4,800 are paid all the same: $3,200 spared by $4,140.56 here."""
    asked = [*COMPARED, "--mtok-per-month", "2000", "--ops-fte", "0", "--json"]
    again = words("a=100%,750/250,escalation=60%,claude=claude-sonnet-5-5")
    assert run([*asked, *again]) == 0
    found = json.loads(capsys.readouterr().out)
    side, month = found["claude"][0], found["month"]["elsewhere"][0]
    assert (found["answer"], found["probability"]) == ("dearer", 0)
    assert found["verdict"].startswith(
        "Dearer than Claude Sonnet 5.5: at 44.3% utilisation a million tokens in and out costs $4.47 here ($2.40 of it "
        "for what is asked again there) and $4.00 there; it pays above 57.4%."
    )
    assert (side["usd_per_mtok_blended"], side["usd_per_mtok_asked_again"]) == (4, 2.4)
    assert round(found["break_even"]["mtok_per_month"], 2) == round(4140.56 / (4 * 0.4), 2)
    assert month["saving_usd_per_month"] == found["by_class"]["total"]["saving_usd_per_month"] == -940.56
    assert "Price: at most $4.38 an hour" in found["what_would_change_it"][2]
    assert run([*asked, *words("a=100%,750/250,claude=claude-sonnet-5-5")]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "cheaper"


@pytest.mark.parametrize("claude", ["", ",claude=claude-opus-5-5"], ids=["one Claude", "two"])
def test_the_month_and_the_classes_agree_whatever_is_asked_again(
    claude: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two classes of other lengths, one of which is asked again: with one Claude for both, and with one each."""
    classes = words(
        "a=70%,2k/300,escalation=30%,claude=claude-sonnet-5-5", f"b=30%,20k/800,escalation=5%{claude}"
    )
    assert (
        run([*COMPARED, "--mtok-per-month", "2000", "--claude-model", "sonnet-5.5", "--json", *classes]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    saved = found["by_class"]["total"]["saving_usd_per_month"]
    assert round(found["month"]["elsewhere"][0]["saving_usd_per_month"], 2) == round(saved, 2)
    own, even = found["self_hosted"], found["break_even"]["mtok_per_month"]
    spared = found["claude"][0]["usd_per_mtok_blended"] - found["claude"][0]["usd_per_mtok_asked_again"]
    assert round(even * spared, 4) == round(own["usd_per_month"], 4)


@pytest.mark.parametrize(
    ("classes", "sources"),
    [
        (("a=50%,2k/300", "b=50%,2k/300,at=claude,claude=vertex/eu/claude-opus-5-5"), ["", "_vertex"]),
        (("a=50%,2k/300,claude=eu.anthropic.claude-opus-5-5", "b=50%,2k/300,at=claude"), ["_bedrock"]),
        (("a=100%,2k/300",), [""]),
    ],
)
def test_the_prices_of_each_classs_platform_are_named(
    classes: tuple[str, ...], sources: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMPARED, "--json", *words(*classes)]) == 0
    named = [each["name"] for each in json.loads(capsys.readouterr().out)["assumptions"]]
    assert [name for name in named if name.startswith("claude_prices")] == [
        f"claude_prices{each}" for each in sources
    ]


def test_each_class_has_a_model_name_and_nothing_else_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", PLAN, "--to", "litellm", *words(*THREE_TEAMS)]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    asked = [(each["model_name"], each["litellm_params"]["model"]) for each in config["model_list"]]
    assert asked == [
        ("corral/support", "hosted_vllm/llama-4-scout"),
        ("corral/support/claude", "anthropic/claude-haiku-4-5"),
        ("corral/personnel", "hosted_vllm/llama-4-scout"),
        ("corral/law", "anthropic/claude-opus-4-5"),
    ]
    falls_back = [{"corral/support": ["corral/support/claude"]}]
    router = config["router_settings"]
    assert (router["fallbacks"], router["context_window_fallbacks"]) == (falls_back, falls_back)


def test_every_class_is_before_every_replica(capsys: pytest.CaptureFixture[str]) -> None:
    servers = ("http://10.0.0.5:8000", "http://10.0.0.6:8000")
    options = [word for each in servers for word in ("--endpoint", each)]
    assert run(["export", PLAN, "--to", "litellm", *options, *words("a=50%,2k/300", "b=50%,1k/9")]) == 0
    listed = yaml.safe_load(capsys.readouterr().out)["model_list"]
    assert [(each["model_name"], each["litellm_params"]["api_base"]) for each in listed] == [
        (f"corral/{name}", f"{server}/v1") for name in ("a", "b") for server in servers
    ]


def test_a_retired_claude_of_a_class_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where something of the class may reach it."""
    retired = "a=100%,2k/300,claude=claude-3-opus"
    assert run(["export", PLAN, "--to", "litellm", *words(retired)]) == 0
    capsys.readouterr()
    assert run(["export", PLAN, "--to", "litellm", *words(f"{retired},escalation=5%")]) == 2
    assert capsys.readouterr().err.splitlines()[1] == "hint: For example: claude=claude-opus-5-5"


def models_of(out: str) -> dict[str, str]:
    """LiteLLM's name of each model name, of a replica the last."""
    listed = yaml.safe_load(out)["model_list"]
    return {each["model_name"]: each["litellm_params"]["model"] for each in listed}


def test_the_classes_of_a_comparison_are_routed_as_it_counts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file and its folder say what the same classes say when they are typed; who names none has the chosen one."""
    typed = [*THREE_TEAMS[:2], "law=20%,20k/800,at=claude,claude=eu.anthropic.claude-opus-4-5,team=legal"]
    again = [typed[0], "personnel=20%,1k/200,escalation=2%", typed[2]]
    assert run([*COMPARED, "--claude-model", "sonnet-5.5", "-o", str(tmp_path), *words(*again)]) == 0
    capsys.readouterr()
    export = ["export", PLAN, "--to", "litellm"]
    assert run([*export, "--claude-model", "sonnet-5.5", *words(*again)]) == 0
    said = capsys.readouterr()
    for path in (tmp_path, tmp_path / "comparison.json"):
        assert (run([*export, "--comparison", str(path)]), *capsys.readouterr()) == (0, *said)
    assert models_of(said.out) == {
        "corral/support": "hosted_vllm/llama-4-scout",
        "corral/support/claude": "anthropic/claude-haiku-4-5",
        "corral/personnel": "hosted_vllm/llama-4-scout",
        "corral/personnel/claude": "anthropic/claude-sonnet-5-5",
        "corral/law": "bedrock/eu.anthropic.claude-opus-4-5-20251101-v1:0",
    }


def test_a_comparison_of_the_us_alone_is_routed_to_the_us_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = words("a=60%,2k/300,escalation=5%", "b=40%,2k/300,at=claude,claude=claude-opus-5-5")
    export = ["export", PLAN, "--to", "litellm", "--comparison", str(tmp_path)]
    geo = {}
    for us_only in (["--us-only"], []):
        asked = [*COMPARED, "--claude-model", "sonnet-5.5", *us_only, "-o", str(tmp_path), *classes]
        assert (run(asked), capsys.readouterr(), run(export))[::2] == (0, 0)
        listed = yaml.safe_load(capsys.readouterr().out)["model_list"]
        params = {each["model_name"]: each["litellm_params"] for each in listed}
        geo[bool(us_only)] = {name: each.get("inference_geo") for name, each in params.items()}
    names = ("corral/a", "corral/a/claude", "corral/b")
    assert geo[True] == dict(zip(names, (None, "us", "us"), strict=True))
    assert geo[False] == dict.fromkeys(names)


def test_the_classes_of_a_planned_traffic_stay_and_the_served_name_is_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan.read(Path(PLAN))
    classes = tuple(class_typed(each) for each in ("chat=70%,2k/300", "law=30%,20k/800"))
    prompt, answer = class_means(classes)
    traffic = Traffic(
        requests_per_s=1.0, peak_factor=1.0, input_tokens=prompt, output_tokens=answer, classes=classes
    )
    machines = (Machines(name=plan.machine.name, count=1, servers=1, times=1.0),)
    carried = Carried(traffic=traffic, machines=machines)
    plan.model_copy(update={"carried": carried}).write(tmp_path / "plan.json")
    assert run(["export", str(tmp_path / "plan.json"), "--to", "litellm", "--fallback-to-claude"]) == 0
    out, err = capsys.readouterr()
    assert models_of(out) == {
        "llama-4-scout": "hosted_vllm/llama-4-scout",
        "claude-sonnet-5-5": "anthropic/claude-sonnet-5-5",
        "corral/chat": "hosted_vllm/llama-4-scout",
        "corral/law": "hosted_vllm/llama-4-scout",
    }
    assert yaml.safe_load(out)["router_settings"]["fallbacks"] == [{"llama-4-scout": ["claude-sonnet-5-5"]}]
    assert "corral/law stays: where no server answers, it fails." in err


@pytest.mark.parametrize(
    ("claude", "parameters"),
    [
        (
            "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
            {
                "model": "bedrock/us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "aws_region_name": "os.environ/AWS_REGION_NAME",
            },
        ),
        (
            "bedrock/eu-central-1/anthropic.claude-opus-5",
            {"model": "bedrock/anthropic.claude-opus-5", "aws_region_name": "eu-central-1"},
        ),
        (
            "anthropic.claude-opus-4-6-v1",
            {
                "model": "bedrock/anthropic.claude-opus-4-6-v1",
                "aws_region_name": "os.environ/AWS_REGION_NAME",
            },
        ),
        (
            "claude-haiku-4-5@20251001",
            {
                "model": "vertex_ai/claude-haiku-4-5@20251001",
                "vertex_project": "os.environ/VERTEXAI_PROJECT",
                "vertex_location": "global",
            },
        ),
        (
            "vertex/europe-west1/claude-opus-5-5",
            {
                "model": "vertex_ai/claude-opus-5-5",
                "vertex_project": "os.environ/VERTEXAI_PROJECT",
                "vertex_location": "europe-west1",
            },
        ),
        (
            "azure_ai/claude-opus-5-5",
            {
                "model": "azure_ai/claude-opus-5-5",
                "api_base": "os.environ/AZURE_AI_API_BASE",
                "api_key": "os.environ/AZURE_AI_API_KEY",
            },
        ),
        (
            "aws/us/claude-opus-5-5",
            {
                "model": "bedrock/claude_platform/claude-opus-5-5",
                "aws_region_name": "os.environ/AWS_REGION_NAME",
                "workspace_id": "os.environ/ANTHROPIC_AWS_WORKSPACE_ID",
                "inference_geo": "us",
            },
        ),
    ],
)
def test_a_claude_is_asked_where_it_is_sold(
    claude: str, parameters: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", PLAN, "--to", "litellm", "--fallback-to-claude", "--claude-model", claude]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["model_list"][-1]["litellm_params"] == parameters
    needed = {value.partition("/")[2] for value in parameters.values() if value.startswith("os.environ/")}
    assert {name for name in needed if name not in err} == set()
    assert "ANTHROPIC_API_KEY" not in err.splitlines()[-1]


def test_no_class_leaves_and_no_key_of_claudes_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", PLAN, "--to", "litellm", *words("a=100%,2k/300")]) == 0
    assert "set VLLM_API_KEY, LITELLM_MASTER_KEY and" in capsys.readouterr().err.splitlines()[-1]


def test_the_next_step_installs_as_the_tests_do() -> None:
    """The package's own pin of its extras resolves in no index of everybody's."""
    script = (Path(__file__).parent.parent / "scripts" / "ci-litellm").read_text()
    assert INSTALL.partition(" install ")[2].rpartition(" ")[0] in script


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ["--comparison", "{folder}", "--class", "a=100%,2k/300"],
            2,
            "error: A comparison has its classes, and others were named.\n"
            "hint: Use --class or --comparison, not both.\n",
        ),
        (
            ["--comparison", "{folder}"],
            2,
            "error: The comparison in {folder}/comparison.json has no classes.\n"
            "hint: Say them here: --class chat=70%,2k/300 --class law=30%,20k/800,at=claude\n",
        ),
        (["--comparison", PLAN], 4, f"error: {PLAN} is not a comparison"),
        (["--comparison", "{folder}/no.json"], 4, "error: "),
    ],
    ids=["both", "no classes", "another document", "no file"],
)
def test_a_comparison_that_routes_nothing_is_refused(
    options: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMPARED, "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    asked = [each.format(folder=tmp_path) for each in options]
    assert run(["export", PLAN, "--to", "litellm", *asked]) == code
    out, err = capsys.readouterr()
    assert (out, err[: len(said.format(folder=tmp_path))]) == ("", said.format(folder=tmp_path))


def test_a_comparison_of_another_model_routes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMPARED, "-o", str(tmp_path), *words("a=100%,2k/300")]) == 0
    other = str(Path(PLAN).with_name("maverick-bf16.json"))
    capsys.readouterr()
    assert run(["export", other, "--to", "litellm", "--comparison", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "error: The comparison is of scout, the plan of maverick.\n"
        "hint: Give the comparison that was made with this plan.\n"
    )


def test_where_no_class_is_answered_here_nothing_is_said_of_servers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["export", PLAN, "--to", "litellm", *words("a=100%,2k/300,at=claude")]) == 0
    err = capsys.readouterr().err
    assert "set ANTHROPIC_API_KEY, LITELLM_MASTER_KEY and" in err.splitlines()[-1]
    assert "output_cost_per_token" not in err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda classes: classes * 2, 4, "names a class twice."),
        (lambda classes: [], 2, "has no classes."),
        (
            lambda classes: [classes[0] | {"claude": "claude-1; rm", "at": "claude"}],
            2,
            "called 'claude-1; rm'.",
        ),
        (
            lambda classes: [classes[0] | {"claude": "claude-haiku-4-5", "at": "claude"}],
            2,
            "has no US-only inference, and the comparison is of that.",
        ),
    ],
    ids=["twice", "none", "no model", "not in the US"],
)
def test_a_comparison_that_somebody_changed_routes_nothing(
    change: Any, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two classes of one name LiteLLM would answer either, and one may be at Claude."""
    assert run([*COMPARED, "--json", "--us-only", *words("a=100%,2k/300")]) == 0
    found = json.loads(capsys.readouterr().out)
    found["by_class"]["classes"] = change(found["by_class"]["classes"])
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    assert run(["export", PLAN, "--to", "litellm", "--comparison", str(tmp_path)]) == code
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0].endswith(said)) == ("", True)
