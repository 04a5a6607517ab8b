"""AWS is asked here, for places: one client for each service and region, and what it says no with becomes fault and cure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from llmspec.errors import PlaceError

READ_SECONDS = 70
"""SageMaker gives a container a minute to answer."""
_ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")
_making = Lock()
_ABSENT = ("NotFound", "NoSuchEntity", "DoesNotExist")
UNKNOWN = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
)
SIGN_IN = "sign in (`aws sso login`, `aws configure`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class AbsentError(PlaceError):
    """AWS knows nothing of this name."""


class Aws:
    """AWS in one region, with the environment's credentials."""

    def __init__(self, region: str):
        self.region = region

    def ask(self, service: str, verb: str, **what: Any) -> dict[str, Any]:
        """One call, as botocore names it. PlaceError in our words when it fails; AbsentError when what it names is not there."""
        with told(f"{service}:{verb}", self.region):
            found: dict[str, Any] = getattr(self.client(service), verb)(**what)
            return found

    def look(self, service: str, verb: str, **what: Any) -> dict[str, Any] | None:
        """The same, and None when what it names is not there."""
        try:
            return self.ask(service, verb, **what)
        except AbsentError:
            return None

    def pages(self, service: str, verb: str, key: str, **what: Any) -> Iterator[Any]:
        """What a list holds, page after page."""
        with told(f"{service}:{verb}", self.region):
            for page in self.client(service).get_paginator(verb).paginate(**what):
                yield from page.get(key, [])

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


def _answered(what: str, region: str, response: Any) -> PlaceError:
    """AWS said no."""
    code, said = str(response["Error"].get("Code", "")), str(response["Error"].get("Message", ""))
    if any(word in code for word in _ABSENT) or (code.startswith("Validation") and "could not find" in said.lower()):
        return AbsentError(f"{what} in {region}: {said or code}")
    if code in UNKNOWN:
        return PlaceError(f"{what}: AWS does not accept these credentials ({code})\n  {SIGN_IN}")
    if "AccessDenied" in code or code in ("UnauthorizedOperation", "403"):
        return PlaceError(f"{what} in {region}: access denied ({said or code})\n  whoever applies needs this permission")
    if "Throttl" in code or code in ("TooManyRequestsException", "RequestLimitExceeded"):
        return PlaceError(f"{what} in {region}: AWS has no room for more requests now ({code})\n  wait a minute and try again")
    return PlaceError(f"{what} in {region}: {said or code} ({code})")


def _failed(what: str, region: str, error: Exception) -> PlaceError:
    """No answer came, or no question could be put."""
    kind = type(error).__name__
    if without_credentials(error):
        return PlaceError(f"{what}: no credentials ({error})\n  {SIGN_IN}")
    if "Param" in kind or "Validation" in kind:
        return PlaceError(f"{what}: {error}")
    return PlaceError(f"{what} in {region}: AWS cannot be reached: {error}\n  check the network, the region and AWS_ENDPOINT_URL")


def without_credentials(error: Exception) -> bool:
    """Whether botocore found nobody to be."""
    return any(word in type(error).__name__ for word in ("Credential", "Token", "Profile", "SSO", "Login"))
