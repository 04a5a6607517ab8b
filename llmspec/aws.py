"""AWS is asked here: one client for each service and region. What it says no with becomes fault and cure, and keeps its code."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from llmspec.errors import PlaceError

READ_SECONDS = 70
"""SageMaker gives a container a minute to answer."""
MOST_SAID = 500
"""Letters of what AWS says: in front of it there may be something that answers with a page."""
_ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")
_making = Lock()
_ABSENT = ("NotFound", "NoSuchEntity", "DoesNotExist")
_SAID_ABSENT = ("could not find", "not found", "does not exist")
_DENIED = ("AccessDenied", "Unauthorized", "403")
_BUSY = ("Throttl", "TooManyRequests", "RequestLimitExceeded")
_UNKNOWN = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
)
_REACH = "check the network, the region and AWS_ENDPOINT_URL, and try again: what runs there is found again"
SIGN_IN = "sign in (`aws sso login`, `aws configure`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class RefusedError(PlaceError):
    """AWS said no. What a caller may do about it hangs on the code."""

    def __init__(self, message: str, code: str, said: str):
        self.code, self.said = code, said
        super().__init__(message)

    @property
    def gone(self) -> bool:
        """What was asked for is not there. SageMaker says so as a fault of the question."""
        named = any(word in self.code for word in _ABSENT)
        return named or (self.code.startswith("Validation") and any(text in self.said.lower() for text in _SAID_ABSENT))

    @property
    def denied(self) -> bool:
        """Whoever asks may not, now or later."""
        return any(word in self.code for word in _DENIED)

    @property
    def taken(self) -> bool:
        """Somebody made one of that name before."""
        return self.code.startswith("ResourceInUse")


class Aws:
    """AWS in one region, with the environment's credentials."""

    def __init__(self, region: str):
        self.region = region

    def ask(self, service: str, verb: str, **what: Any) -> dict[str, Any]:
        """One call, as botocore names it. RefusedError when AWS says no, PlaceError when it cannot be asked."""
        with told(f"{service}:{_camel(verb)}", self.region):
            found: dict[str, Any] = getattr(self.client(service), verb)(**what)
            return found

    def look(self, service: str, verb: str, **what: Any) -> dict[str, Any] | None:
        """The same, and None when what it names is not there."""
        try:
            return self.ask(service, verb, **what)
        except RefusedError as error:
            if error.gone:
                return None
            raise

    def pages(self, service: str, verb: str, key: str, **what: Any) -> Iterator[Any]:
        """What a list holds, page after page."""
        with told(f"{service}:{_camel(verb)}", self.region):
            for page in self.client(service).get_paginator(verb).paginate(**what):
                yield from page.get(key, [])

    def faults(self, service: str, verb: str, what: dict[str, Any]) -> list[str]:
        """What AWS's own description of a call says against it, all at once, before anything is made."""
        from llmspec.aws_limits import faults

        model = self.client(service).meta.service_model.operation_model(_camel(verb))
        return list(faults(model.input_shape, what))

    def client(self, service: str) -> Any:
        with told(service, self.region), _making:  # boto3 makes its first session unguarded
            return _client(service, self.region, *map(os.environ.get, _ENVIRONMENT))

    def console(self, path: str) -> str:
        """An address of the console, for a person to open."""
        return f"https://{self.region}.console.aws.amazon.com/{path}"

    def logs(self, group: str) -> str:
        """Where the lines of a log group are read; the console wants its slashes escaped twice."""
        name = group.replace("/", "$252F")
        return self.console(f"cloudwatch/home?region={self.region}#logsV2:log-groups/log-group/{name}")


@cache
def _client(service: str, region: str, *environment: str | None) -> Any:
    """A tenth of a second each; another when the environment says something else."""
    from botocore.config import Config

    how = Config(
        retries={"mode": "standard", "total_max_attempts": 6},
        connect_timeout=10,
        read_timeout=READ_SECONDS,
        max_pool_connections=64,
    )
    return _session(*environment).client(service, region_name=region, config=how)


@cache
def _session(*environment: str | None) -> Any:  # noqa: ARG001 - part of the cache's key
    """One for all services: each reads the list of AWS's regions again."""
    import boto3

    return boto3.session.Session()


@contextmanager
def told(what: str, region: str) -> Iterator[None]:
    """Failures of botocore's, in our words."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise PlaceError("AWS cannot be asked: boto3 is not installed\n  pip install 'llmspec[aws]'") from error
    try:
        yield
    except ClientError as error:
        raise _answered(what, region, error.response) from error
    except BotoCoreError as error:
        raise _failed(what, region, error) from error


def _camel(verb: str) -> str:
    return "".join(word.capitalize() for word in verb.split("_"))


def _answered(what: str, region: str, response: Any) -> RefusedError:
    """AWS said no."""
    code, said = str(response["Error"].get("Code", "")), str(response["Error"].get("Message", ""))[:MOST_SAID]
    return RefusedError(_words(what, region, code, said), code, said)


def _words(what: str, region: str, code: str, said: str) -> str:
    if code in _UNKNOWN:
        return f"{what}: AWS does not accept these credentials ({code})\n  {SIGN_IN}"
    if any(word in code for word in _DENIED):
        return f"{what} in {region}: access denied ({said or code})\n  whoever applies needs this permission"
    if code.startswith("ResourceLimitExceeded"):
        cure = "ask for more under Service Quotas, or choose another instance"
        return f"{what} in {region}: the account's quota is used up ({said})\n  {cure}"
    if any(word in code for word in _BUSY):
        return f"{what} in {region}: AWS has no room for more requests now ({code})\n  wait a minute and try again"
    return f"{what} in {region}: {said or code} ({code})"


def _failed(what: str, region: str, error: Exception) -> PlaceError:
    """No answer came, or no question could be put."""
    kind = type(error).__name__
    if without_credentials(error):
        return PlaceError(f"{what}: no credentials ({error})\n  {SIGN_IN}")
    if "Param" in kind or "Validation" in kind:
        return PlaceError(f"{what}: {error}")
    return PlaceError(f"{what} in {region}: AWS cannot be reached: {error}\n  {_REACH}")


def without_credentials(error: Exception) -> bool:
    """Whether botocore found nobody to be."""
    return any(word in type(error).__name__ for word in ("Credential", "Token", "Profile", "SSO", "Login"))
