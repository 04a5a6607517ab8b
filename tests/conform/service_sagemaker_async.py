"""An asynchronous endpoint that goes to no copy at all when nothing waits."""

from service_ground import serving

from infra_pulumi.service import service
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Rollout, Scale

service(
    serving(
        SagemakerArgs(form="async", instance="ml.g4dn.xlarge"),
        scale=Scale(min=0, max=4, concurrency_per_copy=4),
        rollout=Rollout("linear", (25, 50, 75, 100), 300),
    )
)
