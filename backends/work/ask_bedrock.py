"""model of a hosted product: which model that is, as Bedrock says itself.   features -> MODEL -> onnx"""

import shutil
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from backends.serving.hosted.bedrock import FAULTS, BedrockError, looking, meaning
from backends.serving.hosted.contract import HostedModel
from backends.work.report import Report
from llmspec.errors import BlockedError
from llmspec.spec.model import BedrockBase

Found = tuple[HostedModel, dict[str, Any]]
"""The model, and what else was said of it: for people, as it may change from day to day."""


def ask(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:  # noqa: ARG001
    """A model that cannot be asked as the spec says stops here, before a question is paid for."""
    base, region = BedrockBase.model_validate(options["model"]["base"]), options["region"]
    shutil.rmtree(output)
    (output / "report").mkdir(parents=True)
    client = looking(region)
    found, said = (
        imported(client, base, region)
        if base.is_imported
        else profile(client, base, region)
        if base.is_profile
        else model(client, base, region)
    )
    found.save(output)
    lines = [f"| {name} | {value} |" for name, value in said.items() if value not in ("", None)]
    (output / "report" / "model.md").write_text("\n".join(["| | |", "|---|---|", *lines]) + "\n", encoding="utf-8")
    report.summary = f"{found.name} of {found.provider} in {region}" + (
        f" · {said['state']}" if said.get("state") == "LEGACY" else ""
    )
    return {"model": found.id, "arn": found.arn}


def model(client: Any, base: BedrockBase, region: str) -> Found:
    """One model, in this region."""
    said = _heard(base, region, "bedrock:GetFoundationModel", client.get_foundation_model, modelIdentifier=base.bedrock)[
        "modelDetails"
    ]
    if "TEXT" not in said.get("outputModalities", ["TEXT"]):
        raise BlockedError(f"model.base.bedrock: {base.bedrock} writes no text: choose another model")
    if said.get("responseStreamingSupported") is False:
        raise BlockedError(
            f"model.base.bedrock: {base.bedrock} does not stream its answers, and the endpoint does: choose another model"
        )
    if said.get("inferenceTypesSupported") and "ON_DEMAND" not in said["inferenceTypesSupported"]:
        first = region.partition("-")[0]
        cure = f"name one: `bedrock: {'apac' if first == 'ap' else first}.{said['modelId']}`"
        raise BlockedError(f"model.base.bedrock: {base.bedrock} is asked through an inference profile only: {cure}")
    state = said.get("modelLifecycle", {}).get("status", "")
    found = HostedModel(base.bedrock, said["modelArn"], region, said.get("modelName", base.bedrock), said.get("providerName", ""))
    return found, {"model": said["modelId"], "arn": said["modelArn"], "state": state}


def profile(client: Any, base: BedrockBase, region: str) -> Found:
    """An inference profile, and the models that it passes questions on to."""
    said = _heard(
        base, region, "bedrock:GetInferenceProfile", client.get_inference_profile, inferenceProfileIdentifier=base.bedrock
    )
    if said.get("status", "ACTIVE") != "ACTIVE":
        raise BlockedError(f"model.base.bedrock: the profile {base.bedrock} is {said['status']}: choose another one")
    reaches = sorted(each["modelArn"] for each in said["models"])
    provider = reaches[0].rpartition("/")[2].partition(".")[0] if reaches else ""
    found = HostedModel(base.bedrock, said["inferenceProfileArn"], region, said["inferenceProfileName"], provider, reaches)
    return found, {"profile": said["inferenceProfileId"], "arn": said["inferenceProfileArn"], "reaches": ", ".join(reaches)}


def imported(client: Any, base: BedrockBase, region: str) -> Found:
    """A model of one's own that Bedrock serves: what `llmspec export --form hf` is for."""
    said = _heard(base, region, "bedrock:GetImportedModel", client.get_imported_model, modelIdentifier=base.bedrock)
    if said.get("instructSupported") is False:
        raise BlockedError(f"model.base.bedrock: {base.bedrock} takes no conversations: import it with a chat template")
    found = HostedModel(base.bedrock, said["modelArn"], region, said["modelName"], "this account")
    return found, {"model": said["modelName"], "arn": said["modelArn"], "architecture": said.get("modelArchitecture", "")}


def _heard(base: BedrockBase, region: str, action: str, call: Any, **named: str) -> dict[str, Any]:
    try:
        return dict(call(**named))
    except FAULTS as error:
        asked = HostedModel(base.bedrock, "", region, "", "")
        if isinstance(error, ClientError) and error.response["Error"].get("Code") in (
            "ResourceNotFoundException",
            "ValidationException",
        ):
            raise BlockedError(
                f"model.base.bedrock: Bedrock has no {base.bedrock} in {region}: see its list of models, or name another region"
            ) from error
        trouble: BedrockError = meaning(error, asked, action)
        raise trouble from error
