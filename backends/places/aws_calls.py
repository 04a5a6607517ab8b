"""AWS's services as jobs ask them: a refusal keeps its code, so that a job that is taken or gone is told from one that failed."""

from typing import Any

from backends.places.asking_aws import SIGN_IN, UNKNOWN, Aws, without_credentials
from llmspec.errors import PlaceError

_DENIED = ("AccessDenied", "Unauthorized")
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
    def denied(self) -> bool:
        """Whoever asks may not, now or later."""
        return self.code.startswith(_DENIED)

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
        return Aws(self.region).client(self.name)

    def _refused(self, verb: str, error: dict[str, str]) -> RefusedError:
        code, said = str(error.get("Code", "")), str(error.get("Message", ""))
        return RefusedError(f"{self.name} in {self.region}: {_answered(f'{self.name}:{_camel(verb)}', code, said)}", code, said)


def _camel(verb: str) -> str:
    return "".join(word.capitalize() for word in verb.split("_"))


def _answered(call: str, code: str, said: str) -> str:
    if code in UNKNOWN:
        return f"AWS does not accept these credentials ({code})\n  {SIGN_IN}"
    if code.startswith(_DENIED):
        return f"access denied ({said})\n  who applies needs {call}"
    if code.startswith("ResourceLimitExceeded"):
        return f"the account's quota is used up ({said})\n  ask for more under Service Quotas, or choose another instance"
    return f"{call}: {said or code} ({code})"


def _failed(error: Exception) -> str:
    """No answer came, or no question could be put."""
    if without_credentials(error):
        return f"no credentials ({error})\n  {SIGN_IN}"
    return f"cannot be reached: {error}\n  check the network and AWS_ENDPOINT_URL, then apply again: a job that runs is found again"
