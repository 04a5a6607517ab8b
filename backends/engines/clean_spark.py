"""clean_spark: one PySpark program, embedded on Sail or on a real Spark."""

from typing import Annotated, ClassVar

from llmspec.registry import Engine
from llmspec.section import OutsideKey, SecretText


class Sail(Engine):
    """PySpark on Sail: embedded in the work process, no JVM."""

    stage: ClassVar[str] = "data"
    work: ClassVar[str] = "backends.work.clean_spark:clean"
    tool: ClassVar[str] = "spark"
    requires: ClassVar[tuple[str, ...]] = ("pyspark", "pysail")
    install: ClassVar[str] = "pip install 'llmspec[spark]'"


class Spark(Engine):
    """PySpark on real Spark: local threads of a JVM, or a cluster."""

    stage: ClassVar[str] = "data"
    work: ClassVar[str] = "backends.work.clean_spark:clean"
    tool: ClassVar[str] = "spark"
    requires: ClassVar[tuple[str, ...]] = ("pyspark",)
    install: ClassVar[str] = "pip install 'llmspec[spark]'"

    master: Annotated[str | None, OutsideKey()] = None
    """`local[2]`, `spark://host:7077`; `local[*]` when neither is given."""
    remote: Annotated[SecretText | None, OutsideKey()] = None
    """A Spark Connect address, `sc://host:15002`."""
