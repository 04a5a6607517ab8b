"""A function behind a REST API: two stages, two plans, sign-in, CORS, and a rollout in steps."""

from service_ground import serving

from infra_pulumi.components.rest_api import Plan
from infra_pulumi.service import service
from infra_pulumi.serving.lambda_ import LambdaArgs
from infra_pulumi.serving.wanted import Rollout, Scale

service(
    serving(
        LambdaArgs(
            plans={"user": Plan(), "partner": Plan(50, 100, 1_000_000)},
            cors=("https://shop.example",),
            candidate=True,
            access_log=True,
        ),
        scale=Scale(min=1, max=20),
        rollout=Rollout("linear", (25, 50, 75, 100), 300),
    )
)
