"""What a hosted base means for the other sections: other engines by default, and options that would have no effect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic_core import PydanticCustomError

from llmspec.card import Card, Engine
from llmspec.registry import name_of
from llmspec.section import Section, wrong
from llmspec.spec.evaluation import Metric
from llmspec.spec.model import BedrockBase

if TYPE_CHECKING:
    from llmspec.spec.spec import Spec

ENGINES = {
    "features": "prompt_bedrock",
    "model": "ask_bedrock",
    "onnx": "bind_bedrock",
    "evaluation": "score_bedrock",
    "endpoint": "serve_bedrock",
}
"""What does a stage where the model is Bedrock's."""
CHANCES = "perplexity"
"""The metric that needs each token's probability."""
SERVED_AT = ("local", "ecs", "eks", "lambda")
"""Places whose containers can reach Bedrock."""
_IDLE: dict[str, tuple[str, ...]] = {
    "features": ("tokenizer", "max_tokens", "pack", "loss_on"),
    "onnx": ("precision", "parity"),
    "endpoint": ("prefix_cache",),
}


def defaults(value: Any) -> Any:
    """A spec as it was written, with what a hosted base decides where the file says nothing."""
    model = value.get("model") if isinstance(value, dict) else None
    base = model.get("base") if isinstance(model, dict) else None
    if not isinstance(base, dict) or "bedrock" not in base:
        return value
    found = dict(value)
    for stage, engine in ENGINES.items():
        section = found.get(stage) or {}
        if isinstance(section, dict):
            found[stage] = {"engine": engine, **section}
    return found | {"evaluation": _measurable(found["evaluation"])}


def said(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec as JSON, without what has no effect with this base."""
    kept = {stage: {name: it for name, it in spec[stage].items() if name not in idle} for stage, idle in _IDLE.items()}
    return {name: kept.get(name, value) for name, value in spec.items()}


def _measurable(evaluation: Any) -> Any:
    """All metrics but the one that cannot be; a gate on it is refused for its own reason, not for a metric that lacks."""
    if not isinstance(evaluation, dict) or "metrics" in evaluation:
        return evaluation
    gates = evaluation.get("gates") or []
    asked = isinstance(gates, list) and any(CHANCES in str(gate) for gate in gates)
    return evaluation | {"metrics": [name for name in get_args(Metric) if name != CHANCES or asked]}


def without(spec: "Spec") -> Iterator[PydanticCustomError]:
    """What has no effect, or cannot be, with this base."""
    yield from _engines(spec)
    if not isinstance(spec.model.base, BedrockBase):
        return
    if spec.region is None:
        yield wrong("Bedrock needs a region", "add `region: …` to the spec: `region: us-east-1`", "model.base")
    for stage, options in _IDLE.items():
        section: Section = spec.section(stage)
        for name in [name for name in section.said if name in options]:
            yield wrong(
                f"{name} has no effect: a hosted model reads text, and nothing is exported", "take it out", f"{stage}.{name}"
            )
    if spec.endpoint.limits.memory is not None:
        yield wrong("memory has no effect: a hosted model has its own", "take it out", "endpoint.limits.memory")
    yield from _chances(spec)
    yield from _places(spec)


def _engines(spec: "Spec") -> Iterator[PydanticCustomError]:
    hosted = isinstance(spec.model.base, BedrockBase)
    for stage, instead in ENGINES.items():
        engine: Card = spec.section(stage).engine  # type: ignore[attr-defined]
        assert isinstance(engine, Engine)
        if engine.hosted != hosted:
            called = name_of(type(engine))
            fault = f"{called} works on weights, and a hosted model shows none" if hosted else f"{called} is for a hosted base"
            yield wrong(fault, f"use `engine: {instead}`, or take it out" if hosted else "take it out", f"{stage}.engine")


def _chances(spec: "Spec") -> Iterator[PydanticCustomError]:
    cure = "measure and gate token_f1, exact_match or rouge_l instead"
    fault = "perplexity needs the probability of each token, and Bedrock gives none"
    for number, gate in enumerate(spec.evaluation.gates):
        if gate.metric == CHANCES:
            yield wrong(fault, cure, f"evaluation.gates[{number}]", gate.metric)
    if CHANCES in spec.evaluation.metrics:
        yield wrong(fault, cure, f"evaluation.metrics[{spec.evaluation.metrics.index('perplexity')}]", CHANCES)


def _places(spec: "Spec") -> Iterator[PydanticCustomError]:
    """A machine that only waits for Bedrock is paid for nothing."""
    for stage, place in spec.places.items():
        called = name_of(type(place))
        if stage in ("features", "model", "onnx", "evaluation") and place.cloud:
            fault = f"{stage} only asks Bedrock: a machine at {called} would be paid for waiting"
            yield wrong(fault, "take it out: it is done where llmspec runs", f"places.{stage}")
        if stage == "endpoint" and called not in SERVED_AT:
            fault = f"{called} serves weights, and a hosted model shows none"
            yield wrong(fault, f"serve it at {', '.join(SERVED_AT[:-1])} or {SERVED_AT[-1]}", f"places.{stage}")
