"""SageMaker's numbers in the spec's words: microseconds become seconds, variants become one endpoint."""

from infra_pulumi.components.journal_metrics import said_signals
from infra_pulumi.serving.served import Health, Metric, Signal
from infra_pulumi.serving.wanted import Serving

NAMESPACE = "AWS/SageMaker"


def _metric(endpoint: str, side: str, name: str, statistic: str) -> Metric:
    return Metric(NAMESPACE, name, statistic, {"EndpointName": endpoint, "VariantName": side})


def signals(wanted: Serving, endpoint: str) -> dict[str, Signal]:
    """Percentiles of several variants cannot be added: the slowest counts."""
    sides = list(wanted.sides())

    def each(name: str, statistic: str) -> tuple[Metric, ...]:
        return tuple(_metric(endpoint, side, name, statistic) for side in sides)

    count = len(sides)
    failed = _sum(1, count)
    return {
        **{
            f"p{share}_latency": Signal(f"{_slowest(count)} / 1000000", each("ModelLatency", f"p{share}")) for share in (50, 95, 99)
        },
        "error_rate": Signal(
            f"({failed}) / ({_sum(count + 1, count)})", each("Invocation5XXErrors", "Sum") + each("Invocations", "Sum")
        ),
        "requests_per_minute": Signal(_sum(1, count), each("Invocations", "Sum")),
        **said_signals(wanted),
    }


def _sum(first: int, count: int) -> str:
    """A variant that was not asked has no data: that is zero, not unknown."""
    return " + ".join(f"FILL(m{index}, 0)" for index in range(first, first + count))


def _slowest(count: int) -> str:
    return "m1" if count == 1 else f"MAX([{', '.join(f'm{index}' for index in range(1, count + 1))}])"


def health(endpoint: str, side: str) -> Health:
    """The mean of 5xx per request is their share: more than half of them failed, three minutes on end."""
    return Health(_metric(endpoint, side, "Invocation5XXErrors", "Average"), ">", 0.5)
