"""The dashboard: each signal as a curve, in the spec's words and units, with the lines above which it rings."""

from typing import Any

import pulumi

from infra_pulumi.serving.served import Served, Signal
from infra_pulumi.serving.wanted import Serving

WIDTH, HEIGHT, COLUMNS = 8, 6, 3


def board(wanted: Serving, served: Served) -> pulumi.Output[str]:
    """The dashboard's JSON. Dimensions may be known only after the deployment."""
    widgets = [_widget(wanted, index, name, signal) for index, (name, signal) in enumerate(served.signals.items())]
    return pulumi.Output.json_dumps({"widgets": widgets})


def _widget(wanted: Serving, index: int, name: str, signal: Signal) -> dict[str, Any]:
    lines = [{"label": str(alarm), "value": alarm.bound} for alarm in wanted.monitors.alarms if alarm.metric == name]
    return {
        "type": "metric",
        "x": index % COLUMNS * WIDTH,
        "y": index // COLUMNS * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {
            "title": name,
            "region": wanted.owner.region,
            "view": "timeSeries",
            "period": signal.period,
            "metrics": [[{"expression": signal.expression, "id": "value", "label": name}], *_rows(signal)],
            **({"annotations": {"horizontal": lines}} if lines else {}),
        },
    }


def _rows(signal: Signal) -> list[list[Any]]:
    """CloudWatch's own form: namespace, metric, dimension, value, …, how to read it."""
    rows = []
    for index, metric in enumerate(signal.metrics, 1):
        dimensions = [part for pair in metric.dimensions.items() for part in pair]
        rows.append([metric.namespace, metric.name, *dimensions, {"id": f"m{index}", "stat": metric.statistic, "visible": False}])
    return rows
