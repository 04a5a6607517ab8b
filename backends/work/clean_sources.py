"""Reads source files into rows of text, the same way on every engine: Spark's own readers lose the order and the line."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXT = ("question", "answer", "context")
"""What every row has."""
ROWS = 4096
"""Rows in a batch."""
ROW_BITS = 40
"""A position is the file's number, and in the low bits the row's number in it."""
FAULTS = 5
"""So many bad rows of a file are named; one is enough to stop."""


@dataclass(frozen=True)
class Fault:
    """Why a row, or all that follows in its file, cannot be read."""

    where: str
    text: str


@dataclass(frozen=True)
class Record:
    """One row: a value per mapped column, and which of them the record names at all (null is a value, absence is not)."""

    values: list[str | None]
    seen: int


Found = Record | Fault


class Decimal(float):
    """A JSON number that remembers how it was written: a price of 19.90 stays 19.90."""

    def __new__(cls, written: str) -> "Decimal":
        number = super().__new__(cls, written)
        number.written = written
        return number

    written: str


def text_of(value: Any) -> str | None:
    """Any value as text; nothing and the empty text are both nothing."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return value.written
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def at_path(record: Any, path: str) -> tuple[Any, bool]:
    """`product.name` -> the value in the record, and whether it is there. A key with a dot in it comes first."""
    if isinstance(record, dict) and path in record:
        return record[path], True
    for key in path.split("."):
        if not isinstance(record, dict) or key not in record:
            return None, False
        record = record[key]
    return record, True


def picked(record: Any, paths: list[str], where: str) -> Found:
    if not isinstance(record, dict):
        return Fault(where, "not a record: a row is {…} with a value per column")
    pairs = [at_path(record, path) for path in paths]
    return Record([text_of(value) for value, _ in pairs], sum(1 << n for n, (_, there) in enumerate(pairs) if there))


def parse(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_constant=lambda _: None)


def read_jsonl(path: str, paths: list[str]) -> Iterator[Found]:
    with Path(path).open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = parse(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield Fault(f"line {number}", f"not JSON: {_said(error)}")
            else:
                yield picked(record, paths, f"line {number}")


def read_json(path: str, paths: list[str]) -> Iterator[Found]:
    text = Path(path).read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    try:
        records = parse(text)
    except json.JSONDecodeError as error:
        cure = "; one record per line is `format: jsonl`" if error.msg == "Extra data" else ""
        yield Fault(f"line {error.lineno}", f"not JSON: {error.msg}{cure}")
        return
    for number, record in enumerate(records if isinstance(records, list) else [records], 1):
        yield picked(record, paths, f"record {number}")


def header_of(file: TextIO, delimiter: str) -> tuple[Any, list[str]]:
    """A strict reader that stands after the header: a quote that is never closed would swallow the rest of the file."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    return reader, [name.strip() for name in next(reader, [])]


def read_table(path: str, paths: list[str], delimiter: str) -> Iterator[Found]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader, header = header_of(file, delimiter)
        if not header:
            return
        cells = [header.index(name) for name in paths]
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Fault(f"line {line}", f"{error} (is a quote not closed?)")
                return
            if row is None:
                return
            if len(row) == len(header):
                yield Record([row[cell] or None for cell in cells], (1 << len(cells)) - 1)
            elif row:
                yield Fault(f"line {line}", f"{len(row)} cells, but the header has {len(header)}; put quotes around {delimiter!r}")


def column_of(batch: pa.RecordBatch, path: str) -> list[str | None]:
    """A Parquet column as text; a dot reaches into a struct."""
    names = [path] if path in batch.schema.names else path.split(".")
    column = batch.column(names[0])
    for name in names[1:]:
        column = pc.struct_field(column, name)
    if pa.types.is_nested(column.type):
        return [text_of(value) for value in column.to_pylist()]
    return [value or None for value in column.cast(pa.string()).to_pylist()]


def read_parquet(path: str, paths: list[str]) -> Iterator[Found]:
    with pq.ParquetFile(path) as file:
        tops = file.schema_arrow.names
        wanted = sorted({name if name in tops else name.split(".")[0] for name in paths})
        for batch in file.iter_batches(ROWS, columns=wanted):
            columns = [column_of(batch, name) for name in paths]
            for row in zip(*columns, strict=True):
                yield Record(list(row), (1 << len(paths)) - 1)


def at_hand(path: str, digest: str) -> AbstractContextManager[str]:
    """The file where this worker can read it: as it is, or brought from S3 for as long as the block lasts."""
    if not path.startswith("s3://"):
        return nullcontext(path)
    from backends.work.fetched import near  # workers that read from S3 have this package

    return near(path, digest)


def records(path: str, way: str, paths: list[str], digest: str = "") -> Iterator[Found]:
    """Every row of a file, and in place of each that cannot be read, why."""
    try:
        with at_hand(path, digest) as here:
            match way:
                case "csv" | "tsv":
                    yield from read_table(here, paths, "," if way == "csv" else "\t")
                case "json":
                    yield from read_json(here, paths)
                case "jsonl":
                    yield from read_jsonl(here, paths)
                case "parquet":
                    yield from read_parquet(here, paths)
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        yield Fault("", _said(error))


def _said(error: Exception) -> str:
    """What a person can use of an error, without the row's content."""
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start:,}; save it as UTF-8"
        case json.JSONDecodeError():
            return f"{error.msg} at column {error.colno}"
        case RecursionError():
            return "nested too deeply"
        case FileNotFoundError():
            return "not found where the engine runs; a cluster must see files under the same path"
    return str(error).splitlines()[0]


