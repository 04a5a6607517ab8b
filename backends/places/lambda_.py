"""lambda: AWS Lambda. The server in a function: paid by use, no GPU, up to 10 GB of memory."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from pydantic_core import PydanticCustomError

from backends.places.aws import INSTALL, REQUIRES, unwaited
from backends.places.cloud import Endpoint, InAws
from llmspec.section import Duration, Size, wrong

if TYPE_CHECKING:
    from llmspec.spec import Spec
    from llmspec.spec.traffic import Rollout

MB = 10**6
MOST_TOLD = 3200
"""Of the 4,096 bytes that a function's variables may take together. The rest is for digests, where the artifact lies, and what an
evaluation says of the release: it was 900 of one with five scores and three gates."""


class Lambda(InAws):
    """AWS Lambda: small models behind an API gateway, paid by use."""

    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL
    signs_in: ClassVar[bool] = True

    memory: Size = Field(default=4000 * MB, ge=128 * MB, le=10_240 * MB)
    """Memory of each copy; its share of a processor grows with it: `4GB`."""
    timeout: Duration = Field(default=120.0, ge=1, le=900)
    """The function is ended when one answer takes longer, its stream included."""
    disk: Size = Field(default=2000 * MB, ge=512 * MB, le=10_240 * MB)
    """For the artifact, which is fetched when a copy starts: `2GB`."""

    @property
    def honours(self) -> tuple[str, ...]:
        """min is provisioned and max reserved concurrency: a copy answers one request at a time, wherever Lambda starts it."""
        return ("scale.min", "scale.max", "rollout")

    def turns_back(self, rollout: "Rollout | None") -> bool:
        """All at once is over in an instant."""
        return rollout is not None and rollout.strategy != "all_at_once"

    def doors(self, stage: str) -> tuple[str, ...] | None:
        """None cost anything: image and log are Lambda's own affair, and the way to S3 is a route."""
        return ()

    def misfit(self, stage: str, spec: "Spec") -> PydanticCustomError | None:
        rollout, limits = spec.endpoint.rollout, spec.endpoint.limits
        if limits.tokens_per_minute is not None:
            fault = "a copy of a function lives too short to count a minute's tokens"
            cure = "use requests_per_minute, which the gateway counts over all copies"
            return wrong(fault, cure, "endpoint.limits.tokens_per_minute")
        if rollout and rollout.strategy == "all_at_once" and rollout.rollback_on:
            fault = "all_at_once is over in an instant at lambda, and nothing would be watched"
            return wrong(fault, "use strategy: canary or linear", "endpoint.rollout.rollback_on")
        if error := unwaited("lambda", rollout):
            return error
        if rollout and rollout.strategy != "all_at_once" and (rollout.wait < 60 or rollout.wait % 60):
            return wrong("CodeDeploy waits whole minutes", "write `wait: 5m`", "endpoint.rollout.wait")
        if (size := told(spec)) > MOST_TOLD:
            fault = f"the release would take about {size:,} bytes of a function's environment, and about {MOST_TOLD:,} are free"
            return wrong(fault, "write a shorter one, or serve from sagemaker, ecs or eks", "endpoint.system_prompt")
        return None

    def endpoint(self) -> Endpoint:
        from backends.places.lambda_endpoint import LambdaEndpoint

        return LambdaEndpoint(self.site)


def told(spec: "Spec") -> int:
    """Bytes that a release takes in the environment before it is evaluated: its system prompt is most of them."""
    from llmspec.container import packed
    from llmspec.release import Release

    draft = Release(1, spec.name, "", "", "", "", "", spec.endpoint.model_dump(mode="json"))
    return sum(len(name) + len(value) for name, value in packed(draft).items())
