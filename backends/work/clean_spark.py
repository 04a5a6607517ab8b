"""data: sources become clean, split rows. One PySpark program, embedded on Sail or on a real Spark, with the same rows out."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from backends.engines.clean_spark import Sail, Spark
from backends.work import clean_personal, clean_sources, clean_steps
from backends.work.clean_report import Told, tell
from backends.work.clean_sources import ROW_BITS, TEXT, WAYS, known_columns, no_column, reader
from backends.work.clean_split import PARTS, divide
from backends.work.clean_steps import ALIVE, cleaner
from backends.work.report import Report
from llmspec.errors import PlaceError
from llmspec.registry import Engine
from llmspec.spec.data import Data, Source

for module in (clean_personal, clean_sources, clean_steps):
    cloudpickle.register_pickle_by_value(module)  # a cluster's workers need pyarrow, not this package

Steps = list[tuple[str, dict[str, Any]]]


@cache
def sail() -> Any:
    """One Sail server per process, in this process; the cache keeps it alive."""
    os.environ.setdefault("RUST_LOG", "error")
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer()
    server.start(background=True)
    return server


@contextmanager
def session(engine: Engine) -> Iterator[SparkSession]:
    match engine:
        case Spark(remote=str(remote)):
            spark = connected(remote)
        case Spark(master=master):
            spark = jvm(master or "local[*]")
        case Sail():
            spark = SparkSession.builder.remote("sc://{}:{}".format(*sail().listening_address)).create()
        case _:
            raise AssertionError(f"no session for {engine}")
    try:
        yield spark
    finally:
        spark.stop()


def connected(remote: str) -> SparkSession:
    spark = SparkSession.builder.remote(remote).create()
    try:
        spark.range(1).count()
    except Exception as error:
        where = remote.split(";")[0]  # what follows may be a token
        raise PlaceError(f"data.engine: no Spark Connect server answers at {where}: {str(error).splitlines()[0]}") from error
    return spark


def jvm(master: str) -> SparkSession:
    """A classic session: the JVM is our child, and needs no port of its own."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise PlaceError("data.engine: spark needs Java 17 or newer, and there is none; install a JRE, or use `engine: sail`")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    asked = {
        "spark.api.mode": "classic",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.maxResultSize": "0",
    }
    if master.startswith("local"):
        asked["spark.sql.shuffle.partitions"] = "4"  # 200 are for a cluster
    builder = SparkSession.builder.master(master).appName("llmspec data")
    for name, value in asked.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def listed(data: Data, files: dict[str, list[str]]) -> list[tuple[int, str, str, Source]]:
    """Every file: its number, path, format, source. All columns that a header lacks are one error."""
    found = [
        (number, path, source.format or WAYS.get(Path(path).suffix.lower(), ""), source)
        for number, (source, path) in enumerate((source, path) for source in data.sources for path in files[source.called])
    ]
    problems = []
    for _, path, way, source in found:
        if not way:
            ways = ", ".join(sorted(set(WAYS.values())))
            problems.append(f"{Path(path).name}: no format for this ending; give the source a `format` ({ways})")
        elif way not in ("json", "jsonl") and (known := known_columns(path, way)) is not None:
            problems += [no_column(Path(path).name, name, known) for name in source.columns.values() if name not in known]
    if problems:
        raise PlaceError("data.sources: " + "\n  ".join(problems))
    return found


def columns_of(data: Data) -> list[str]:
    return [*TEXT, *sorted({name for source in data.sources for name in source.columns} - set(TEXT))]


def steps_of(data: Data) -> Steps:
    """The spec's steps; last, always: a row without a question or an answer teaches nothing."""
    asked = [(step.name, step.step.model_dump()) for step in data.clean]
    return [*asked, ("drop_missing", {"columns": ["question", "answer"]})]


def cleaned(spark: SparkSession, found: list[tuple[int, str, str, Source]], data: Data) -> DataFrame:
    """Every row that was read, in order, with what became of it: one pass over the sources, one shuffle per drop_duplicates."""
    columns, steps = columns_of(data), steps_of(data)
    files = [(number, path, way, json.dumps(list(source.columns.items()))) for number, path, way, source in found]
    text = ", ".join(f"{name} string" for name in columns)
    twins = [number for number, (name, _) in enumerate(steps) if name == "drop_duplicates"]
    keys = "".join(f"_key_{number} binary, " for number in twins)
    rows = spark.createDataFrame(files, "number int, path string, way string, mapping string")
    rows = rows.mapInArrow(reader(columns), f"_position long, _fault string, _seen long, _raw binary, {text}")
    rows = rows.mapInArrow(
        cleaner(steps, columns, data.split.group_by),
        "_position long, _fault string, _seen long, _raw binary, _dropped int, _touched long, _notes string, "
        f"_same_question binary, _same_group binary, {keys}{text}",
    )
    rows = rows.withColumn("_twin", F.lit(None).cast("long"))
    for number in twins:
        rows = without_twins(rows, number)
    return rows.drop(*(f"_key_{number}" for number in twins)).orderBy("_position")


