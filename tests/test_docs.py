"""The documentation: it is built without a warning, asks nothing of the internet, and its pages are all there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
from test_help import COMMANDS

from deploy.cli.settings import FIELDS, TAKEN_BY, variable
from infra.errors import CorralError
from infra.home import OF_A_DEPLOYMENT, OWN
from infra.onhost import judge, watch
from serving.probe.questions import COUNTERS
from serving.probe.server_metrics import FIGURE_OF

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(
    r"""<(?:script|img|iframe|link(?! rel="canonical"))[^>]*?(?:src|href)=["']?(https?:|//)"""
)
STYLE = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:|//)""")
READ = re.compile(r"""["']((?:CORRAL|HF|AWS)_[A-Z_]+|SOURCE_DATE_EPOCH)["']""")
NAMED = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
ASKED = re.compile(r"""environ(?:\.get\(|\[)["']([A-Z_]+)["']""")
OWN_PROCESSES = {"CORRAL_SERVER", "CORRAL_UNIT", "CORRAL_WRITES_LOG"}
"""What corral tells its own processes by."""
OF_OTHERS = {"VLLM_API_KEY"}
"""What an exported container's own check reads."""
sys.path.append(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site, built as scripts/docs does it, from a copy that nobody else builds in."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder / "site")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "INFO" not in line]) == (0, [])
    yield folder / "site"
    shutil.rmtree(folder)


def test_a_built_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert [str(page) for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))] == []
    styles = list(site.rglob("*.css"))
    assert [str(style) for style in styles if STYLE.search(style.read_text(encoding="utf-8"))] == []


def maker(name: str) -> Any:
    """A part of what makes the reference."""
    return import_module(f"documentation.{name}")


def test_the_reference_has_every_verb_and_option() -> None:
    pages = maker("verbs").pages()
    missing = [
        f"{verb} {name}"
        for verb, command in COMMANDS.items()
        for option in command.params
        if option.param_type_name == "option" and not option.hidden
        for name in option.opts
        if not re.search(rf"[` ]{name}[`, ]", pages[f"reference/verbs/{verb.split()[0]}.md"])
    ]
    assert missing == []
    capacity = pages["reference/verbs/capacity.md"]
    assert "\n| `--requests-per-s <float>` |  | Average requests a second. Above 0. |\n" in capacity
    assert "\n| `--help" not in capacity
    assert "Also `CORRAL_REGION`, or [kept](../settings.md). |\n" in pages["reference/verbs/up.md"]
    assert "CORRAL_" not in pages["reference/verbs/down.md"]


def test_the_reference_lists_the_exit_codes_and_the_verbs_that_take_settings() -> None:
    codes = re.findall(r"^\| (\d+) \|", maker("exit_codes").text(), re.M)
    assert [*map(int, codes)] == [0, 1, *sorted(kind.exit_code for kind in CorralError.__subclasses__())]
    assert f"{', '.join(f'`{verb}`' for verb in TAKEN_BY)} take them; " in maker("settings").text()


def test_the_reference_names_every_variable_that_is_read() -> None:
    told = set(maker("settings").VARIABLES)
    sources = [path for floor in ("deploy", "serving", "infra") for path in (ROOT / floor).rglob("*.py")]
    read = {name for path in sources for name in READ.findall(path.read_text(encoding="utf-8"))}
    ours = {name for name in read if name.startswith("CORRAL_")} - {*map(variable, FIELDS)}
    assert ours - OWN_PROCESSES == {name for name in told if name.startswith("CORRAL_")}
    here = [path for path in sources if "onhost" not in path.parts]
    asked = {name for path in here for name in ASKED.findall(path.read_text(encoding="utf-8"))}
    assert asked - OF_OTHERS - OWN_PROCESSES - told == {"CORRAL_OFFLINE"}  # --offline's own
    said = {name for path in sources for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert told - said == set()


def test_every_metric_that_is_read_is_told() -> None:
    said = maker("metrics").text()
    read = {*COUNTERS.values(), *FIGURE_OF, *judge.SIGNALS, *watch.COUNTERS, *watch.GAUGES}
    assert [metric for metric in read if f"`{metric}`" not in said] == []


def test_every_kind_of_file_in_a_home_is_told() -> None:
    said = maker("files").text()
    assert [name for name in (*OWN, *OF_A_DEPLOYMENT) if f"| `{name}` | " not in said] == []
    sentences = (OWN | OF_A_DEPLOYMENT).values()
    assert [each for each in sentences if not re.fullmatch(r"[A-Zv].+\.", each)] == []
    assert len({*sentences}) == len(sentences)
    assert "\n| `plan` | " in said


def test_a_type_is_said_in_words() -> None:
    said = maker("json_pages").of_verb("status")
    assert "One of: [Status](#status) or list of [Status](#status) or list of [Event](#event)." in said
    assert "\n| `usd_so_far` | number or null |  |" in said
    assert '\n| `state` | `"absent"`, `"provisioned"`,' in said


LINK = re.compile(r"\]\(([^)#\s:]+)[)#]")


def test_every_link_of_a_page_leads_somewhere_in_a_clone() -> None:
    """But for those of the reference's first page to what is made when the site is built, which it says there."""
    docs = ROOT / "docs"
    dead = {
        (page.relative_to(docs).as_posix(), link)
        for page in docs.rglob("*.md")
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    }
    made = {place.removeprefix("reference/") for place in maker("reference").pages()}
    assert {page for page, _ in dead} == {"reference/index.md"}
    assert {link for _, link in dead} == {
        link for link in made if link.count("/") == 0 or link.endswith("/index.md")
    }


WIDTHS = (400, 800, 1280)
LOOKED_AT = ("index", "tutorials/bank", "how-to/compare", "reference/verbs/size", "reference/json/compare")


@pytest.mark.browser
def test_no_page_is_wider_than_its_window(site: Path, tmp_path: Path, need: Callable[..., NoReturn]) -> None:
    """As wide as a phone, half a screen and a desk. What is wider, as printed lines are, scrolls by itself."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        need("browser", "no chromium on the PATH; on Debian: apt-get install chromium")
    frames = "".join(
        f'<iframe name="{page} at {width}" style="width:{width}px" src="{(site / page).as_uri()}.html"></iframe>'
        for page in LOOKED_AT
        for width in WIDTHS
    )
    measure = (
        "document.title = [...document.querySelectorAll('iframe')].map(frame => [frame.name, "
        "frame.contentDocument.documentElement.scrollWidth - frame.clientWidth])"
        ".map(pair => pair.join(': ')).join('; ')"
    )
    (tmp_path / "frames.html").write_text(f'<title></title><body onload="{measure}">{frames}</body>')
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --allow-file-access-from-files --dump-dom"
    done = subprocess.run(
        [browser, *flags.split(), f"--user-data-dir={tmp_path}/profile", (tmp_path / "frames.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    title = re.search(r"<title>(.*)</title>", done.stdout)
    assert title is not None
    measured = dict(each.rsplit(": ", 1) for each in title[1].split("; "))
    assert set(measured) == {f"{page} at {width}" for page in LOOKED_AT for width in WIDTHS}
    assert {name: by for name, by in measured.items() if int(by) > 0} == {}


def test_a_text_is_no_markdown_but_for_what_is_code() -> None:
    made = maker("markdown")
    said = "one_two *three* [four] <five> six|seven \\ `a_b|<c>`"
    assert (
        made.cell(f"  {said}\n") == "one\\_two \\*three\\* \\[four\\] \\<five\\> six\\|seven \\\\ `a_b|<c>`"
    )
