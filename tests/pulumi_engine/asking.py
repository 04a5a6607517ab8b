"""S3 and KMS asked over plain HTTP: moto looks at no signature, and boto3 would take a third of a second in each process."""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any
from xml.etree import ElementTree

SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class MissingBucketError(Exception):
    """There is no such bucket."""


def asked(service: str, region: str, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    scope = f"AWS4-HMAC-SHA256 Credential=testing/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    url = os.environ["AWS_ENDPOINT_URL"].rstrip("/") + path
    kind = {"Content-Type": "application/octet-stream"}  # without one urllib says that it is a form
    request = urllib.request.Request(url, body, {"Authorization": scope, **kind, **headers}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


class Bucket:
    """Whole objects, and the names of those that begin alike."""

    def __init__(self, name: str, region: str) -> None:
        self.name, self.region = name, region

    def get(self, key: str) -> bytes | None:
        try:
            return self._ask("GET", key)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            if b"NoSuchBucket" in error.read():
                raise MissingBucketError(self.name) from error
            return None

    def put(self, key: str, content: bytes) -> None:
        self._ask("PUT", key, content)

    def delete(self, key: str) -> None:
        self._ask("DELETE", key)

    def keys(self, prefix: str) -> list[str]:
        found = self._ask("GET", "", None, f"?list-type=2&prefix={urllib.parse.quote(prefix, safe='')}")
        return [str(key.text) for key in ElementTree.fromstring(found).iter(f"{SPACE}Key")]

    def _ask(self, method: str, key: str, body: bytes | None = None, query: str = "") -> bytes:
        return asked("s3", self.region, method, f"/{self.name}/{urllib.parse.quote(key)}{query}", body)


def kms(region: str, verb: str, **what: str) -> Any:
    """`Encrypt` or `Decrypt`; bytes go and come in base64."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{verb}"}
    return json.loads(asked("kms", region, "POST", "/", json.dumps(what).encode(), **headers))


def encrypted(region: str, key: str, plain: bytes) -> str:
    return str(kms(region, "Encrypt", KeyId=key, Plaintext=base64.b64encode(plain).decode())["CiphertextBlob"])


def decrypted(region: str, key: str, wrapped: str) -> bytes:
    return base64.b64decode(kms(region, "Decrypt", KeyId=key, CiphertextBlob=wrapped)["Plaintext"])
