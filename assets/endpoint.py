"""endpoint: what passed the gate is made live.   onnx, evaluation -> ENDPOINT -> monitors"""

import dagster as dg

from assets.show import asset, told
from llmspec.card import Place
from llmspec.deploy import deploy
from llmspec.stage import Stage


def build(stage: Stage, place: Place) -> dg.AssetsDefinition:
    @asset(stage, "The live endpoint. It judges the gates itself before it touches anything.")
    def endpoint() -> dg.MaterializeResult:
        with told(stage.name):
            done = deploy(stage.product.fresh(), place)
        release = done.release
        passed = "\n".join(f"- {verdict['reason']}" for verdict in release.verdict) or "no gates"
        return dg.MaterializeResult(
            metadata={
                "url": dg.MetadataValue.url(done.live.url),
                "release": release.number,
                "passed": dg.MetadataValue.md(passed),
                "artifact": release.artifact_key,
                "changed": done.changed,
                **release.scores,
            },
            data_version=dg.DataVersion(release.content),
        )

    return endpoint