def digest(values: Iterable[str | None]) -> bytes:
    """16 bytes that stand for these values."""
    return blake2b("".join("-" if v is None else f"{len(v)}:{v}" for v in values).encode(), digest_size=16).digest()


def texts(values: list[str | None]) -> pa.Array:
    """JSON can spell half a character (\\ud800), which no file can hold: it becomes �."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([v and v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for v in values], pa.string())


def reader(columns: list[str]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For mapInArrow: files (number, path, way, mapping, digest) -> rows (_position, _fault, _seen, _raw, our columns)."""

    def batch(file: dict[str, Any], first: int, found: list[Found]) -> pa.RecordBatch:
        cells = {name: n for n, (name, _) in enumerate(file["mapping"])}
        values = {name: [row.values[n] if isinstance(row, Record) else None for row in found] for name, n in cells.items()}
        nothing: list[str | None] = [None] * len(found)
        text = {name: texts(values.get(name, nothing)) for name in columns}
        same = zip(*(text[name].to_pylist() for name in TEXT), strict=True)
        start = (file["number"] << ROW_BITS) + first
        fixed = {
            "_position": pa.array(range(start, start + len(found)), pa.int64()),
            "_fault": pa.array([f"{row.where}\t{row.text}" if isinstance(row, Fault) else None for row in found], pa.string()),
            "_seen": pa.array([row.seen if isinstance(row, Record) else 0 for row in found], pa.int64()),
            "_raw": pa.array([digest(row) for row in same], pa.binary()),
        }
        return pa.RecordBatch.from_pydict(fixed | text)

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for file in (row for files in batches for row in files.to_pylist()):
            file["mapping"] = json.loads(file["mapping"])
            found: list[Found] = []
            first = faults = 0
            for row in records(file["path"], file["way"], [theirs for _, theirs in file["mapping"]], file["digest"]):
                faults += isinstance(row, Fault)
                if isinstance(row, Record) or faults <= FAULTS:
                    found.append(row)
                if len(found) == ROWS:
                    yield batch(file, first, found)
                    first, found = first + ROWS, []
            if found:
                yield batch(file, first, found)

    return read