def without_twins(rows: DataFrame, number: int) -> DataFrame:
    """Of the rows that still live at this step and are equal, the first in source order stays."""
    alive = (F.col("_dropped") == ALIVE) | (F.col("_dropped") > number)
    first = F.min(F.when(alive, F.col("_position"))).over(Window.partitionBy(f"_key_{number}"))
    rows = rows.withColumn("_first", first)
    twin = alive & (F.col("_position") > F.col("_first"))
    rows = rows.withColumn("_twin", F.when(twin, F.col("_first")).otherwise(F.col("_twin")))
    return rows.withColumn("_dropped", F.when(twin, F.lit(number)).otherwise(F.col("_dropped"))).drop("_first")


def refuse_faults(rows: pa.Table, found: list[tuple[int, str, str, Source]]) -> None:
    bad = rows.filter(pc.is_valid(rows["_fault"])).select(["_position", "_fault"]).to_pylist()
    if not bad:
        return
    said = []
    for row in bad[:20]:
        place, _, fault = row["_fault"].partition("\t")
        name = Path(found[row["_position"] >> ROW_BITS][1]).name
        said.append(f"{name}: {place + ': ' if place else ''}{fault}")
    raise PlaceError("data.sources: rows that cannot be read\n  " + "\n  ".join(said))


def refuse_absent(rows: pa.Table, found: list[tuple[int, str, str, Source]]) -> None:
    """A JSON record may leave a key out, but not every record of a source."""
    files = rows["_position"].to_numpy() >> ROW_BITS
    seen = rows["_seen"].to_numpy()
    problems = []
    for source in {id(source): source for *_, source in found}.values():
        numbers = [number for number, *_, one in found if one is source]
        rows_here = seen[(files >= numbers[0]) & (files <= numbers[-1])]
        if len(rows_here):
            ever = int(np.bitwise_or.reduce(rows_here))
            known = next((k for number, path, way, _ in found if number in numbers and (k := known_columns(path, way))), [])
            where = Path(found[numbers[0]][1]).name if len(numbers) == 1 else source.path
            problems += [no_column(where, name, known) for n, name in enumerate(source.columns.values()) if not ever >> n & 1]
    if problems:
        raise PlaceError("data.sources: " + "\n  ".join(problems))


def ids(rows: pa.Table, sources: list[str], source_of: "np.ndarray[Any, Any]") -> list[str]:
    """`faq:000000012:3f9a1c2b`: the source, the row's place in it, and what it said before cleaning."""
    starts = {number: int(np.argmax(source_of == number)) for number in np.unique(source_of).tolist()}
    return [
        f"{sources[number]}:{row - starts[number] + 1:09d}:{raw[:4].hex()}"
        for row, (number, raw) in enumerate(zip(source_of.tolist(), rows["_raw"].to_pylist(), strict=True))
    ]


def write(part: pa.Table, path: Path) -> None:
    """One file, its bytes decided by the rows alone: how the engine cut them into chunks must not show."""
    pq.write_table(part.combine_chunks(), path, compression="zstd", row_group_size=64 * 1024)


def clean(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:  # noqa: ARG001
    """Read, clean and dedupe in Spark; name, divide and write here."""
    data = Data.model_validate(options["data"])
    found = listed(data, options["files"])
    report.progress(0, 4, "steps", now="start " + ("sail" if isinstance(data.engine, Sail) else "spark"))
    with session(data.engine) as spark:
        report.progress(1, 4, "steps", now="read and clean")
        rows = cleaned(spark, found, data).toArrow()
    report.progress(2, 4, "steps", now="split")
    refuse_faults(rows, found)
    refuse_absent(rows, found)

    names = [source.called for source in data.sources]
    number_of = np.array([names.index(source.called) for *_, source in found])
    source_of = number_of[rows["_position"].to_numpy() >> ROW_BITS]
    row_ids = ids(rows, names, source_of)
    told = Told(rows, row_ids, steps_of(data), names, source_of)
    told.refuse_personal()
    told.refuse_nothing_left()

    alive = told.dropped == ALIVE
    kept = rows.filter(pa.array(alive))
    parts = divide(kept["_same_question"].to_pylist(), kept["_same_group"].to_pylist(), data.split)
    columns = {
        "id": pa.array(row_ids).filter(pa.array(alive)),
        **{name: kept[name].cast(pa.string()) for name in TEXT},
        "source": pa.array([names[n] for n in source_of[alive].tolist()], pa.string()),
        **{name: kept[name].cast(pa.string()) for name in columns_of(data) if name not in TEXT},
    }
    table = in_order_of_id(pa.table(columns), source_of[alive], names)
    part_of = in_order_of_id(pa.table({"part": parts}), source_of[alive], names)["part"]
    report.progress(3, 4, "steps", now="write")
    counts = {}
    for part in PARTS:
        chosen = table.filter(pc.equal(part_of, part))
        counts[part] = chosen.num_rows
        write(chosen, output / f"{part}.parquet")
    metrics = told.metrics() | counts
    tell(told, metrics, output / "report")
    report.summary = told.summary()
    report.progress(4, 4, "steps")
    return metrics


def in_order_of_id(table: pa.Table, source_of: "np.ndarray[Any, Any]", names: list[str]) -> pa.Table:
    """Rows of a source are in order already, so the sources change places and nothing is sorted."""
    order = sorted(np.unique(source_of).tolist(), key=lambda number: names[number] + ":")
    return pa.concat_tables([table.filter(pa.array(source_of == number)) for number in order])
