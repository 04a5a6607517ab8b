"""features: rows become token ids.   data -> FEATURES -> model"""

import dagster as dg

from assets.show import asset, produce
from llmspec.card import Place
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "Token ids with a loss mask, and the contract that serving keeps.")
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return produce(context, stage, place)

    return features
