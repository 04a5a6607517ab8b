"""data: sources become clean, split rows. One PySpark program, embedded on Sail or on a real Spark, with the same rows out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from backends.engines.clean_spark import Sail
from backends.work import clean_sources, clean_steps, clean_text
from backends.work.clean_columns import File, listed, refuse_absent, refuse_changed
from backends.work.clean_engine import session
from backends.work.clean_report import Told, tell
from backends.work.clean_sources import ROW_BITS, TEXT, reader
from backends.work.clean_split import PARTS, divide
from backends.work.clean_steps import ALIVE, cleaner
from backends.work.clean_text import remove
from backends.work.report import Report
from llmspec import redaction
from llmspec.errors import PlaceError
from llmspec.spec.data import Data

for module in (redaction, clean_sources, clean_steps, clean_text):
    cloudpickle.register_pickle_by_value(module)  # a cluster's workers need pyarrow, not this package

Steps = list[tuple[str, dict[str, Any]]]


def columns_of(data: Data) -> list[str]:
    return [*TEXT, *sorted({name for source in data.sources for name in source.columns} - set(TEXT))]


def steps_of(data: Data) -> Steps:
    """The spec's steps; last, always: a row without a question or an answer teaches nothing."""
    asked = [(step.name, step.options.model_dump()) for step in data.clean]
    return [*asked, ("drop_missing", {"columns": ["question", "answer"]})]


def refuse_patterns(data: Data) -> None:
    """An expression that RE2 cannot read, before an engine is started for it."""
    for number, step in enumerate(data.clean):
        if step.remove is not None:
            try:
                remove(step.remove.pattern)(pa.array([""]))
            except ValueError as error:
                raise PlaceError(f"data.clean[{number}] remove: {step.remove.pattern!r}: {error}") from None


def cleaned(spark: SparkSession, found: list[File], data: Data) -> DataFrame:
    """Every row that was read, in order, with what became of it: one pass over the sources, one shuffle per drop_duplicates."""
    columns, steps = columns_of(data), steps_of(data)
    files = [(file.number, file.path, file.way, json.dumps(list(file.source.columns.items())), file.digest) for file in found]
    text = ", ".join(f"{name} string" for name in columns)
    twins = [number for number, (name, _) in enumerate(steps) if name == "drop_duplicates"]
    keys = "".join(f"_key_{number} binary, " for number in twins)
    rows = spark.createDataFrame(files, "number int, path string, way string, mapping string, digest string")
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


def refuse_faults(rows: pa.Table, found: list[File]) -> None:
    bad = rows.filter(pc.is_valid(rows["_fault"])).select(["_position", "_fault"]).to_pylist()
    if not bad:
        return
    said = []
    for row in bad[:20]:
        place, _, fault = row["_fault"].partition("\t")
        said.append(f"{found[row['_position'] >> ROW_BITS].name}: {place + ': ' if place else ''}{fault}")
    raise PlaceError("data.sources: rows that cannot be read\n  " + "\n  ".join(said))


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
    refuse_patterns(data)
    found = listed(data, options["files"], options.get("digests", {}))
    report.progress(0, 4, "steps", now="start " + ("sail" if isinstance(data.engine, Sail) else "spark"))
    with session(data.engine) as spark:
        report.progress(1, 4, "steps", now="read and clean")
        rows = cleaned(spark, found, data).toArrow()
    report.progress(2, 4, "steps", now="split")
    refuse_changed(found)
    refuse_faults(rows, found)
    refuse_absent(rows, found)

    names = [source.called for source in data.sources]
    number_of = np.array([names.index(file.source.called) for file in found])
    source_of = number_of[rows["_position"].to_numpy() >> ROW_BITS]
    row_ids = ids(rows, names, source_of)
    told = Told(rows, row_ids, steps_of(data), names, source_of)
    told.refuse_personal()
    told.refuse_nothing_left()

    alive = told.dropped == ALIVE
    kept = rows.append_column("id", pa.array(row_ids)).filter(pa.array(alive))
    report.progress(3, 4, "steps", now="write")
    counts = write_parts(kept, source_of[alive], names, data, output)
    metrics = told.metrics() | counts
    tell(told, metrics, output / "report")
    report.summary = told.summary()
    report.progress(4, 4, "steps")
    return metrics


def write_parts(kept: pa.Table, source_of: "np.ndarray[Any, Any]", names: list[str], data: Data, output: Path) -> dict[str, int]:
    """train.parquet, validation.parquet, test.parquet; how many rows each has."""
    parts = divide(kept["_same_question"].to_pylist(), kept["_same_group"].to_pylist(), data.split)
    made = {"id": kept["id"], "source": pa.array([names[number] for number in source_of.tolist()])}
    order = ["id", *TEXT, "source", *columns_of(data)[len(TEXT) :]]
    columns = {name: made[name] if name in made else kept[name].cast(pa.string()) for name in order}
    table = in_order_of_id(pa.table(columns | {"_part": parts}), source_of, names)
    counts = {}
    for part in PARTS:
        chosen = table.filter(pc.equal(table["_part"], part)).select(order)
        counts[part] = chosen.num_rows
        write(chosen, output / f"{part}.parquet")
    return counts


def in_order_of_id(table: pa.Table, source_of: "np.ndarray[Any, Any]", names: list[str]) -> pa.Table:
    """Rows of a source are in order already, so the sources change places and nothing is sorted."""
    order = sorted(np.unique(source_of).tolist(), key=lambda number: names[number] + ":")
    return pa.concat_tables([table.filter(pa.array(source_of == number)) for number in order])
