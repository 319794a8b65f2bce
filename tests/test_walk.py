"""What lies below a folder, as one set of names."""

import os
from pathlib import Path

from infra.fetch.walk import entries


def test_files_and_links_are_told_and_real_folders_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "a").touch()
    (tmp_path / "sub" / "b").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "sub" / "away").symlink_to(tmp_path / "outside")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert entries(tmp_path) == {"a", "sub/b", "sub/away", "broken", "pipe"}
    assert entries(tmp_path, {"sub", "a"}) == {"broken", "pipe"}
    assert entries(tmp_path, {"sub/b"}) == {"a", "sub/away", "broken", "pipe"}
    assert entries(tmp_path / "none") == set()


def test_a_folder_that_lies_too_deep_counts_as_one_thing(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 66)
    (tmp_path / deep).mkdir(parents=True)
    (tmp_path / deep / "file").touch()
    assert entries(tmp_path) == {"/".join(["d"] * 65)}
    (tmp_path / "/".join(["d"] * 64) / "file").touch()
    assert entries(tmp_path) == {"/".join(["d"] * 65), "/".join([*["d"] * 64, "file"])}
