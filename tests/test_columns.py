"""Text for a terminal: columns that line up, paragraphs that end before its edge."""

import pytest

from infra import terminal
from infra.columns import WIDTH, on_a_line, table, wrapped


def test_columns_are_as_wide_as_their_widest_cell_and_end_without_blanks() -> None:
    rows = [("machine", "$/h", ""), ("g5.12xlarge", "  5.67", "tight"), ("p5", " 55.04", "")]
    assert table(rows) == "  machine      $/h\n  g5.12xlarge    5.67  tight\n  p5            55.04"
    assert table(iter(rows[2:]), indent="") == "p5   55.04"
    assert table([]) == ""


def test_rows_of_different_lengths_are_no_table() -> None:
    with pytest.raises(ValueError, match="zip"):
        table([("a", "b"), ("c",)])


def test_a_paragraph_ends_before_the_edge_and_breaks_no_name() -> None:
    text = wrapped("karpenter-provider-aws " * 12, "- ")
    assert [line[:3] for line in text.splitlines()] == ["- k", "  k", "  k"]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.split() == ["-", *["karpenter-provider-aws"] * 12]


NAMES = "karpenter-provider-aws " * 3 + "a-name-that-is-longer-than-a-narrow-terminal"


@pytest.mark.parametrize(
    ("width", "text", "lines"),
    [
        (None, NAMES, [NAMES]),
        (45, "one two three four five six seven eight", ["one two three four five six seven", "eight"]),
        (8, "one two three four five six seven eight", ["one two three four five", "six seven eight"]),
        (45, NAMES, [*["karpenter-provider-aws"] * 3, "a-name-that-is-longer-than-a-narrow-terminal"]),
    ],
)
def test_behind_a_label_a_pipe_gets_one_line_and_a_terminal_its_width(
    width: int | None, text: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name is broken, and where there is hardly any room a line is longer."""
    monkeypatch.setattr(terminal, "width", lambda stream: width)
    assert on_a_line(text, 9) == f"\n{' ' * 9}".join(lines)
