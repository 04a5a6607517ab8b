"""What must hold of an artifact before the next stage may use it: a pure function of the spec and the numbers in the manifest."""

from collections.abc import Mapping
from typing import Any

from llmspec.expressions import Comparison, Verdict, shown_beside
from llmspec.job import digest_of
from llmspec.release import Release
from llmspec.spec import Spec
from llmspec.store import Manifest


def names(stage: str, spec: Spec) -> list[str]:
    """The checks a stage will be put to, before it has run."""
    match stage:
        case "data":
            return [f"{name} {comparison}" for name, comparison in _comparisons(spec).items()]
        case "onnx":
            return list(_parity(spec))
        case "evaluation":
            return [str(gate) for gate in spec.evaluation.gates]
    return []


def judge(stage: str, spec: Spec, metrics: Mapping[str, Any], scored_on: str, champion: Release | None) -> list[Verdict]:
    """Every check of a stage, with the numbers that decide it."""
    match stage:
        case "data":
            return [_compare(name, comparison, metrics) for name, comparison in _comparisons(spec).items()]
        case "onnx":
            return [_compare(name.split(" ")[0], comparison, metrics, name) for name, comparison in _parity(spec).items()]
        case "evaluation":
            return gates(spec, metrics, scored_on, champion)
    return []


def scored_on(evaluation: Manifest) -> str:
    """The digest of the rows that judged: of which data, which part, how many at most."""
    asked = evaluation.options["evaluation"]
    return digest_of([evaluation.inputs["data"], asked["data"], asked.get("rows")])


def gates(spec: Spec, scores: Mapping[str, float], scored_on: str, champion: Release | None) -> list[Verdict]:
    """The gate: a pure function of stored scores. A champion that was scored on other rows is named as such."""
    judged = [gate.judge(scores, champion.scores if champion else None) for gate in spec.evaluation.gates]
    if champion and champion.scored_on != scored_on:
        note = " (the champion was scored on other rows)"
        return [Verdict(v.gate, v.passed, v.reason + note) if "champion" in v.gate else v for v in judged]
    return judged


def _comparisons(spec: Spec) -> dict[str, Comparison]:
    checks = spec.data.checks
    asked = {"rows": checks.rows, "dropped": checks.dropped, "duplicates": checks.duplicates}
    return {name: comparison for name, comparison in asked.items() if comparison is not None}


def _parity(spec: Spec) -> dict[str, Comparison]:
    if spec.hosted:
        return {}  # there are no weights of which an artifact could differ
    parity = spec.onnx.parity
    asked = {"parity_tokens": f">= {parity.tokens}", "parity_perplexity": f"<= {parity.perplexity}"}
    return {f"{name} {limit}": Comparison.parse(limit) for name, limit in asked.items()}


def _compare(name: str, comparison: Comparison, metrics: Mapping[str, Any], label: str = "") -> Verdict:
    label = label or f"{name} {comparison}"
    value = metrics.get(name)
    if value is None:
        return Verdict(label, False, f"{name} was not measured")
    limit = comparison.bound.evaluate(None)
    assert limit is not None, "the language takes no bound without a number here"
    return Verdict(label, comparison.holds(value), f"{name} {shown_beside(value, limit)}, asked {comparison}")
