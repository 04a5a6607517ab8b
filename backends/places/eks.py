"""eks: Amazon EKS. The server in Kubernetes: a Deployment on machines of its own, scaled by load."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from pydantic_core import PydanticCustomError

from backends.places.aws import INSTALL, REQUIRES, Certificate, Domain, Machine, Network, Zone, doorless
from llmspec.registry import Place
from llmspec.section import wrong

if TYPE_CHECKING:
    from llmspec.spec import Spec


class Eks(Place):
    """Amazon EKS: the endpoint in a Kubernetes cluster."""

    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL

    instance: Machine = "m7i.large"
    """The EC2 machine of each node; a copy has a node of its own: `g5.xlarge`."""
    public: bool = False
    """Whether the internet may ask; else only the network and what is joined to it."""
    open_to: list[Network] = Field(default=["10.0.0.0/8"], min_length=1)
    """Address ranges that may ask: `[10.0.0.0/8]`."""
    certificate: Certificate | None = None
    """The ingress's certificate in ACM, in the same region. One is made for `domain` when absent."""
    domain: Domain | None = None
    """The name that users ask: `bot.acme.example`."""
    zone: Zone | None = None
    """The hosted zone of that name in Route 53, by its id."""

    @property
    def honours(self) -> tuple[str, ...]:
        """Kubernetes replaces pods one after the other and has no steps of ours."""
        return ("scale",)

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        scale = spec.endpoint.scale
        if error := doorless("eks", self.certificate, self.domain, self.zone):
            return error
        if scale and scale.min == 0:
            return wrong("a Deployment that scales on load has at least one pod", "use min: 1", "endpoint.scale.min")
        if scale and scale.zones < 2:
            return wrong("an ingress stands in two zones or more", "write zones: 2", "endpoint.scale.zones")
        return None
