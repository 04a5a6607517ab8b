"""Plans, sizes and times as a person reads them."""

import os
import sys
from collections.abc import Iterable

from llmspec.plan import Plan, Step
from llmspec.prices import Costs

MARKS = {
    "reuse": "=",
    "run": "+",
    "rerun": "~",
    "may rerun": "~",
    "deploy": "!",
    "redeploy": "!",
    "may redeploy": "!",
    "restart": "!",
    "blocked": "✗",
    "skipped": "·",
}
COLOURS = {"+": "32", "~": "33", "!": "36", "✗": "31", "✓": "32", "=": "2", "·": "2"}


def coloured(text: str, mark: str) -> str:
    """Colour only where a person looks, and only where it helps."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{COLOURS[mark]}m{text}\x1b[0m" if mark in COLOURS else text


def seconds(value: float) -> str:
    """'12 s', '5:48', '2:03:10'."""
    if value < 60:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(value: float) -> str:
    """'about 20 s', 'about 7 min', 'about 3 h'."""
    if value < 90:
        return f"about {max(1, round(value)):.0f} s"
    return f"about {value / 60:.0f} min" if value < 5400 else f"about {value / 3600:.1f} h"


def megabytes(value: float) -> str:
    """'34 KB', '124 MB', '2.1 GB'."""
    if value < 1:
        return f"{value * 1000:,.0f} KB"
    return f"{value:,.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _cost(step: Step) -> str:
    if step.seconds is None:
        return f"({step.basis})" if step.basis and step.pending else ""
    memory = f" · {megabytes(step.memory_mb)}" if step.memory_mb else ""
    return f"{about(step.seconds)}{memory} ({step.basis})"


def reasons(step: Step) -> list[str]:
    """What changed, each with its line, and why else."""
    return [*(f"{change}{'   ' + change.at if change.at else ''}" for change in step.changes), *step.why]


def plan_lines(plan: Plan, cloud: Iterable[str] = ()) -> Iterable[str]:
    """The plan as the terminal shows it; what would change in the cloud stands between the stages and what they cost."""
    yield f"{plan.name}  target {plan.target}  store {plan.store}"
    yield ""
    for step in plan.steps:
        mark = MARKS[step.action]
        said = reasons(step) or [""]
        yield coloured(f"  {mark} {step.stage:<12} {step.action:<12}", mark) + f" {said[0]}".rstrip()
        for more in [*said[1:], step.hint, _cost(step)]:
            if more:
                yield " " * 30 + more
    yield ""
    yield summary(plan)
    yield from cloud
    if plan.costs:
        yield from ["", *cost_lines(plan.costs)]


def cost_lines(costs: Costs) -> Iterable[str]:
    """What it costs, as far as it is known; what is not known is named."""
    yield f"Costs in {costs.region}" + (f" (prices of {costs.dates})" if costs.dates else "")
    for line in costs.lines:
        need = line.need
        often = "once" if need.once else "a month"
        note = f" ({need.note})" if need.note else ""
        price = f"{line.price.figure} per {line.price.per}"
        yield f"    {need.stage:<12} {dollars(line.least, line.most):>20} {often:<8} {need.what} at {price}{note}"
    kinds = [kind for kind in (False, True) if any(line.need.once == kind for line in costs.lines)]
    totals = [f"{dollars(*costs.total(once=kind)):>20} {'once' if kind else 'a month'}" for kind in kinds]
    if totals:
        yield f"    {'in all':<12} {totals[0]}{''.join(f', and {more.strip()}' for more in totals[1:])}, for what is priced"
    if costs.verdict:
        yield f"    {costs.verdict}"
    yield from (f"    unpriced     {each}" for each in costs.unpriced)


def dollars(least: float, most: float) -> str:
    """'$12.30', '$1,028 to $4,112'."""
    said = [_dollars(least), _dollars(most)]
    return said[0] if said[0] == said[1] else " to ".join(said)


def summary(plan: Plan) -> str:
    """'1 to rerun, 3 that may follow, 1 to redeploy. About 7 min on this machine.'"""
    if not plan.pending:
        return "Blocked." if plan.blocked else "Nothing to change."
    groups = {
        "to run": ("run",),
        "to rerun": ("rerun",),
        "that may follow": ("may rerun",),
        "to deploy": ("deploy",),
        "to redeploy": ("redeploy",),
        "that may be redeployed": ("may redeploy",),
        "to restart": ("restart",),
    }
    counted = {what: sum(step.action in actions for step in plan.steps) for what, actions in groups.items()}
    parts = [f"{number} {what}" for what, number in counted.items() if number]
    unknown = [step.stage for step in plan.pending if step.seconds is None and step.basis]
    time = about(plan.seconds)
    said = f"{time[0].upper()}{time[1:]}" + ("" if plan.costs else " on this machine")
    return f"{', '.join(parts)}. {said}" + (f", and {', '.join(unknown)}, of which nothing is known yet." if unknown else ".")


def _dollars(value: float) -> str:
    if 0 < value < 0.01:
        return "less than $0.01"
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"
