"""Policy checks of what is in AWS: pure functions over the spec, each with an id, a severity, a reason and a fix.

They say what AWS would accept and nobody should want. What AWS cannot do is an error of the language, not of policy.
Find a check: `spending` what costs for nothing, `service` what keeps it up, `protection` what keeps it safe, `memory` what fits.
"""

from llmspec.errors import SpecError
from llmspec.load import Loaded
from llmspec.policy import memory, protection, service, spending
from llmspec.policy.finding import RULES, Finding, View

__all__ = ["RULES", "Finding", "check", "memory", "protection", "require", "service", "spending"]


def check(loaded: Loaded) -> list[Finding]:
    """What is found at the spec's target, in the order of the file; nothing where nothing is in AWS."""
    view = View(loaded)
    if not view.inside:
        return []
    governance = loaded.spec.governance
    reasons = {waiver.check: waiver.reason for waiver in governance.waive} if governance else {}
    found = [finding for rule in RULES.values() for finding in rule.findings(view, reasons.get(rule.id, ""))]
    idle = [name for name in reasons if name not in {finding.check for finding in found}]
    return sorted([*found, *(_idle(view, name) for name in idle)], key=lambda it: (it.problem.line, it.problem.column))


def require(loaded: Loaded) -> None:
    """SpecError with all that must not be applied like this."""
    if problems := [finding.problem for finding in check(loaded) if finding.stops]:
        raise SpecError(*problems)


def _idle(view: View, name: str) -> Finding:
    """A waiver that waives nothing hides the day on which it would."""
    assert view.spec.governance
    at = next(number for number, waiver in enumerate(view.spec.governance.waive) if waiver.check == name)
    problem = view.loaded.problem(f"governance.waive[{at}]", f"nothing is found by '{name}', so this waives nothing", "take it out")
    return Finding("waiver", "warning", "A waiver that waives nothing would hide the day on which it does.", problem)
