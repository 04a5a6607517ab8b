"""emr: Amazon EMR Serverless. The same cleaning program, on as many workers as the data needs."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from backends.places.aws import GB, INSTALL, REQUIRES, size_fault
from llmspec.card import Place
from llmspec.registry import name_of
from llmspec.section import Duration, Like, Size, wrong

if TYPE_CHECKING:
    import dagster

    from llmspec.job import Job
    from llmspec.spec import Spec


class Emr(Place):
    """Amazon EMR Serverless: cleans data on Spark, without a cluster to keep."""

    runs: ClassVar[tuple[str, ...]] = ("data",)
    engines: ClassVar[tuple[str, ...]] = ("spark",)
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL

    release: Annotated[
        str, Field(pattern=r"^emr-spark-[0-9]+\.[0-9]+\.[0-9]+$"), Like("write a release label with Spark 4: `emr-spark-8.1.0`")
    ] = "emr-spark-8.1.0"
    """EMR's release label: `emr-spark-8.1.0` is Spark 4.1. Spark 3, which `emr-7.14.0` brings, cannot run our program."""
    workers: int = Field(default=2, ge=1, le=1000)
    """Executors that the job asks for."""
    cpu: int = 4
    """vCPU of each worker and of the driver: 1, 2, 4, 8 or 16."""
    memory: Size = 16 * GB
    """Memory of each worker and of the driver: `16GB`."""
    max_vcpu: int = Field(default=16, ge=2, le=4000)
    """The most that all of it together may use: it bounds the bill."""
    max_runtime: Duration = Field(default=6 * 3600.0, ge=300, le=24 * 3600)
    """A job that runs longer is ended."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if wrong_size := size_fault(self.cpu, self.memory, least_cpu=1):
            raise wrong_size
        needed = self.cpu * (self.workers + 1)
        if needed > self.max_vcpu:
            fault = f"{self.workers} workers and a driver of {self.cpu} vCPU need {needed}, and max_vcpu is {self.max_vcpu}"
            raise wrong(fault, "raise max_vcpu, or use fewer or smaller workers", "max_vcpu")
        return self

    def run(self, context: "dagster.AssetExecutionContext", job: "Job") -> None:
        """A job run of the foundation's application; found again when it runs already."""
        from backends.places import emr_job

        emr_job.run(self, context, job)

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """EMR brings its own Spark: an address of another would be ignored."""
        engine = spec.data.engine
        if not (told := [option for option in engine.said if option in ("master", "remote")]):
            return None
        return wrong(
            f"{told[0]} has no effect at emr, which brings its own Spark",
            "take it out",
            f"data.engine.{name_of(type(engine))}.{told[0]}",
        )
