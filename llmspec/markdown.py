"""Plans as a comment on a pull request: what happens and why, what it costs, what to beware of, and the rest folded away.

What stands in a spec is text of anybody's: nobody is called by it, and nothing of it is read as HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmspec.plan import Plan, Step
from llmspec.policy import Finding
from llmspec.present import MARKS, about, dollars, megabytes, reasons, summary
from llmspec.prices import Costs

LIMIT = 65_000
"""Bytes: GitHub takes 65,536 characters, and a comment begins with a mark by which it is found again."""
_IN_A_CELL = 6
_CUT = "\n*It is longer than a comment may be: `llmspec plan` shows the rest.*\n"


@dataclass(frozen=True)
class Seen:
    """A plan, and what was found beside it."""

    plan: Plan
    findings: Sequence[Finding] = ()
    """Of the policy, as far as nobody waived it."""
    offline: bool = False
    """Neither the store nor the cloud was looked at."""
    cloud: Sequence[str] = ()
    """What would change in the cloud, or is listed there."""


def plans_markdown(seen: Sequence[Seen]) -> str:
    """All plans in one comment. Where that is too long, details go first, those of the last plan before others'."""
    whole = [_shown(each) for each in seen]
    details = ["\n".join(_details(each)) for each in seen]
    for kept in range(len(seen), -1, -1):
        text = "\n".join(
            shown + (detail if at < kept else "") for at, (shown, detail) in enumerate(zip(whole, details, strict=True))
        )
        if len(text.encode()) <= LIMIT:
            return text
    room = LIMIT - len(_CUT.encode())
    return text.encode()[:room].decode(errors="ignore").rpartition("\n")[0] + "\n" + _CUT


def _shown(seen: Seen) -> str:
    """What everybody should read, in this order."""
    plan = seen.plan
    parts = [_head(seen), _stages(plan), _cloud(seen.cloud), _costs(plan.costs), _warnings(seen.findings), _how_to_apply(seen)]
    return "\n".join(line for part in parts for line in part)


def _head(seen: Seen) -> Iterator[str]:
    yield f"### llmspec plan: {seen.plan.name}, target {seen.plan.target}\n"
    if seen.offline:
        yield "> Planned without looking: neither the store nor a cloud was asked, so every stage counts as not made yet.\n"
    yield f"{summary(seen.plan)}\n"


def _stages(plan: Plan) -> Iterator[str]:
    yield "| | stage | action | why | takes |\n|---|---|---|---|---|"
    for step in plan.steps:
        yield f"| {MARKS[step.action]} | {step.stage} | {step.action} | {_why(step)} | {_takes(step)} |"
    yield ""


def _why(step: Step) -> str:
    said = [plain(line) for line in [*reasons(step), step.hint] if line]
    more = [f"… and {len(said) - _IN_A_CELL} more, below"] if len(said) > _IN_A_CELL else []
    return "<br>".join(said[:_IN_A_CELL] + more) or "–"


def _takes(step: Step) -> str:
    if step.seconds is None:
        return "not known" if step.basis and step.pending else "–"
    return about(step.seconds) + (f" · {megabytes(step.memory_mb)}" if step.memory_mb else "")


def _cloud(lines: Sequence[str]) -> Iterator[str]:
    yield from lines
    if lines:
        yield ""


def _costs(costs: Costs | None) -> Iterator[str]:
    if costs is None:
        return
    yield f"#### Costs in {costs.region}" + (f", prices of {costs.dates}" if costs.dates else "")
    yield "\n| for | what | a month | once |\n|---|---|---|---|"
    for line in costs.lines:
        said = dollars(line.least, line.most)
        yield f"| {line.need.stage} | {line.need.what} | {'' if line.need.once else said} | {said if line.need.once else ''} |"
    yield f"| **in all** | {costs.verdict} | **{dollars(*costs.total(once=False))}** | **{dollars(*costs.total(once=True))}** |"
    yield f"\nUnpriced: {plain('; '.join(costs.unpriced))}.\n"


def _warnings(findings: Iterable[Finding]) -> Iterator[str]:
    found = [it for it in findings if not it.waived]
    if not found:
        return
    yield "#### Beware\n"
    for finding in found:
        at = finding.problem
        yield f"- {finding.severity} `{finding.check}`: {plain(at.fault)} ({at.file}:{at.line}). {plain(at.cure)}"
    yield ""


def _how_to_apply(seen: Seen) -> Iterator[str]:
    plan = seen.plan
    if plan.pending and not seen.offline:
        yield f"Just this, or nothing: `llmspec apply {plan.typed} --plan {plan.fingerprint}`\n"


def _details(seen: Seen) -> Iterator[str]:
    """Every reason in full, the artifacts' keys, and on what each estimate rests."""
    yield "\n<details><summary>Details</summary>\n"
    for step in seen.plan.steps:
        yield f"**{step.stage}**: {step.action}" + (f", key `{step.key[:12]}`" if step.key else "")
        if len(reasons(step)) > _IN_A_CELL:
            yield from (f"- {plain(line)}" for line in reasons(step))
        if step.basis:
            yield f"- {_takes(step)}, by {plain(step.basis)}"
        yield ""
    for line in seen.plan.costs.lines if seen.plan.costs else []:
        need = line.need
        note = f" ({need.note})" if need.note else ""
        yield f"- {need.stage}: {need.what} at ${line.price.usd:g} per {line.price.per}, of {line.price.as_of}{note}"
    yield "\n</details>\n"


def plain(text: str) -> str:
    """Shown as it is written: no markup, no HTML, no new line, nobody called and no other issue named."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", text)
