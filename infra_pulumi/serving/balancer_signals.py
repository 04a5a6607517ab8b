"""A load balancer's numbers in the spec's words. Latency is the journal's: a balancer's clock stops at a stream's first byte."""

import pulumi

from infra_pulumi.components.journal_metrics import journal_metric, said_signals
from infra_pulumi.serving.served import Health, Metric, Signal
from infra_pulumi.serving.wanted import Serving

NAMESPACE = "AWS/ApplicationELB"
REFUSED = "HTTPCode_ELB_5XX_Count"
"""What the balancer answers itself when no copy can."""


def _metric(balancer: pulumi.Input[str], name: str) -> Metric:
    return Metric(NAMESPACE, name, "Sum", {"LoadBalancer": balancer})


def signals(wanted: Serving, balancer: pulumi.Input[str]) -> dict[str, Signal]:
    """Requests that no copy was there for count as failed."""
    failed = tuple(_metric(balancer, name) for name in ("HTTPCode_Target_5XX_Count", REFUSED))
    asked = _metric(balancer, "RequestCount")
    return {
        **{f"p{share}_latency": Signal("m1", (journal_metric(wanted, "seconds", f"p{share}"),)) for share in (50, 95, 99)},
        "error_rate": Signal("(FILL(m1, 0) + FILL(m2, 0)) / (FILL(m3, 0) + FILL(m2, 0))", (*failed, asked)),
        "requests_per_minute": Signal("FILL(m1, 0)", (asked,)),
        **said_signals(wanted),
    }


def health(balancer: pulumi.Input[str]) -> Health:
    """The balancer found no copy to ask, three minutes on end."""
    return Health(_metric(balancer, REFUSED), ">=", 5)
