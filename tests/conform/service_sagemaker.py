"""A real-time endpoint with everything on: two variants, canary, capture, scaling."""

from service_ground import release, serving

from infra_pulumi.service import service
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Alarm, Rollout, Scale, Variant

service(
    serving(
        SagemakerArgs(instance="ml.m5.xlarge", capture_percent=10),
        scale=Scale(min=2, max=8, concurrency_per_copy=8),
        rollout=Rollout("canary", (10, 100), 600, (Alarm("error_rate", ">", 0.02), Alarm("p95_latency", ">", 1.0))),
        variants=(Variant(release(12), 90), Variant(release(13), 10)),
    )
)
