"""Amazon Bedrock: whom to ask, and what its refusals mean. The credentials are boto3's own affair; nothing of them is kept here."""

import logging
import re
from typing import Any

import boto3
from botocore.config import Config
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from urllib3.exceptions import HTTPError

from backends.serving.hosted.contract import HostedModel
from llmspec.errors import PlaceError

log = logging.getLogger(__name__)

FAULTS = (ClientError, BotoCoreError, HTTPError, ParserError, OSError)
"""What may come of asking. botocore passes on a stream's own errors as they are."""
CONNECT_SECONDS = 5.0
INVOKE = "bedrock:InvokeModelWithResponseStream"
BUSY = {"ThrottlingException": 5, "ServiceUnavailableException": 5, "ModelNotReadyException": 10, "TooManyRequestsException": 5}
"""Passing troubles, and after how many seconds to come back."""
_STRANGERS = ("UnrecognizedClient", "InvalidSignature", "ExpiredToken", "InvalidClientTokenId", "IncompleteSignature")
_LONG = re.compile(
    r"too long|too many (input )?tokens|maximum (context|input|number of tokens)|exceeds? the (model's )?max", re.IGNORECASE
)
_ARN = re.compile(r"arn:aws[\w:/.+=,@-]*")


class BedrockError(PlaceError):
    """It was asked, and did not answer."""

    def __init__(self, status: int, message: str, code: str = "", retry_after: int | None = None):
        """status, code: as our own clients are told."""
        self.status, self.message, self.code, self.retry_after = status, message, code, retry_after
        super().__init__(message)

    @property
    def passing(self) -> bool:
        """Whether the same question may be answered a little later."""
        return self.retry_after is not None


def asking(region: str, *, at_once: int, silence: float, patience: int) -> Any:
    """A client for questions. `silence`: seconds without a word after which it is given up; `patience`: how often it is tried."""
    settings = Config(
        region_name=region,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=silence,
        max_pool_connections=at_once,
        retries={"mode": "adaptive" if patience > 1 else "standard", "total_max_attempts": patience},
    )
    return boto3.Session().client("bedrock-runtime", config=settings)


def looking(region: str) -> Any:
    """A client that says what models there are."""
    settings = Config(region_name=region, connect_timeout=CONNECT_SECONDS, read_timeout=20.0, retries={"mode": "standard"})
    return boto3.Session().client("bedrock", config=settings)


def meaning(error: Exception, model: HostedModel, action: str = INVOKE) -> BedrockError:
    """What a refusal means for whoever asked. AWS's own words name accounts and roles: they are for the log."""
    log.warning("Bedrock, %s: %s: %s", model.id, type(error).__name__, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return BedrockError(502, "there are no AWS credentials here, so the model cannot be asked", "no_credentials")
    if not isinstance(error, ClientError):
        return BedrockError(
            504, f"the model said nothing: Bedrock in {model.region} could not be reached, or fell silent", "model_silent"
        )
    code, said = str(error.response["Error"].get("Code", "")), str(error.response["Error"].get("Message", ""))
    code = code[:1].upper() + code[1:]  # in a stream they begin with a small letter
    if code in BUSY:
        status = 429 if code in ("ThrottlingException", "TooManyRequestsException") else 503
        return BedrockError(status, "Bedrock has no room for this now", "model_busy", _retry_after(error, BUSY[code]))
    if code.startswith("AccessDenied"):
        cure = f"whoever asks needs {action} on {model.id}, and the account access to that model in {model.region}"
        return BedrockError(502, f"the model may not be asked: {cure}", "model_access_denied")
    if code.startswith(_STRANGERS):
        return BedrockError(502, f"AWS does not know these credentials ({code}): renew them", "credentials_refused")
    if code.startswith("ResourceNotFound"):
        return BedrockError(502, f"Bedrock has no model {model.id} in {model.region}", "model_not_found")
    if code.startswith("Validation"):
        return BedrockError(
            400, f"the model cannot take this: {_ARN.sub('…', said)}", "context_length_exceeded" if _LONG.search(said) else ""
        )
    if code.startswith("ModelTimeout"):
        return BedrockError(504, "the model took too long, and Bedrock ended it", "model_timeout")
    return BedrockError(502, f"the model failed at Bedrock ({code})", "model_failed")


def _retry_after(error: ClientError, otherwise: int) -> int:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    said = str(headers.get("retry-after", ""))
    return int(said) if said.isdigit() else otherwise
