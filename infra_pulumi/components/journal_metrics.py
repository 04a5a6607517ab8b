"""Metrics read from log lines: what the journal says of each request, and what the monitors' job says of drift and canaries."""

from collections.abc import Iterator

import pulumi
import pulumi_aws as aws

from infra_pulumi.serving.served import Metric, Served, Signal
from infra_pulumi.serving.wanted import Serving

JOURNAL = {
    "seconds": ("seconds", 0),
    "first_token_seconds": ("first_token_seconds", 0),
    "answer_tokens": ("answer_tokens", 0),
    "requests": ("status", 100),
    "errors": ("status", 500),
}
"""Metric -> the field of a journal line that it is made from, and from which value on. The last two only count."""
COUNTED = ("requests", "errors")


def namespace(wanted: Serving) -> str:
    return f"llmspec/{wanted.owner.prefix}"


def journal_metric(wanted: Serving, field: str, statistic: str) -> Metric:
    return Metric(namespace(wanted), field, statistic, {})


def said_signals(wanted: Serving) -> dict[str, Signal]:
    """What no place measures itself. Tokens a second are counted while it was busy: an idle minute is not a slow one."""
    first, tokens = journal_metric(wanted, "first_token_seconds", "p95"), journal_metric(wanted, "answer_tokens", "Sum")
    busy = journal_metric(wanted, "seconds", "Sum")
    return {
        "p95_first_token": Signal("m1", (first,)),
        "tokens_per_second": Signal("IF(m2 > 60, m1 / 60, m1 / m2)", (tokens, busy)),
        **{
            name: Signal("m1", (Metric(namespace(wanted), name, "Average", {}),), period, "ignore")
            for name, period in _watched(wanted)
        },
    }


def is_watched(metric: str) -> bool:
    """Whether the monitors' job measures it, and not the place."""
    return metric == "drift" or metric.startswith("canary.")


def _watched(wanted: Serving) -> Iterator[tuple[str, int]]:
    for name in sorted({"drift"} | {alarm.metric for alarm in wanted.monitors.alarms if is_watched(alarm.metric)}):
        yield name, wanted.monitors.every


class JournalMetrics(pulumi.ComponentResource):
    """One metric filter for each number."""

    def __init__(self, name: str, wanted: Serving, served: Served, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:JournalMetrics", name, None, opts)
        self._wanted = wanted
        for metric, (field, least) in JOURNAL.items():
            at = f"{served.journal}.{field}"
            pattern = f'{{ ({served.journal}.line = "journal") && ({at} >= {least}) }}'
            self._filter(metric, served.log_group, pattern, "1" if metric in COUNTED else at)
        for metric, _ in _watched(wanted):
            self._filter(metric, wanted.ground.monitors_log_group, f'{{ $.metric = "{metric}" }}', "$.value")
        self.register_outputs({"namespace": namespace(wanted)})

    def _filter(self, metric: str, group: pulumi.Input[str], pattern: str, value: str) -> None:
        name = f"{self._wanted.owner.prefix}-{metric}"
        aws.cloudwatch.LogMetricFilter(
            name,
            name=name,
            log_group_name=group,
            pattern=pattern,
            metric_transformation=aws.cloudwatch.LogMetricFilterMetricTransformationArgs(
                namespace=namespace(self._wanted), name=metric, value=value
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
