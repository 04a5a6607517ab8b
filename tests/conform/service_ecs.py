"""GPU machines behind a load balancer, two variants, secrets, a certificate of its own, and a second region."""

import dataclasses

from service_ground import MONITORS, release, serving

from infra_pulumi.service import service
from infra_pulumi.serving.ecs import EcsArgs
from infra_pulumi.serving.wanted import Scale, SecondRegion, Variant

secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:keys-AbCdEf"
new = dataclasses.replace(release(13), secrets={"HF_TOKEN": secret})
second = SecondRegion("bot.acme.example", "Z0123456789ABCDEFGHIJ", "bot-prod-1234567890.eu-west-1.elb.amazonaws.com")
service(
    serving(
        EcsArgs(cpu=4096, memory_mb=15_000, instance="g5.xlarge", gpus=1, domain=second.domain, zone_id=second.zone_id),
        release=new,
        scale=Scale(min=2, max=4, concurrency_per_copy=8),
        variants=(Variant(release(12), 90), Variant(new, 10)),
        monitors=dataclasses.replace(MONITORS, second_region=second),
    )
)
