"""A cluster's own API, over HTTPS with its own authority and a token that IAM vouches for: no kubectl, no file of credentials."""

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from llmspec.aws import Aws, told
from llmspec.errors import PlaceError

OWNER = "llmspec"
"""Whose fields are ours when we apply: what others set beside them, such as a scaler's count, stays."""
TOKEN_SECONDS = 60
Manifest = Mapping[str, Any]


class Cluster:
    """One EKS cluster, as whoever holds AWS credentials that it knows."""

    def __init__(self, aws: Aws, name: str):
        self._aws, self.name = aws, name

    def apply(self, manifest: Manifest) -> dict[str, Any]:
        """Server-side: created or changed to this. What was ours and is not said any more goes."""
        path = f"{self._path(manifest)}?fieldManager={OWNER}&force=true"
        found = self._ask("PATCH", path, manifest, "application/apply-patch+yaml")
        assert found is not None
        return found

    def get(self, manifest: Manifest) -> dict[str, Any] | None:
        return self._ask("GET", self._path(manifest))

    def delete(self, manifest: Manifest) -> bool:
        """False when it was not there. Whatever it made in AWS goes before it is gone."""
        policy = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        return self._ask("DELETE", self._path(manifest), policy) is not None

    def all(self, version: str, kind: str, namespace: str, labels: str = "") -> Iterator[dict[str, Any]]:
        """Those of a kind in a namespace; `labels` as kubectl writes them: `side=primary`."""
        path = self._path({"apiVersion": version, "kind": kind, "metadata": {"name": "", "namespace": namespace}}).rstrip("/")
        found = self._ask("GET", f"{path}?labelSelector={labels.replace('=', '%3D').replace(',', '%2C')}") or {}
        for item in found.get("items", []):
            yield {"apiVersion": version, "kind": kind, **item}

    def _path(self, manifest: Manifest) -> str:
        """`/apis/apps/v1/namespaces/bot-prod/deployments/primary`: the cluster itself says what a kind is called there."""
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._kinds:
            said = self._ask("GET", base)
            self._kinds[version] = {each["kind"]: each for each in (said or {}).get("resources", []) if "/" not in each["name"]}
        found = self._kinds[version].get(kind)
        if found is None:
            raise PlaceError(
                f"cluster {self.name} knows no {kind} of {version}\n  it needs EKS Auto Mode; a new cluster may need a minute"
            )
        within = f"/namespaces/{metadata['namespace']}" if found["namespaced"] else ""
        return f"{base}{within}/{found['name']}/{metadata['name']}"

    @cached_property
    def _kinds(self) -> dict[str, dict[str, Any]]:
        return {}

    def _ask(self, method: str, path: str, body: Manifest | None = None, kind: str = "application/json") -> dict[str, Any] | None:
        """None for 404. PlaceError with the cluster's own words otherwise."""
        import urllib3

        headers = {"authorization": f"Bearer {self._token()}", "content-type": kind, "accept": "application/json"}
        try:
            content = None if body is None else json.dumps(body).encode()
            said = self._pool.request(method, self._told["endpoint"] + path, body=content, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise PlaceError(self._unreachable(error)) from error
        if said.status == 404:
            return None
        if said.status in (401, 403):
            cure = "whoever applies needs an access entry of the cluster; whoever made it has one"
            raise PlaceError(f"cluster {self.name} refuses {method} {path} ({said.status}): {_message(said.data)}\n  {cure}")
        if said.status >= 400:
            raise PlaceError(f"cluster {self.name}: {method} {path}: {_message(said.data)} ({said.status})")
        found: dict[str, Any] = json.loads(said.data)
        return found

    def _unreachable(self, error: Exception) -> str:
        inside = "" if self._told.get("resourcesVpcConfig", {}).get("endpointPublicAccess") else ": it is open to its network only"
        cure = "apply from within the network: over a VPN, or by a runner that stands in it" if inside else "check the network"
        return f"the API of cluster {self.name} cannot be reached from here{inside}\n  {cure}\n  ({error})"

    @cached_property
    def _told(self) -> dict[str, Any]:
        found: dict[str, Any] = self._aws.ask("eks", "describe_cluster", name=self.name)["cluster"]
        return found

    @cached_property
    def _pool(self) -> Any:
        """It trusts the cluster's own authority and no other."""
        import ssl

        import urllib3

        authority = base64.b64decode(self._told["certificateAuthority"]["data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        # From 3.13 on Python refuses authorities without a key identifier, and EKS's has none. It is the one that EKS named.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return urllib3.PoolManager(ssl_context=context, timeout=urllib3.Timeout(connect=10, read=60), retries=False)

    def _token(self) -> str:
        """A signed question to STS of who we are; the cluster asks it and so knows. It is good for a minute, and made anew."""
        with told("sts", self._aws.region):
            client = self._aws.client("sts")
            where = f"{client.meta.endpoint_url.rstrip('/')}/?Action=GetCallerIdentity&Version=2011-06-15"
            request = {"method": "GET", "url": where, "body": {}, "headers": {"x-k8s-aws-id": self.name}, "context": {}}
            signed: str = client._request_signer.generate_presigned_url(
                request, operation_name="", expires_in=TOKEN_SECONDS, region_name=self._aws.region
            )
        return "k8s-aws-v1." + base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:300].decode(errors="replace") or "no reason"
