"""A cluster's numbers in the spec's words: all from the journal, because Kubernetes, not this program, makes the load balancer."""

from infra_pulumi.components.journal_metrics import journal_metric, said_signals
from infra_pulumi.serving.served import Health, Metric, Signal
from infra_pulumi.serving.wanted import Serving


def signals(wanted: Serving) -> dict[str, Signal]:
    """What the container itself says of each request."""
    asked, failed = journal_metric(wanted, "requests", "Sum"), journal_metric(wanted, "errors", "Sum")
    return {
        **{f"p{share}_latency": Signal("m1", (journal_metric(wanted, "seconds", f"p{share}"),)) for share in (50, 95, 99)},
        "error_rate": Signal("FILL(m1, 0) / m2", (failed, asked)),
        "requests_per_minute": Signal("FILL(m1, 0)", (asked,)),
        **said_signals(wanted),
    }


def health(cluster: str, namespace: str, service: str) -> Health:
    """No pod of the service runs, three minutes on end. When nobody counts any more, that is no good news either."""
    where = {"ClusterName": cluster, "Namespace": namespace, "Service": service}
    return Health(Metric("ContainerInsights", "service_number_of_running_pods", "Minimum", where), "<", 1, "breaching")
