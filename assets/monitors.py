"""monitors: the journal of what is live becomes numbers and alarms.   endpoint -> MONITORS"""

import dagster as dg

from assets.show import asset, check_names, declared, metadata, told
from llmspec.card import Place
from llmspec.make import watch
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    alarms = [str(alarm) for alarm in stage.product.spec.monitors.alarms]
    names = check_names(alarms)
    # An alarm is a check that blocks nothing: it rings, and a person decides.
    rings = declared(stage, alarms, blocking=False)

    @asset(stage, "Latency, throughput, tokens and errors, from the journal of what is live.", rings)
    def monitors(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with told(stage.name):
            made = watch(stage.product.fresh(), place, context)
        results = [
            dg.AssetCheckResult(check_name=names[alarm["alarm"]], passed=not alarm["ringing"], description=alarm["reason"])
            for alarm in made.artifact.manifest.metrics["alarms"]
        ]
        return dg.MaterializeResult(metadata=metadata(made.artifact), check_results=results)

    return monitors
