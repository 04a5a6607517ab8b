"""eks: Amazon EKS. The server in Kubernetes: a Deployment on machines of its own, scaled by load."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic_core import PydanticCustomError

from backends.places.aws import GB, INSIDE, INSTALL, REQUIRES, Certificate, Domain, Machine, Networks, Zone, doorless, shut
from backends.places.cloud import Endpoint, InAws
from llmspec.section import Like, Size, wrong

if TYPE_CHECKING:
    from llmspec.spec import Spec


Version = Annotated[str, Field(pattern=r"^1\.[0-9]{2}$"), Like("write a version of Kubernetes in quotes: `'1.35'`")]


class Eks(InAws):
    """Amazon EKS: the endpoint in a Kubernetes cluster."""

    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL

    instance: Machine = "m7i.xlarge"
    """The EC2 machines that copies run on: `g5.xlarge`."""
    gpus: int = Field(default=0, ge=0, le=8)
    """GPUs of one copy."""
    cpu: float = Field(default=2, gt=0, le=192)
    """vCPU of one copy."""
    memory: Size = Field(default=8 * GB, ge=GB // 2)
    """Memory of one copy: `8GB`."""
    disk: Size = Field(default=20 * GB, ge=GB)
    """For the artifact and what is written beside it: `20GB`."""
    version: Version = "1.35"
    """Of Kubernetes, in quotes. AWS raises it by itself when the version's standard support ends; write the new one here then."""
    public: bool = False
    """Whether the internet may ask; else only the network and what is joined to it."""
    open_to: Networks = ["10.0.0.0/8"]
    """Address ranges that may ask: `[10.0.0.0/8]`. A public endpoint names some of the internet's."""
    domain: Domain | None = None
    """The name that users ask: `bot.acme.example`. Needed."""
    certificate: Certificate | None = None
    """The ingress's certificate in ACM, in the same region. One is made for `domain` when absent."""
    zone: Zone | None = None
    """The hosted zone of that name in Route 53, by its id."""

    @property
    def honours(self) -> tuple[str, ...]:
        """A pod is replaced when the next one answers; copies follow the processor, since Kubernetes counts no requests."""
        return ("scale.min", "scale.max", "scale.zones", "variants")

    def doors(self, stage: str) -> tuple[str, ...] | None:
        """Its machines join the cluster from inside, and what runs on them makes balancers and sends metrics."""
        return (*INSIDE, "ec2", "eks", "eks-auth", "sts", "elasticloadbalancing", "monitoring")

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        scale = spec.endpoint.scale
        error = doorless("eks", self.certificate, self.domain, self.zone, spec.region) or shut("eks", self.public, self.open_to)
        if error is not None:
            return error
        if self.domain is None:
            return wrong("without a name nobody could ask", "add `domain: …`", "places.endpoint")
        if spec.governance and spec.governance.deploy:
            fault = "a pipeline makes roles below the boundary only, and a cluster's own roles reach beyond it"
            return wrong(fault, "take it out: people deploy to eks", "governance.deploy")
        if scale and scale.min == 0:
            return wrong("a Deployment that scales on load has at least one pod", "use min: 1", "endpoint.scale.min")
        if scale and scale.zones < 2:
            return wrong("a cluster stands in two zones or more", "write zones: 2", "endpoint.scale.zones")
        return None

    def endpoint(self) -> Endpoint:
        from backends.places.eks_endpoint import EksEndpoint

        return EksEndpoint(self.site)
