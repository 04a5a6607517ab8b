"""A bucket: the one module that speaks to S3. What AWS says no with becomes place, fault and cure.

Credentials, region and endpoint are the environment's (`AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL` …), never the spec's.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Lock
from typing import Any, TypeVar

from llmspec.aws import SIGN_IN, without_credentials
from llmspec.errors import GoneError, MovedError, NoStoreError, StoreError

ABREAST = 16
"""Requests in flight at once."""
_making = Lock()
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID")
_GONE = ("NoSuchKey", "404", "NotFound", "NoSuchUpload", "InvalidRange")
_MOVED = ("PreconditionFailed", "ConditionalRequestConflict", "412")
_UNKNOWN = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")


class Bucket:
    """One bucket. Safe to be used by several threads."""

    def __init__(self, name: str, coming: bool = False):
        self.name = name
        self.coming = coming
        """The foundation makes it: until it is there it holds nothing, and only who writes misses it."""
        self._seen: dict[tuple[str, str], Any] | None = None

    def ask(self, verb: str, **what: Any) -> dict[str, Any]:
        """One call, as botocore names it."""
        with self._told(str(what.get("Key", what.get("Prefix", "")))):
            found: dict[str, Any] = getattr(_client(*_environment()), verb)(Bucket=self.name, **what)
            return found

    def get(self, key: str, **what: Any) -> tuple[bytes, dict[str, Any]]:
        """An object's bytes and what S3 says of it."""
        said = self.ask("get_object", Key=key, **what)
        with self._told(key):
            return said["Body"].read(), said

    def look(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its version; None when there is none."""
        return self._once("look", key, self._look)

    def _look(self, key: str) -> tuple[bytes, str] | None:
        try:
            content, said = self.get(key)
        except GoneError:
            return None
        except NoStoreError:
            if self.coming:
                return None
            raise
        return content, said["ETag"]

    def stands(self, key: str) -> bool:
        """Whether the bucket is there, asked by an object that one may read and that need not exist."""
        try:
            self.get(key)
        except GoneError:
            return True
        except NoStoreError:
            return False
        return True

    def put(self, key: str, content: bytes, **conditions: str) -> str:
        """Write a small object; its version. S3 checks the bytes against their SHA-256 before it keeps them."""
        said = self.ask("put_object", Key=key, Body=content, ChecksumAlgorithm="SHA256", **conditions)
        self.forget()
        return str(said["ETag"])

    def remove(self, keys: Iterable[str]) -> None:
        """These objects, whether they are there or not."""
        self.abreast(lambda key: self.ask("delete_object", Key=key), keys)
        self.forget()

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key that begins so, with its size."""
        return self._once("sizes", prefix, self._sizes)

    def _sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            try:
                said = self.ask("list_objects_v2", Prefix=prefix, **more)
            except NoStoreError:
                if self.coming:
                    return {}
                raise
            found |= {item["Key"]: item["Size"] for item in said.get("Contents", [])}
            if not said["IsTruncated"]:
                return found
            more = {"ContinuationToken": said["NextContinuationToken"]}

    def abreast(self, do: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Several at once; the first that fails is raised, and what has not begun by then does not begin."""
        with ThreadPoolExecutor(ABREAST) as pool:
            waiting = [pool.submit(do, item) for item in items]
            try:
                return [one.result() for one in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Until the block ends, what was read is not asked for again: one moment of the bucket. A write of ours ends that."""
        outer, self._seen = self._seen, self._seen if self._seen is not None else {}
        try:
            yield
        finally:
            self._seen = outer

    def forget(self) -> None:
        if self._seen is not None:
            self._seen = {}

    def _once(self, what: str, key: str, ask: Callable[[str], _Result]) -> _Result:
        seen = self._seen
        if seen is not None and (what, key) in seen:
            known: _Result = seen[what, key]
            return known
        found = ask(key)
        if seen is not None:
            seen[what, key] = found
        return found

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Failures of botocore's, in our words."""
        where = f"s3://{self.name}/{key}" if key else f"s3://{self.name}"
        try:
            import boto3  # noqa: F401 - asked for here, so that its lack is told as what it is
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise StoreError(f"{where}: boto3 is not installed\n  pip install 'llmspec[aws]'") from error
        try:
            yield
        except ClientError as error:
            raise _answered(self.name, where, error.response, self.coming) from error
        except BotoCoreError as error:
            raise _failed(where, error) from error


def _answered(bucket: str, where: str, response: Any, coming: bool) -> StoreError:
    """AWS said no. A bucket that is coming is the foundation's to make: one that was made by hand would stand in its way."""
    code, said = str(response["Error"].get("Code", "")), str(response["Error"].get("Message", ""))
    if code == "NoSuchBucket":
        cure = "`llmspec apply` makes it" if coming else f"make it (`aws s3 mb s3://{bucket}`)"
        return NoStoreError(f"s3://{bucket}: there is no such bucket\n  {cure}, or correct `store:`")
    if code in _GONE:
        return GoneError(f"{where}: not there")
    if code in _MOVED:
        return MovedError(f"{where} was moved by somebody else meanwhile\n  apply again")
    if code in _UNKNOWN:
        return StoreError(f"{where}: AWS does not accept these credentials ({code})\n  {SIGN_IN}")
    if code in _ELSEWHERE:
        region = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
        cure = f"export AWS_REGION={region}" if region else "set AWS_REGION to the bucket's own"
        return StoreError(f"{where}: the bucket is in another region\n  {cure}")
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled") or code.startswith("KMS"):
        needs = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, and kms:Decrypt and kms:GenerateDataKey of its key"
        return StoreError(f"{where}: access denied ({said or code})\n  who applies needs {needs}")
    return StoreError(f"{where}: {said or code} ({code})\n  apply again; what was made is kept")


def _failed(where: str, error: Exception) -> StoreError:
    """No answer came, or no question could be put."""
    kind = type(error).__name__
    if "Region" in kind:
        return StoreError(f"{where}: no region is named\n  export AWS_REGION=…")
    if without_credentials(error):
        return StoreError(f"{where}: no credentials ({error})\n  {SIGN_IN}")
    if "Param" in kind:
        return StoreError(f"{where}: {error}\n  correct `store:`")
    return StoreError(f"{where}: cannot be reached: {error}\n  check the network and AWS_ENDPOINT_URL, then apply again")


def age(said: dict[str, Any]) -> float:
    """How long ago the object was written, by S3's clock alone."""
    now = parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float(now.timestamp() - said["LastModified"].timestamp())


def _environment() -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in _ENVIRONMENT)


def _client(*environment: str | None) -> Any:
    """One for all buckets and threads; another when the environment says something else."""
    with _making:  # boto3 makes its first session unguarded
        return _made(*environment)


@cache
def _made(*environment: str | None) -> Any:
    """A tenth of a second each."""
    import boto3
    from botocore.config import Config

    redirected = environment[0] or environment[1]
    how = Config(
        retries={"mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=2 * ABREAST,
        s3={"addressing_style": "path" if redirected else "auto"},
        # Files are checked against their manifest, whole: S3 has no SHA-256 of a whole file that came in parts.
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", config=how)
