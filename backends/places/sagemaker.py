"""sagemaker: Amazon SageMaker AI. Training and processing jobs, and endpoints in three forms."""

import re
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from backends.places.aws import GB, INSIDE, INSTALL, REQUIRES, MlMachine
from backends.places.cloud import Endpoint, InAws
from llmspec.section import Duration, Size, wrong

if TYPE_CHECKING:
    import dagster

    from llmspec.job import Job
    from llmspec.spec import Spec

DAY = 86400.0
_FOR_TRAINING = re.compile(r"ml\.(c5n|p3dn|p4d|p4de|p5e|p5en|p6-b200|p6-b300)\..*|ml\.p5\.48xlarge")
"""Machines that AWS has for training jobs only."""
MOST_SERVERLESS = 200
"""Requests at once that a serverless endpoint takes."""

LONGEST_WAIT = 3 * 3600.0
"""Seconds of waiting in one rollout: four hours, less one for new machines to come up."""


class SageMaker(InAws):
    """Amazon SageMaker AI: a training job for model, processing jobs for the other stages, an endpoint."""

    runs: ClassVar[tuple[str, ...]] = ("data", "features", "model", "onnx", "evaluation")
    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL
    for_jobs: ClassVar[tuple[str, ...]] = ("spot", "max_runtime", "volume")
    for_endpoint: ClassVar[tuple[str, ...]] = ("form", "memory", "capture_percent")

    instance: MlMachine = "ml.m7i.large"
    """The machine of a job, or of each copy of an endpoint: `ml.g5.xlarge`. Not for form serverless."""
    spot: bool = False
    """Train on spare capacity: cheaper, and it may be taken away; then training goes on from its checkpoint."""
    max_runtime: Duration = Field(default=DAY, ge=60, le=5 * DAY)
    """A job that runs longer is ended: it bounds what a mistake can cost."""
    volume: Size = Field(default=50 * GB, ge=GB, le=16_384 * GB)
    """Disk of a job, for its inputs and what it writes: `50GB`. Machines with their own NVMe disks use those."""
    network_isolation: bool | None = None
    """The container reaches nothing on the network; SageMaker brings and takes its files. Wherever it can, when absent: a job
    that fetches its base from the hub cannot, and stands outside the foundation's network."""
    form: Literal["realtime", "async", "serverless"] = "realtime"
    """realtime: machines that wait. async: a queue through S3, up to an hour each. serverless: paid by use, no GPU."""
    memory: Size | None = Field(default=None, ge=GB, le=6 * GB)
    """Of a serverless endpoint, in whole GB: `4GB`. 2GB when absent."""
    capture_percent: int = Field(default=0, ge=0, le=100)
    """Percent of requests and answers that SageMaker itself writes to S3, in full. The journal is apart from it."""

    def run(self, context: "dagster.AssetExecutionContext", job: "Job") -> None:
        """A training job for model, a processing job for any other stage; found again when it runs already."""
        from backends.places import sagemaker_job

        sagemaker_job.run(self, context, job)

    @property
    def honours(self) -> tuple[str, ...]:
        """Only machines that wait can share traffic between releases; a serverless endpoint has no machines to place."""
        return {
            "realtime": ("scale", "rollout", "variants"),
            "async": ("scale", "rollout"),
            "serverless": ("scale.min", "scale.max"),
        }[self.form]

    def doors(self, stage: str) -> tuple[str, ...] | None:
        """A job asks nothing from in there. Copies that wait stand in the network, and are asked from there too."""
        waits = stage == "endpoint" and self.form != "serverless"
        return (*INSIDE, "sagemaker.api", "sagemaker.runtime") if waits else None

    @model_validator(mode="after")
    def _form_fits(self) -> Self:
        if self.form == "serverless" and "instance" in self.said:
            raise wrong("a serverless endpoint has no instance", "take instance out, or use form: realtime", "instance")
        if self.form == "serverless" and self.network_isolation:
            raise wrong("a serverless endpoint cannot be isolated", "take it out, or use form: realtime", "network_isolation")
        if self.form == "serverless" and self.capture_percent:
            raise wrong("a serverless endpoint captures nothing", "take it out; the journal is kept", "capture_percent")
        if self.form != "serverless" and self.memory is not None:
            raise wrong(
                f"memory has no effect with form: {self.form}", "choose an instance with more, or form: serverless", "memory"
            )
        if self.memory is not None and self.memory % GB:
            raise wrong("memory is in whole GB", "write 1GB to 6GB", "memory")
        return self

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """Spot is for training jobs; deployments step within SageMaker's bounds."""
        if stage != "endpoint":
            return self._no_job(stage, spec)
        scale, rollout = spec.endpoint.scale, spec.endpoint.rollout
        if spec.endpoint.cors:
            fault = "cors has no effect at sagemaker: it wants AWS's credentials of every request, and a web page has none"
            return wrong(fault, "write it under a target that is local or at ecs, eks or lambda", "endpoint.cors")
        if scale and scale.min == 0 and self.form == "realtime":
            return wrong("a realtime endpoint has at least one copy", "use min: 1, or form: async", "endpoint.scale.min")
        if scale and self.form == "serverless" and scale.max > MOST_SERVERLESS:
            return wrong(f"a serverless endpoint takes {MOST_SERVERLESS} requests at once", "lower max", "endpoint.scale.max")
        if rollout and rollout.strategy == "canary" and rollout.steps[0] > 50:
            return wrong("SageMaker's canary has at most 50 percent", "write [10, 100]", "endpoint.rollout.steps")
        if rollout and rollout.strategy == "linear" and not 10 <= rollout.steps[0] <= 50:
            return wrong("SageMaker's linear steps have 10 to 50 percent", "write [25, 50, 75, 100]", "endpoint.rollout.steps")
        if rollout and rollout.watched > LONGEST_WAIT:
            return wrong("SageMaker lets a rollout take four hours", "wait less, or take larger steps", "endpoint.rollout.wait")
        return None

    def endpoint(self) -> Endpoint:
        from backends.places.sagemaker_endpoint import SageMakerEndpoint

        return SageMakerEndpoint(self.site)

    def _no_job(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """What a job cannot have there."""
        from llmspec.reads import secret_of
        from llmspec.spec.model import HubBase

        at = f"places.{stage}.sagemaker"
        if self.spot and stage != "model":
            return wrong(f"spot has no effect on {stage}: processing jobs have none", "take it out", f"{at}.spot")
        if stage != "model" and _FOR_TRAINING.fullmatch(self.instance):
            return wrong(f"processing jobs have no {self.instance}", "choose another: ml.g5.xlarge, ml.m7i.large", f"{at}.instance")
        if (named := secret_of(spec, stage)) is not None:
            cure = "do this stage locally, or copy the base into a folder and name that: base: {path: …}"
            return wrong(f"a job's environment can be read at AWS, so it is given no secret ({named})", cure, f"places.{stage}")
        if self.network_isolation and stage in ("features", "model") and isinstance(spec.model.base, HubBase):
            cure = "take it out, or copy the base into a folder and name that: base: {path: …}"
            return wrong("a base from the hub is fetched by the job, which could reach nothing", cure, f"{at}.network_isolation")
        return None
