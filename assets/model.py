"""model: token ids become a checkpoint.   features -> MODEL -> onnx"""

import dagster as dg

from assets.show import asset, produce
from llmspec.card import Place
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "The fine-tuned checkpoint, adapters merged.")
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return produce(context, stage, place)

    return model
