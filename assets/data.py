"""data: sources become clean, split rows.   sources -> DATA -> features"""

import dagster as dg

from assets.show import asset, produce
from llmspec.card import Place
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "Clean rows, split so that no question is in two parts.")
    def data(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return produce(context, stage, place)

    return data
