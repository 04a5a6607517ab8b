"""What lies outside the store is known by its content, and not hashed again while it is the same."""

import os
from pathlib import Path

import pytest

from llmspec.digests import Digests


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest is remembered."""
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    path = tmp_path / "rows.jsonl"
    path.write_text("shelf 3")
    digests = Digests()
    digests.file(path)
    digests.remember()
    return path


def test_what_tools_keep_for_themselves_in_a_checkpoint_is_no_part_of_it(rows: Path) -> None:
    folder = rows.parent / "base"
    kept = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    kept.parent.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    kept.write_text("c1899de\netag\n1730000000.1\n")
    known = Digests().folder(folder)
    kept.write_text("c1899de\netag\n1730000999.9\n")
    assert Digests().folder(folder) == known
    (folder / "config.json").write_text("{ }")
    assert Digests().folder(folder) != known


def test_another_content_under_the_same_size_and_time_is_another_file(rows: Path) -> None:
    known, before = Digests().file(rows), rows.stat()
    rows.write_text("shelf 9")
    while rows.stat().st_ctime_ns == before.st_ctime_ns or rows.stat().st_mtime_ns != before.st_mtime_ns:
        os.utime(rows, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does
    assert Digests().file(rows) != known
