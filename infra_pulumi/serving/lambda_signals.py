"""A function's numbers in the spec's words: its own clock, and what the API before it answered."""

import pulumi

from infra_pulumi.components.journal_metrics import said_signals
from infra_pulumi.serving.served import Health, Metric, Signal
from infra_pulumi.serving.wanted import Serving


def signals(wanted: Serving, function: pulumi.Input[str], api: str, stage: str) -> dict[str, Signal]:
    """A stream lasts as long as its function; a function that falls over is a 5xx of the API."""
    took = {share: Metric("AWS/Lambda", "Duration", f"p{share}", {"FunctionName": function}) for share in (50, 95, 99)}
    failed, asked = (_api(api, stage, name, "Sum") for name in ("5XXError", "Count"))
    return {
        **{f"p{share}_latency": Signal("m1 / 1000", (metric,)) for share, metric in took.items()},
        "error_rate": Signal("FILL(m1, 0) / m2", (failed, asked)),
        "requests_per_minute": Signal("FILL(m1, 0)", (asked,)),
        **said_signals(wanted),
    }


def health(api: str, stage: str) -> Health:
    """The mean of 5xx per request is their share: more than half failed, three minutes on end."""
    return Health(_api(api, stage, "5XXError", "Average"), ">", 0.5)


def _api(api: str, stage: str, name: str, statistic: str) -> Metric:
    return Metric("AWS/ApiGateway", name, statistic, {"ApiName": api, "Stage": stage})
