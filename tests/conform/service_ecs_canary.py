"""Fargate, and a new release that comes in steps."""

from service_ground import serving

from infra_pulumi.service import service
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.wanted import Rollout, Scale

service(
    serving(
        EcsArgs(certificate_arn="arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"),
        scale=Scale(min=2, max=6),
        rollout=Rollout("canary", (10, 100), 600),
    )
)
