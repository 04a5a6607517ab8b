"""monitors: the journal becomes numbers, curves and alarms.   endpoint -> MONITORS"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.work.report import Report
from llmspec.journal_stats import MINUTE, Minute, Ringing, look, summary
from llmspec.pictures import curve
from llmspec.spec.monitors import Monitors

PICTURES: dict[str, tuple[str, str, dict[str, str]]] = {
    "latency": ("Latency", "seconds", {"p50": "p50_latency", "p95": "p95_latency", "first token p95": "p95_first_token"}),
    "requests": ("Requests", "per minute", {"requests": "requests", "errors": "errors", "refused": "refused"}),
    "tokens": ("Answer tokens while somebody is answered", "per second", {"tokens": "tokens_per_second"}),
}


def watch(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:  # noqa: ARG001
    """Look back over `monitors.every`, and as far as the longest alarm needs."""
    now = float(options.get("now") or time.time())
    found = look(Path(options["journal"]), Monitors.model_validate(options["monitors"]), now)
    if not found.whole:
        report.log("the journal is too busy to read all of it: the newest requests are counted")
    write(output, found.minutes, found.alarms, now)
    rung = sum(alarm.ringing for alarm in found.alarms)
    report.summary = f"{summary(found.numbers)} · " + (f"{rung} of {len(found.alarms)} alarms ring" if rung else "no alarm rings")
    return {**found.numbers, "alarms": [asdict(alarm) for alarm in found.alarms]}


def write(output: Path, minutes: Sequence[Minute], alarms: Sequence[Ringing], now: float) -> None:
    """minutes.json is the artifact; what is under report/ is for people."""
    (output / "report").mkdir(exist_ok=True)
    rows = [{"start": minute.start, **minute.numbers} for minute in minutes]
    (output / "minutes.json").write_text(json.dumps(rows, indent=1))
    for name, (title, unit, series) in PICTURES.items():
        lines = {label: [((row["start"] - now) / MINUTE, row.get(metric)) for row in rows] for label, metric in series.items()}
        (output / f"report/{name}.svg").write_text(curve(title, lines, x="minutes", y=unit), encoding="utf-8")
    (output / "report/alarms.md").write_text(table(alarms), encoding="utf-8")


def table(alarms: Sequence[Ringing]) -> str:
    if not alarms:
        return "No alarm is set: write `monitors.alarms`.\n"
    rows = [f"| {alarm.alarm} | {'**rings**' if alarm.ringing else 'quiet'} | {alarm.reason} |" for alarm in alarms]
    return "\n".join(["| alarm | now | because |", "|---|---|---|", *rows]) + "\n"
