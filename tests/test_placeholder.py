"""A placeholder of a help or a page that is typed as it stands: the refusal says what it is."""

import re
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra.placeholder import WORDS, hint

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "words",
    [
        "iam-policy --weights s3://BUCKET/scout/",
        "up scout --on g5.12xlarge --region us-east-1 --weights s3://BUCKET/scout/",
        "weights push ./FOLDER --to s3://BUCKET/scout/",
        "logs NAME",
        "size MODEL",
        "size scout --on MACHINE",
        "probe URL",
        "bundle install x --manifest-sha256 CHECKSUM",
        "size scout --on g5.12xlarge --region REGION",
        "compare --plan FILE",
        "schema VERB",
        "prices TYPE",
    ],
)
def test_the_refusal_says_what_a_placeholder_is(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) in (2, 4, 8)
    said = capsys.readouterr().err
    assert re.search(
        r"^hint: ([A-Z]+ and )*[A-Z]+ in capitals stands? for your own: type that instead\.", said, re.M
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--to", "s3://bucket/x/"], "s3://bucket/x/ cannot be right."),
        (["prod"], "There is no NAME."),
        (["USERNAME"], "USERNAME is nobody."),
        (["--on", "8xH100"], "8xH100 cannot be right."),
    ],
)
def test_what_is_none_is_not_said_to_be_one(typed: list[str], message: str) -> None:
    assert hint(typed, message, "Look.") == "Look."


def test_the_words_of_the_pages_are_known() -> None:
    """In lines to paste, wherever a name of somebody's own belongs."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pasted = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in pasted if re.match(r"\$? ?corral ", line)]
    bare = {
        word
        for line in lines
        for word in re.findall(r"(?<![\w./:=-])[A-Z]{3,}(?![\w:=])|(?<=s3://)[A-Z]+", line.split(" # ")[0])
    }
    assert bare - WORDS == set()
