"""onnx: a checkpoint becomes the artifact that is served.   model -> ONNX -> evaluation"""

import dagster as dg

from assets.show import asset, produce
from llmspec.card import Place
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "The ONNX artifact, as close to the model as the parity check demands.")
    def onnx(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return produce(context, stage, place)

    return onnx
