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


def test_another_content_under_the_same_size_and_time_is_another_file(rows: Path) -> None:
    known, before = Digests().file(rows), rows.stat()
    rows.write_text("shelf 9")
    while rows.stat().st_ctime_ns == before.st_ctime_ns or rows.stat().st_mtime_ns != before.st_mtime_ns:
        os.utime(rows, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does
    assert Digests().file(rows) != known
