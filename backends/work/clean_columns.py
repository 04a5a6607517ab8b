"""Finds out, before and after the engine has read them, whether the sources have the columns that the spec maps."""

import csv
import difflib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backends.work.clean_sources import ROW_BITS, header_of, parse
from backends.work.fetched import opened, there
from llmspec.errors import PlaceError, StoreError
from llmspec.job import Digest
from llmspec.shelf import sha256_of
from llmspec.spec.data import Data, Source


class File(NamedTuple):
    """One file of a source; its number is in the position of its rows."""

    number: int
    path: str
    way: str
    source: Source
    digest: Digest = ""
    """What its bytes are, where they are read by somebody else than whoever checked them."""

    @property
    def name(self) -> str:
        return Path(self.path).name


def listed(data: Data, files: dict[str, list[str]], digests: dict[str, Digest]) -> list[File]:
    """Every file, in order. All columns that a header lacks are one error, before an engine is started."""
    pairs = [(source, path) for source in data.sources for path in files[source.called]]
    found = [
        File(number, path, source.format or Path(source.path).suffix[1:].lower(), source, digests.get(path, ""))
        for number, (source, path) in enumerate(pairs)
    ]
    if problems := [problem for file in found for problem in header_problems(file)]:
        raise PlaceError("data.sources: " + "\n  ".join(problems))
    return found


def header_problems(file: File) -> Iterator[str]:
    if file.way in ("json", "jsonl") or (known := known_columns(file.path, file.way)) is None:
        return
    for theirs in file.source.columns.values():
        if theirs not in known:
            yield no_column(file.name, theirs, known)
        elif known.count(theirs) > 1:
            yield f"{file.name}: two columns are called '{theirs}'; rename one"


def refuse_changed(found: list[File]) -> None:
    """A file that somebody wrote to after it was hashed: its rows would be kept under the digest of others. What comes from S3 is
    compared as it comes."""
    planned = {Path(file.path): file.digest for file in found if file.digest and not there(file.path)}
    changed = [path.name for path, digest in planned.items() if not path.is_file() or sha256_of(path) != digest]
    if changed:
        raise PlaceError(f"data.sources: no longer as planned: {', '.join(changed)}\n  apply again, once nobody writes to it")


def refuse_absent(rows: pa.Table, found: list[File]) -> None:
    """A JSON record may leave a key out, but not every record of a source."""
    file_of = rows["_position"].to_numpy() >> ROW_BITS
    problems = []
    for source in {file.source.called: file.source for file in found}.values():
        files = [file for file in found if file.source is source]
        seen = rows["_seen"].to_numpy()[(file_of >= files[0].number) & (file_of <= files[-1].number)]
        absent = [name for n, name in enumerate(source.columns.values()) if len(seen) and not np.bitwise_or.reduce(seen) >> n & 1]
        if absent:
            known = next((known for file in files if (known := known_columns(file.path, file.way))), [])
            problems += [no_column(files[0].name if len(files) == 1 else source.path, name, known) for name in absent]
    if problems:
        raise PlaceError("data.sources: " + "\n  ".join(problems))


def known_columns(path: str, way: str) -> list[str] | None:
    """What a file's header names, or its first record; None when it holds no row or cannot be read (reading says why)."""
    with suppress(OSError, ValueError, csv.Error, RecursionError, pa.ArrowException, StoreError), opened(path) as content:
        if way == "parquet":
            return sorted(_leaves(pq.read_schema(content)))
        if way in ("csv", "tsv"):
            with TextIOWrapper(content, encoding="utf-8-sig", newline="") as file:
                return header_of(file, "," if way == "csv" else "\t")[1] or None
        with TextIOWrapper(content, encoding="utf-8-sig") as file:
            found = parse(file.read() if way == "json" else next((line for line in file if line.strip()), "null"))
        first = found[0] if isinstance(found, list) and found else found
        return sorted(_keys(first)) if isinstance(first, dict) else None
    return None


def _keys(record: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield above + name
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{name}.")


def _leaves(fields: Iterable[pa.Field], above: str = "") -> Iterator[str]:
    for field in fields:
        yield above + field.name
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{above}{field.name}.")


def no_column(file: str, theirs: str, known: list[str]) -> str:
    near = difflib.get_close_matches(theirs, known, n=1)
    cure = f"did you mean '{near[0]}'? " if near else ""
    return f"{file}: no column '{theirs}'; {cure}(it has: {', '.join(known)})"
