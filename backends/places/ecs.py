"""ecs: Amazon ECS. Containers on Fargate, or on EC2 machines with a GPU, behind a load balancer."""

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from backends.places.aws import (
    GB,
    INSIDE,
    INSTALL,
    REQUIRES,
    Balancer,
    Certificate,
    Domain,
    Machine,
    Networks,
    Zone,
    doorless,
    shut,
    size_fault,
    unwaited,
)
from backends.places.cloud import Endpoint, InAws
from llmspec.section import Duration, Size, wrong

if TYPE_CHECKING:
    import dagster

    from llmspec.job import Job
    from llmspec.spec import Spec


class Ecs(InAws):
    """Amazon ECS: tasks for jobs, a service behind a load balancer for the endpoint."""

    runs: ClassVar[tuple[str, ...]] = ("data", "features", "onnx", "evaluation")
    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL
    for_jobs: ClassVar[tuple[str, ...]] = ("max_runtime",)
    for_endpoint: ClassVar[tuple[str, ...]] = ("instance", "gpus", "public", "open_to", "certificate", "domain", "zone", "failover")

    cpu: float = Field(default=2, gt=0, le=192)
    """vCPU of one task; on Fargate 0.25, 0.5, 1, 2, 4, 8 or 16."""
    memory: Size = Field(default=8 * GB, ge=GB // 2)
    """Memory of one task: `8GB`."""
    instance: Machine | None = None
    """The EC2 machine that the endpoint's tasks run on: `g5.xlarge`. Fargate, which has no GPU, when absent, and for jobs."""
    gpus: int = Field(default=0, ge=0, le=8)
    """GPUs of one task; only with an instance that has them."""
    disk: Size = Field(default=50 * GB, ge=21 * GB, le=200 * GB)
    """For the image and the artifact: `50GB`."""
    max_runtime: Duration = Field(default=24 * 3600.0, ge=60, le=5 * 86400)
    """A job that runs longer is ended."""
    public: bool = False
    """Whether the internet may ask; else only the network and what is joined to it."""
    open_to: Networks = ["10.0.0.0/8"]
    """Address ranges that may ask: `[10.0.0.0/8]`. A public endpoint names some of the internet's."""
    certificate: Certificate | None = None
    """The load balancer's certificate in ACM, in the same region. One is made for `domain` when absent."""
    domain: Domain | None = None
    """The name that users ask: `bot.acme.example`."""
    zone: Zone | None = None
    """The hosted zone of that name in Route 53, by its id."""
    failover: Balancer | None = None
    """The load balancer of the same product in a second region, which has the name while this one is unhealthy:
    `bot-prod-1234567890.eu-west-1.elb.amazonaws.com`."""

    def run(self, context: "dagster.AssetExecutionContext", job: "Job") -> None:
        """A task on Fargate; found again when it runs already."""
        from backends.places import ecs_job

        ecs_job.run(self, context, job)

    @property
    def honours(self) -> tuple[str, ...]:
        return ("scale", "rollout", "variants")

    def doors(self, stage: str) -> tuple[str, ...] | None:
        """Fargate's machines are AWS's own and ask ECS by themselves; ours ask from inside."""
        return (*INSIDE, "ecs", "ecs-agent", "ecs-telemetry") if self.instance else INSIDE

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.gpus and not self.instance:
            raise wrong("Fargate has no GPU", "name an instance that has: g5.xlarge", "gpus")
        if not self.instance and (fault := size_fault(self.cpu, self.memory, least_cpu=0.25)):
            raise fault
        return self

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """A load balancer stands in two zones and speaks HTTPS; steps and variants would move the same weights."""
        if stage != "endpoint":
            return self._no_job(stage, spec)
        scale, rollout = spec.endpoint.scale, spec.endpoint.rollout
        error = doorless("ecs", self.certificate, self.domain, self.zone, spec.region) or shut("ecs", self.public, self.open_to)
        if error := error or unwaited("ecs", rollout):
            return error
        if f"{spec.name}-".startswith("internal-"):
            return wrong(
                "a load balancer is named after it, and AWS keeps names with 'internal-'", "begin the name otherwise", "name"
            )
        if self.failover and not (self.domain and self.zone):
            cure = "add `domain: …` and `zone: …`: the name that moves"
            return wrong("no name would move to the second region", cure, "places.endpoint.ecs.failover")
        if self.failover and f".{spec.region}." in self.failover:
            fault = f"it is lost with {spec.region}, where this one is"
            return wrong(fault, "name a load balancer in another region", "places.endpoint.ecs.failover")
        if scale and scale.min == 0:
            return wrong("a service that scales on load has at least one task", "use min: 1", "endpoint.scale.min")
        if scale and scale.zones < 2:
            return wrong("a load balancer stands in two zones or more", "write zones: 2", "endpoint.scale.zones")
        if rollout and rollout.strategy != "all_at_once" and spec.endpoint.variants:
            return wrong("variants and a rollout in steps move the same weights", "use strategy: all_at_once", "endpoint.rollout")
        if rollout and rollout.strategy == "linear" and rollout.steps[0] < 3:
            return wrong("ECS's linear steps have 3 percent or more", "write [25, 50, 75, 100]", "endpoint.rollout.steps")
        if rollout and rollout.strategy != "all_at_once" and rollout.wait % 60:
            return wrong("ECS waits whole minutes", "write `wait: 5m`", "endpoint.rollout.wait")
        return None

    def endpoint(self) -> Endpoint:
        from backends.places.ecs_endpoint import EcsEndpoint

        return EcsEndpoint(self.site)

    def _no_job(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        """A task stands in the foundation's network, which leads to AWS's services, and elsewhere by a NAT gateway alone."""
        from llmspec import network
        from llmspec.spec.model import HubBase

        if stage != "features" or network.gateways(spec) or not isinstance(spec.model.base, HubBase):
            return None
        fault = "a base from the hub is fetched by the job, and a task at ecs reaches no hub"
        cure = "do this stage locally or at sagemaker, copy the base into a folder and name that: base: {path: …}, "
        cure += "or pay for a way out: `governance: {nat_gateways: 1}`"
        return wrong(fault, cure, f"places.{stage}")
