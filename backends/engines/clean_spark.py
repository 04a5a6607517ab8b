"""clean_spark: one PySpark program, embedded on Sail or on a real Spark."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from llmspec.card import Engine
from llmspec.section import OutsideKey, SecretText, wrong


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

    master: Annotated[str | None, OutsideKey()] = Field(default=None, min_length=1)
    """`local[2]`, `spark://host:7077`; `local[*]` when neither is given."""
    remote: Annotated[SecretText | None, OutsideKey()] = None
    """A Spark Connect address, `sc://host:15002`; its workers see the sources under the same paths, and have pyarrow."""

    @model_validator(mode="after")
    def _one_way_there(self) -> Self:
        if self.master and self.remote:
            raise wrong("master and remote are two ways to one cluster", "keep one", "remote")
        if self.remote and not self.remote.startswith(("sc://", "${")):
            raise wrong(f"{self.remote!r} is not a Spark Connect address", "write `sc://host:15002`", "remote")
        return self
