"""network: whether a target needs a private network in AWS, over how many zones, and by which doors AWS is asked from in there.

Prices count by these lists and the foundation is built from them: what is counted is what is made.
"""

from llmspec.reads import secret_of
from llmspec.spec import Spec


def stands(spec: Spec) -> bool:
    """Whether something of the target stands in a network of its own. A job that can do without makes none: doors cost money."""
    return any(place.doors(stage) is not None for stage, place in spec.places.items())


def doors(spec: Spec) -> tuple[str, ...]:
    """Interface endpoints, each paid by hour and zone. The way to S3 is a route, and free."""
    asked = [place.doors(stage) or () for stage, place in spec.places.items()]
    hidden = [("secretsmanager",) for stage, place in spec.places.items() if place.doors(stage) and told_secrets(spec, stage)]
    inside = "endpoint" in spec.places and spec.places["endpoint"].doors("endpoint") is not None
    models = [("bedrock-runtime",)] if spec.hosted and inside else []
    return tuple(dict.fromkeys(door for some in asked + hidden + models for door in some))


def told_secrets(spec: Spec, stage: str) -> bool:
    """Whether the job of a stage is told a secret: what runs in a network fetches it from in there."""
    return stage != "endpoint" and secret_of(spec, stage) is not None


def gateways(spec: Spec) -> int:
    """Ways out into the internet, which nobody has who did not ask for one."""
    return spec.governance.nat_gateways if spec.governance else 0


def zones(spec: Spec) -> int:
    """As many as the endpoint's copies are spread over, and two at least: one fails as a whole."""
    return max(2, spec.endpoint.scale.zones if spec.endpoint.scale else 2)
