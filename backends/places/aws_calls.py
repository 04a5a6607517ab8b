"""AWS's services as places ask them: what they say no with becomes place, fault and cure, and boto3 is loaded only then."""

from functools import cache
from typing import Any

from llmspec.errors import PlaceError

_CREDENTIALS = "sign in (`aws sso login`, `aws configure`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_UNKNOWN = (
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
)
_GONE = ("could not find", "not found", "does not exist")


class RefusedError(PlaceError):
    """AWS said no."""

    def __init__(self, message: str, code: str, said: str):
        self.code, self.said = code, said
        super().__init__(message)

    @property
    def gone(self) -> bool:
        """What was asked for is not there. SageMaker says so as a fault of the question."""
        named = self.code.startswith("ResourceNotFound")
        return named or (self.code.startswith("Validation") and any(text in self.said.lower() for text in _GONE))

    @property
    def taken(self) -> bool:
        """Somebody made one of that name before."""
        return self.code.startswith("ResourceInUse")


class Service:
    """One service in one region."""

    def __init__(self, name: str, region: str):
        self.name, self.region = name, region

    def ask(self, verb: str, **what: Any) -> dict[str, Any]:
        """One call, as botocore names it."""
        client = self._client()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found: dict[str, Any] = getattr(client, verb)(**what)
        except ClientError as error:
            raise self._refused(verb, error.response["Error"]) from error
        except BotoCoreError as error:
            raise PlaceError(f"{self.name} in {self.region}: {_failed(error)}") from error
        return found

    def faults(self, verb: str, what: dict[str, Any]) -> list[str]:
        """What AWS's own description of the call says against it, all at once, before anything is made."""
        from backends.places.aws_limits import faults

        model = self._client().meta.service_model.operation_model(_camel(verb))
        return list(faults(model.input_shape, what))

    def _client(self) -> Any:
        try:
            return _made(self.name, self.region)
        except ImportError as error:
            raise PlaceError(f"{self.name}: boto3 is not installed\n  pip install 'llmspec[aws]'") from error

    def _refused(self, verb: str, error: dict[str, str]) -> RefusedError:
        code, said = str(error.get("Code", "")), str(error.get("Message", ""))
        return RefusedError(f"{self.name} in {self.region}: {_answered(f'{self.name}:{_camel(verb)}', code, said)}", code, said)


def _camel(verb: str) -> str:
    return "".join(word.capitalize() for word in verb.split("_"))


def _answered(call: str, code: str, said: str) -> str:
    if code in _UNKNOWN:
        return f"AWS does not accept these credentials ({code})\n  {_CREDENTIALS}"
    if code.startswith(("AccessDenied", "Unauthorized")):
        return f"access denied ({said})\n  who applies needs {call}"
    if code.startswith("ResourceLimitExceeded"):
        return f"the account's quota is used up ({said})\n  ask for more under Service Quotas, or choose another instance"
    return f"{call}: {said or code} ({code})"


def _failed(error: Exception) -> str:
    """No answer came, or no question could be put."""
    kind = type(error).__name__
    if any(word in kind for word in ("Credential", "Token", "Profile", "SSO", "Login")):
        return f"no credentials ({error})\n  {_CREDENTIALS}"
    return f"cannot be reached: {error}\n  check the network and AWS_ENDPOINT_URL, then apply again: a job that runs is found again"


@cache
def _made(name: str, region: str) -> Any:
    import boto3
    from botocore.config import Config

    how = Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=10, read_timeout=60)
    return boto3.client(name, region_name=region, config=how)
