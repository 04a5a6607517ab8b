"""evaluation: the artifact is scored, and its gates are judged.   onnx -> EVALUATION -> endpoint"""

import dagster as dg

from assets.show import asset, picture, produce
from llmspec import pictures
from llmspec.card import Place
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "Scores of the artifact, through the engine that serves it.")
    def evaluation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        result = produce(context, stage, place)
        return result._replace(metadata={**(result.metadata or {}), "scores": scores(stage.product.fresh().stage(stage.name))})

    return evaluation


def scores(stage: Stage) -> dg.MarkdownMetadataValue:
    """The candidate's scores beside the champion's."""
    champion = stage.product.releases.live()
    assert stage.artifact
    found = stage.artifact.manifest.metrics
    gates = {gate.metric: str(gate) for gate in stage.product.spec.evaluation.gates}
    bars: dict[str, tuple[float, float | None, str | None]] = {
        name: (found[name], champion.scores.get(name) if champion else None, gates.get(name))
        for name in stage.product.spec.evaluation.metrics
        if name in found  # a metric is absent when nothing could be measured: every question refused
    }
    return picture("scores", pictures.bars(f"{stage.product.name}: scores", bars).encode(), "image/svg+xml")
