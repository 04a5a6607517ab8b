"""What would change in the cloud, as a person reads it."""

from collections.abc import Iterable

from llmspec.infra.build import Lacking
from llmspec.infra.change import CloudChange
from llmspec.infra.wanted import Wanted
from llmspec.infra.workspace import MARKS
from llmspec.present import coloured, count
from llmspec.spec import Spec

SHOWN = 12
"""Resources of a stack that is made from nothing or only listed; the rest of them is counted, and `-o json` has them all."""


def cloud_lines(every: Iterable[Wanted]) -> Iterable[str]:
    """A heading for each stack, its changes, and a warning for what is lost."""
    for stack in every:
        yield from ["", f"{stack.part}  {stack.stack}: {stack.summary}"]
        if stack.note and stack.changes:
            yield f"    {stack.note}"
        quiet = [change for change in stack.changes if change.op == "create"]
        for change in quiet[:SHOWN]:
            yield _line(change)
        if len(quiet) > SHOWN:
            yield f"    … and {len(quiet) - SHOWN} more (`-o json` lists all)"
        for change in stack.changes:
            if change.op != "create":
                yield _line(change)
                if change.loses_data:
                    yield f"        ! loses {change.loses_data}"


def cloud_markdown(every: Iterable[Wanted]) -> Iterable[str]:
    for stack in every:
        yield from ["", f"#### {stack.part}: {stack.summary}", ""]
        yield from ([stack.note] if stack.note and stack.changes else [])
        rows = [change for change in stack.changes if stack.compared]
        yield from (["| | resource | why |", "|---|---|---|"] if rows else [])
        for change in rows:
            lost = f" **Loses {change.loses_data}.**" if change.loses_data else ""
            yield f"| {MARKS[change.op]} {change.op} | {change.kind} {change.name} | {change.reason.replace('|', ' ')}{lost} |"


def budget_lines(spec: Spec, markdown: bool = False) -> Iterable[str]:
    """A budget that nobody made AWS count by our tag sees no cost, and would never warn."""
    budget = spec.governance and spec.governance.budget
    if budget and budget.activate_tags is None:
        said = (
            "budget: AWS counts $0 until the tag llmspec:name is activated, a day after the first apply, by the account that pays: "
            "Billing, Cost allocation tags; or governance.budget.activate_tags: true"
        )
        yield from ["", f"- {said}" if markdown else f"  ! {said}"]


def image_lines(every: Iterable[Lacking], markdown: bool = False) -> Iterable[str]:
    """What is built before the first stage, and how long that took the last time."""
    found = list(every)
    if found:
        yield from ["", f"{'#### ' if markdown else ''}images: {count(len(found), 'build')} at CodeBuild, before the first stage"]
        yield from ([""] if markdown else [])
    for each in found:
        yield f"- {each.line}" if markdown else coloured("  + build    ", "+") + each.line


def _line(change: CloudChange) -> str:
    mark = MARKS[change.op]
    reason = f"  {change.reason}" if change.reason else ""
    return coloured(f"  {mark} {change.op:<8} {change.kind} {change.name}", mark) + reason
