"""onnx of a hosted product: there is nothing to export; model and contract become the artifact.   model -> ONNX -> evaluation"""

import shutil
from pathlib import Path
from typing import Any

from backends.serving.hosted.contract import MODEL, HostedContract, HostedModel
from backends.work.report import Report


def bind(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:  # noqa: ARG001
    """What is evaluated is what is served: one folder with both."""
    shutil.rmtree(output)
    output.mkdir(parents=True)
    shutil.copyfile(inputs["model"] / MODEL, output / MODEL)
    shutil.copyfile(inputs["features"] / HostedContract.file, output / HostedContract.file)
    model, contract = HostedModel.load(output), HostedContract.load(output)
    report.summary = f"nothing to export: {model.id} answers, under contract {contract.hash[:12]}"
    return {"contract": contract.hash[:12]}
