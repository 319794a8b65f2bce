"""The page of pairs: blind, harmless whatever an answer holds, and what its ratings come to."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fake_scorer import Fake, serving

from deploy.cli.main import run
from serving.quality.blind import Pair, Pairs, Ratings, shuffled, win_rate, win_rate_text
from serving.quality.blind_page import page
from serving.quality.quality_report import Side

A, B = Side(url="http://a", model="scout"), Side(url="http://b", model="claude")
ANSWERED = [(f"text {number}", f"a{number}", f"b{number}") for number in range(40)]


def written(tmp_path: Path, capsys: pytest.CaptureFixture[str], a: Fake, b: Fake) -> Any:
    """What --json says of a page."""
    texts = tmp_path / "texts.txt"
    texts.write_text("the horse\n\nfence gate\n\nranch river")
    words = ["--texts", str(texts), "--blind", "--output", str(tmp_path / "out"), "--json"]
    with serving(a, b):
        code = run(["quality", a.url, b.url, *words, "--api-b", "messages", "--model-b", b.name])
    assert code == 0
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if line.startswith("text ")]
    assert told == [f"text {number} of 3" for number in (1, 2, 3)]
    return json.loads(said.out)


def test_an_endpoint_without_log_probabilities_gets_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, claude = Fake(scores=False), Fake(name="claude-x", scores=False, answers=("one", "two", "three"))
    found = written(tmp_path, capsys, a, claude)
    assert (found["pairs"], found["alike"]) == (3, 0)
    shown, key = Path(found["page"]).read_text(), Pairs.read(Path(found["key"]))
    for secret in (a.url, claude.url, "claude-x", "fake", "left_is"):
        assert secret not in shown
    assert shown.count("<fieldset>") == 3
    assert {pair.left if pair.left_is == "b" else pair.right for pair in key.pairs} == {"one", "two", "three"}
    assert Path(found["page"]).stat().st_mode & 0o77 == 0
    assert [body["max_tokens"] for path, body in claude.asked if path == "/v1/messages"] == [512] * 3


def test_ratings_come_back_as_a_win_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = written(tmp_path, capsys, Fake(), Fake(name="c", answers=("one", "two", "three")))
    key, ratings = Pairs.read(Path(found["key"])), tmp_path / "ratings.json"
    for_b = {number: "left" if pair.left_is == "b" else "right" for number, pair in enumerate(key.pairs, 1)}
    ratings.write_text(Ratings(page=key.page, ratings=for_b).model_dump_json())  # type: ignore[arg-type]
    assert run(["quality", "rated", str(tmp_path / "out"), str(ratings), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["b_won"], said["a_won"], said["b_win_rate"]["mean"]) == (3, 0, 1.0)
    assert said["b_win_rate"]["low"] == pytest.approx(0.4385, abs=1e-4)


def test_a_page_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, capsys, Fake(), Fake(name="c"))
    again = ["quality", "http://127.0.0.1:1", "http://127.0.0.1:1", "--texts", str(tmp_path / "texts.txt")]
    assert run([*again, "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/out/blind.html is there already.\nhint: Name another folder: --output\n"
    )


@pytest.mark.parametrize(
    "change", [{"page": "0" * 64}, {"ratings": {4: "left"}}, {"ratings": {0: "left"}}], ids=str
)
def test_ratings_of_another_page_are_refused(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = shuffled(ANSWERED[:3], A, B)
    key.write(tmp_path / "pairs.json")
    ratings = {"document": "quality-ratings", "schema_version": 1, "page": key.page, "ratings": {1: "left"}}
    (tmp_path / "ratings.json").write_text(json.dumps(ratings | change))
    assert run(["quality", "rated", str(tmp_path), str(tmp_path / "ratings.json")]) == 4
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/ratings.json rates another page than that of {tmp_path}.\n"
        "hint: Save the ratings from its own blind.html.\n"
    )


def test_left_and_right_are_drawn_and_the_same_for_the_same_answers() -> None:
    pairs = shuffled(ANSWERED, A, B)
    assert pairs == shuffled(ANSWERED, A, B)
    assert 10 < sum(pair.left_is == "a" for pair in pairs.pairs) < 30
    assert all(
        (pair.left[0], pair.right[0]) in ((pair.left_is, "b"), (pair.left_is, "a")) for pair in pairs.pairs
    )
    assert shuffled([*ANSWERED[1:], ("text", "a", "b")], A, B).page != pairs.page


def test_ties_and_what_is_alike_decide_nothing() -> None:
    pairs = [
        Pair(text="1", left="x", right="y", left_is="a"),
        Pair(text="2", left="x", right="y", left_is="b"),
        Pair(text="3", left="x", right=" x\n", left_is="a"),
        Pair(text="4", left="x", right="y", left_is="a"),
        Pair(text="5", left="x", right="y", left_is="a"),
    ]
    key = Pairs(made_on="2026-11-29", a=A, b=B, page="p", pairs=tuple(pairs))
    found = win_rate(key, Ratings(page="p", ratings={1: "right", 2: "right", 4: "same"}))
    assert (found.a_won, found.b_won, found.same, found.unrated) == (1, 1, 2, 1)
    assert win_rate_text(found).startswith(
        "NO PREFERENCE SHOWN: B won 50% of 2 decided pairs (95 %: 9% to 91%):"
    )
    nothing = win_rate(key, Ratings(page="p", ratings={}))
    assert (nothing.b_win_rate, nothing.unrated) == (None, 4)
    assert win_rate_text(nothing).startswith("NOTHING DECIDED: 0 for B")


@pytest.mark.parametrize(
    ("wins", "head"), [(9, "B PREFERRED"), (1, "A PREFERRED"), (6, "NO PREFERENCE SHOWN")]
)
def test_who_is_preferred_is_said_where_it_is_shown(wins: int, head: str) -> None:
    key = Pairs(
        made_on="2026-11-29",
        a=A,
        b=B,
        page="p",
        pairs=tuple(Pair(text=str(number), left="x", right="y", left_is="b") for number in range(10)),
    )
    ratings = Ratings(page="p", ratings={n: "left" if n <= wins else "right" for n in range(1, 11)})
    assert win_rate_text(win_rate(key, ratings)).startswith(f"{head}: B won {wins * 10}% of 10 decided pairs")


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_what_a_model_writes_is_text_on_the_page() -> None:
    hostile = "</pre></fieldset><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m"
    tags = Tags()
    made = page(shuffled([(hostile, hostile, "b")], A, B))
    tags.feed(made)
    assert (tags.seen.count("script"), tags.seen.count("img")) == (1, 0)
    assert "\u202e" not in made
    assert "\x1b" not in made
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='", policy
    )


STUB = """<script>
URL.createObjectURL = blob => { blob.text().then(text => { document.title = text; }); return "#"; };
HTMLAnchorElement.prototype.click = () => {};
</script>"""
RATE = """<script>
for (const [name, value] of [["1", "left"], ["3", "same"], ["1", "right"]])
  document.querySelector(`input[name="${name}"][value="${value}"]`).click();
document.getElementById("save").click();
</script>"""


@pytest.mark.browser
def test_a_browser_runs_the_pages_own_script_and_saves_what_was_chosen(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    """As it is, under its policy; and with a hand that rates, for which the policy is left out."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        need("browser", "no chromium on the PATH; on Debian: apt-get install chromium")
    key = shuffled(ANSWERED[:3], A, B)
    made = page(key)
    rated = re.sub("<meta http-equiv=[^>]*>", STUB, made).replace("</html>", f"{RATE}</html>")
    found = {}
    for name, text in {"as it is": made, "rated": rated}.items():
        (tmp_path / "page.html").write_text(text)
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --virtual-time-budget=2000 "
            f"--user-data-dir={tmp_path / 'profile'} --dump-dom"
        )
        command = [browser, *flags.split(), (tmp_path / "page.html").as_uri()]
        found[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '<output id="done">0 of 3 rated</output>' in found["as it is"]
    assert '<output id="done">2 of 3 rated</output>' in found["rated"]
    (saved,) = re.findall("<title>(.*?)</title>", found["rated"], re.DOTALL)
    assert Ratings.parse(html.unescape(saved), "the page") == Ratings(
        page=key.page, ratings={1: "right", 3: "same"}
    )
