"""A cluster with a GPU node group, and copies that are scaled by the requests at work."""

from service_ground import serving

from infra_pulumi.service import service
from infra_pulumi.serving.eks import EksArgs
from infra_pulumi.serving.wanted import Scale

service(
    serving(
        EksArgs(
            instance="g5.xlarge",
            gpus=1,
            group=True,
            domain="bot.acme.example",
            zone_id="Z0123456789ABCDEFGHIJ",
            operators=("192.0.2.0/24",),
            requests_metric="llmspec_running",
        ),
        scale=Scale(min=2, max=6, concurrency_per_copy=8),
    )
)
