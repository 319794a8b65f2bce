"""The page: one file that fetches nothing, says what it must, and escapes what it is given."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison, FourBits
from deploy.costs.currency import Currency
from deploy.costs.measured_load import Measured
from deploy.report import links, plots
from deploy.report.comparison_text import comparison_text
from deploy.report.html import render
from deploy.report.markdown import markdown
from serving.model import evaluations
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data" / "compare"
PLAN = Plan.read(DATA / "plan.json")
PROBE = ProbeReport.read(DATA / "probe.json")
NEVER_CLOSED = {"meta", "br"}
TILE = re.compile(r'<div class="tile"><b>(.*?)</b>(.*?)</div>')
CSP = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@pytest.fixture(scope="module")
def found() -> Comparison:
    question = Question.model_validate({"claude_share": "0.2"})
    return compare(PLAN, Measured(PROBE), question, date(2026, 11, 24))


@pytest.fixture(scope="module")
def page(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CORRAL_HOME", str(tmp_path_factory.mktemp("corral-home")))
        return render(PLAN, PROBE, found)


class Outline(HTMLParser):
    """The page's headings, its ids, and every address it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in NEVER_CLOSED:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if tag == "a" and (value or "").startswith("https://"):  # followed by a click alone
                self.links.append(value or "")
            elif name in ("src", "href", "xlink:href", "action", "data", "poster"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


class Words(HTMLParser):
    """The page's rows and what stands in their cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows = 0
        self.cells = [""]
        self.is_in_one = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        if tag in ("td", "th"):
            self.cells.append("")
            self.is_in_one = True

    def handle_endtag(self, tag: str) -> None:
        self.is_in_one = self.is_in_one and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.is_in_one:
            self.cells[-1] += data


def read(page: str) -> str:
    """The page's words, as they are read."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", page)))


def plain(cell: str) -> str:
    """A cell of Markdown as it is read."""
    return re.sub(r"\\(.)", r"\1", cell.replace("**", "")).strip()


def test_the_pages_outline(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert outline.headings == [
        "scout int4 on g5.12xlarge against the Claude API",
        "The decision",
        "The month",
        "What would change it",
        "What four bits cost of the answers",
        "What it costs against volume",
        "Here, by utilisation",
        "Claude on the same texts",
        "The same model served by others",
        "A part at Claude, the rest here",
        "How much each doubtful figure moves it",
        "What was measured and what was not",
        "The machine",
        "What the probe measured",
        "Everything it rests on",
    ]


def test_the_page_fetches_nothing(page: str) -> None:
    outline = Outline(page)
    assert [address for address in outline.addresses if not address.startswith("#")] == []
    assert re.findall(r"<(?:script|link|img|iframe|object)\b|@import|url\((?!#)", page) == []
    assert "default-src 'none'" in page


def test_the_plots_keep_their_ids_and_take_the_pages_colours(page: str) -> None:
    outline = Outline(page)
    assert len(set(outline.ids)) == len(outline.ids)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", page))
    assert used - set(outline.ids) == set()
    assert re.findall(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]\b|#1[0-9]1[0-9]1[0-9]\b", page) == []
    assert page.count('<svg role="img" aria-label="') == 6
    assert 'aria-label="Predicted output tokens a second against requests at once."' in page


def test_the_page_is_the_same_twice(found: Comparison, page: str) -> None:
    assert render(PLAN, PROBE, found) == page


def test_a_break_even_against_a_claude_that_is_not_there_is_no_comparison(found: Comparison) -> None:
    told = json.loads(found.model_dump_json())
    assert Comparison.model_validate(told) == found
    told["break_even"]["against"] = "Claude Nobody"
    with pytest.raises(ValueError, match="its break-even is against none of the Claude models compared with"):
        Comparison.model_validate(told)


def test_everything_in_the_comparison_is_on_the_page_and_in_the_text(found: Comparison, page: str) -> None:
    seen = read(page)
    text = re.sub(r"\s+", " ", comparison_text(found))
    for said in (found.verdict, *found.warnings, *found.what_would_change_it):
        assert said in seen
        assert said in text
    for each in found.assumptions:
        assert each.source in seen
        assert f"{each.name} = {each.value}" in text


NOT_TESTED = (
    "No 4-bit Llama 4 is in vLLM's own tests (CI covers Scout BF16 and FP8): "
    "compare its answers before you rely on it."
)
"""As size says it of such weights."""


def test_what_four_bits_lose_is_told_everywhere_with_its_source(found: Comparison, page: str) -> None:
    repo = PLAN.serve.model
    assert found.four_bits == FourBits(
        note=f"{NOT_TESTED} {evaluations.note(repo, 'int4')}",
        sources=(
            f"Red Hat of {repo}: the checkpoint's card at huggingface.co; lm-evaluation-harness with the answers' "
            "log-probabilities; read 2026-11-30",
        ),
    )
    assert "MMLU 80.34 (bf16 80.54)" in found.four_bits.note
    for is_whole in (True, False):
        text = re.sub(r"\s+", " ", comparison_text(found, is_whole))
        assert (
            f"What four bits cost of the answers {found.four_bits.note} [{found.four_bits.sources[0]}]"
            in text
        )
    said = re.sub(r"\\(.)", r"\1", markdown(PLAN, PROBE, found))
    for told in (found.four_bits.note, *found.four_bits.sources):
        assert (told in read(page), told in said) == (True, True)
    assert json.loads(found.text())["four_bits"] == found.four_bits.model_dump(mode="json")


def test_of_more_bits_nothing_is_said_and_of_weights_that_nobody_measured_that_it_is_so() -> None:
    def of(precision: str, model: str) -> Comparison:
        serve = PLAN.serve.model_copy(update={"model": model})
        plan = PLAN.model_copy(update={"precision": precision, "serve": serve})
        return compare(plan, Measured(PROBE), Question(), date(2026, 11, 24))

    repo = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic"
    more = of("fp8", repo)
    assert (more.four_bits, "four_bits" in json.loads(more.text())) == (None, False)
    assert "four bits" not in comparison_text(more) + markdown(PLAN, PROBE, more)
    own = of("int4", "/srv/models/mine")
    assert own.four_bits == FourBits(
        note=f"{NOT_TESTED} {evaluations.note('/srv/models/mine', 'int4')}", sources=()
    )
    assert "No published evaluation of these weights is known" in own.four_bits.note


def test_the_answer_comes_first_then_the_month(found: Comparison, page: str) -> None:
    seen = read(page)
    places = [seen.index(each) for each in (found.verdict, "a month here", *found.warnings, "The month")]
    assert places == sorted(places)


def test_the_tiles_say_an_amount_in_the_users_currency_too(page: str) -> None:
    question = Question.model_validate({"claude_share": "0.2", "currency": "EUR=0.5"})
    found = compare(PLAN, Measured(PROBE), question, date(2026, 11, 24))
    in_euro = TILE.findall(render(PLAN, PROBE, found))
    in_dollars = TILE.findall(page)
    assert [said for said, _ in in_euro] == [said for said, _ in in_dollars]
    others = [text.removesuffix(alone) for (_, text), (_, alone) in zip(in_euro, in_dollars, strict=True)]
    against = next(each for each in found.claude if each.name == found.break_even.against)
    own = found.self_hosted
    amounts = (own.usd_per_month, against.usd_per_month, own.usd_per_mtok_blended)
    assert others == [*(f"{Currency(name='EUR', per_usd=Decimal('0.5')).said(usd)} " for usd in amounts), ""]


def test_sources_are_links_and_nothing_else_is(found: Comparison, page: str) -> None:
    known = set(links.known().values())
    assert set(Outline(page).links) <= known
    assert len(set(Outline(page).links)) > 2
    assert "https://github.com/pydantic/genai-prices" in Outline(page).links
    assert links.linked(
        "https://a.example/b?c=1, https://github.com/vllm-project/vllm/pull/1. <b> or litellm's"
    ) == (
        'https://a.example/b?c=1, <a href="https://github.com/vllm-project/vllm/pull/1">'
        "https://github.com/vllm-project/vllm/pull/1</a>. &lt;b&gt; or "
        '<a href="https://github.com/BerriAI/litellm">litellm</a>&#39;s'
    )
    assert links.linked(
        "litellm-proxy, https://github.com.evil.example/, https://evil.example/github.com"
    ) == ("litellm-proxy, https://github.com.evil.example/, https://evil.example/github.com")


def test_each_claude_has_a_line_of_its_own_and_the_readers_volume_is_marked() -> None:
    names = [
        "claude-haiku-4-5",
        "claude-haiku-5-5",
        "claude-sonnet-4-5",
        "claude-sonnet-5-5",
        "claude-opus-4-5",
    ]
    question = Question.model_validate({"claude_models": [*names, "claude-opus-5-5"]})
    compared = compare(PLAN, Measured(PROBE), question, date(2026, 11, 24))
    drawn = plots.every(PLAN, PROBE, compared)
    for plot in ("volume", "utilisation"):
        assert [side.name for side in compared.claude if side.name not in drawn[plot]] == []
        assert plots.yours(compared) in drawn[plot]
    assert [
        swing.what for swing in compared.sensitivity if swing.what.split()[0] not in drawn["sensitivity"]
    ] == []


def test_the_markdown_says_what_the_page_says(found: Comparison, page: str) -> None:
    text = markdown(PLAN, PROBE, found)
    headings = re.findall(r"^##? (.*)$", text, re.M)
    assert headings == [each for each in Outline(page).headings if each != "What it costs against volume"]
    seen = Words(page)
    rows = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text.splitlines() if line.startswith("| ")]
    cells = [plain(cell) for row in rows for cell in row if cell != "---"]
    assert len(cells) > 200
    assert [cell for cell in cells if cell not in seen.cells] == []
    assert len([row for row in rows if row[0] != "---"]) == seen.rows


def test_markdown_has_no_markup_but_its_own(found: Comparison) -> None:
    hostile = "1. <img src=x> [a](b) `c` *d* | e_f _g_ 29.1% [yours] <- 2 > 1 & 3 &lt;\n# g"
    text = markdown(
        PLAN.model_copy(update={"reason": hostile}), None, found.model_copy(update={"verdict": hostile})
    )
    said = r"1\. \<img src=x> \[a](b) \`c\` \*d\* \| e_f \_g\_ 29.1% [yours] <- 2 > 1 & 3 \&lt; # g"
    assert f"**{said}**" in text
    assert said[3:] in text.partition("## The machine")[2]


def test_what_a_document_says_is_text_and_no_markup(found: Comparison) -> None:
    hostile = PLAN.model_copy(update={"reason": "<script>alert(1)</script>"})
    page = render(hostile, PROBE, found.model_copy(update={"model": "<b>&"}))
    assert "<script>" not in page
    assert "<b>&" not in page


def test_without_a_probe_the_page_has_no_latencies(found: Comparison) -> None:
    page = render(PLAN, None, found)
    assert "What the probe measured" not in page
    assert page.count("<svg") == 5


def test_plotting_leaves_nothing_outside_of_corrals_home(
    found: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    before = set(tmp_path.iterdir())
    render(PLAN, PROBE, found)
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"corral-home"}


def test_the_page_is_made_again_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = ["--plan", str(DATA / "plan.json"), "--probe", str(DATA / "probe.json")]
    assert run(["compare", *documents, "--output", str(tmp_path)]) == 0
    pages = [tmp_path / "report.html", tmp_path / "report.md"]
    first, texts = capsys.readouterr().out, [page.read_text() for page in pages]
    for page in pages:
        page.unlink()
    assert run(["report", str(tmp_path)]) == 0
    assert (capsys.readouterr().out, [page.read_text() for page in pages]) == (first, texts)


@pytest.mark.parametrize("name", ["plan.json", "probe.json", "comparison.json", "report.html", "report.md"])
@pytest.mark.parametrize("content", ['{"format_version": "1.2"}', "[1]", "precious", '{"document": "order"}'])
def test_what_is_no_reports_is_not_written_over(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Terraform's plan.json, say."""
    (tmp_path / name).write_text(content)
    documents = ["--plan", str(DATA / "plan.json"), "--probe", str(DATA / "probe.json")]
    assert run(["compare", *documents, "--output", str(tmp_path)]) == 2
    kind = {"plan.json": "plan", "probe.json": "probe report"}.get(name, name.rpartition(".")[0])
    assert f"error: {tmp_path / name} is there and is no {kind} of corral's.\n" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {name: content}


def test_a_report_is_written_over_a_report(tmp_path: Path) -> None:
    """Of whatever version, and beside other files."""
    documents = ["--plan", str(DATA / "plan.json"), "--probe", str(DATA / "probe.json")]
    (tmp_path / "notes.txt").write_text("mine")
    assert run(["compare", *documents, "--output", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").write_text("of another version")
    (tmp_path / "comparison.json").write_text('{"document": "comparison", "schema_version": 99}')
    assert run(["compare", *documents, "--output", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == page
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_without_a_comparison_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(tmp_path)]) == 4
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == (
        "",
        f"error: There is no comparison at {tmp_path / 'comparison.json'}.",
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1000])
def test_a_browser_lays_the_page_out_within_its_window(
    page: str, width: int, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    check_layout(page, width, tmp_path, need)


def check_layout(page: str, width: int, tmp_path: Path, need: Callable[[str, str], NoReturn]) -> None:
    """As wide as a phone or a desk, nothing sticks out, nor is there a column that one would have to scroll to."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        need("browser", "no chromium on the PATH; on Debian: apt-get install chromium")
    report_width = (
        "const page = frame.contentDocument, boxes = [...page.querySelectorAll('.wide')]; "
        "document.title = [page.documentElement.scrollWidth, "
        "...boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.trim().slice(0, 20))]"
    )
    (tmp_path / "frame.html").write_text(
        f'<title></title><iframe id="frame" style="width:{width}px;border:0" onload="{report_width}" '
        f'srcdoc="{escape(CSP.sub("", page))}"></iframe>'
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --user-data-dir={tmp_path / 'profile'} --dump-dom"
    )
    done = subprocess.run(
        [browser, *flags.split(), (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    title = re.search(r"<title>([0-9]+)(.*)</title>", done.stdout)
    assert title is not None
    assert int(title[1]) <= width
    assert title[2] == ""
