"""The folder of a comparison: what is written into it, what is not written over, and what is told of its page."""

from pathlib import Path

import pytest

from infra.errors import UsageError
from serving.quality import quality_folder
from serving.quality.blind import KEY
from serving.quality.quality_folder import PageWritten


@pytest.mark.parametrize(
    ("alike", "said"),
    [
        (0, "7 pairs to rate: open /o/my run/blind.html in a browser, save the ratings.\n"),
        (3, "4 pairs to rate: open /o/my run/blind.html in a browser, save the ratings. 3 more are alike.\n"),
    ],
)
def test_what_to_do_with_a_page(alike: int, said: str) -> None:
    folder = Path("/o/my run")
    written = PageWritten(page=folder / "blind.html", key=folder / "key.json", pairs=7, alike=alike)
    assert quality_folder.page_text(written) == f"{said}Next: corral quality rated '/o/my run' ratings.json"


@pytest.mark.parametrize("name", ["quality.json", "blind.html", KEY])
def test_what_is_there_is_not_written_over(name: str, tmp_path: Path) -> None:
    quality_folder.check_free(None)
    quality_folder.check_free(tmp_path)
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(UsageError) as error:
        quality_folder.check_free(tmp_path)
    assert (error.value.message, error.value.hint) == (
        f"{tmp_path / name} is there already.",
        "Name another folder: --output",
    )
