"""A cluster's API over real HTTPS: it keeps objects by their paths, and does what Kubernetes' controllers would do with them."""

import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "ServiceAccount": ("serviceaccounts", True),
        "Service": ("services", True),
        "Pod": ("pods", True),
    },
    "apps/v1": {"Deployment": ("deployments", True)},
    "autoscaling/v2": {"HorizontalPodAutoscaler": ("horizontalpodautoscalers", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "networking.k8s.io/v1": {"Ingress": ("ingresses", True), "IngressClass": ("ingressclasses", False)},
    "eks.amazonaws.com/v1": {"NodeClass": ("nodeclasses", False), "IngressClassParams": ("ingressclassparams", False)},
    "karpenter.sh/v1": {"NodePool": ("nodepools", False)},
}


@dataclass
class Kubernetes:
    """What is in it, and how its controllers fare."""

    url: str
    authority: str
    """Base64 of its certificate, as EKS says it."""
    host: str = ""
    """Of the load balancer that an Ingress gets."""
    starts: bool = True
    """Whether new pods become ready."""
    refuses: int = 0
    """Says this to everybody."""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    patched: list[str] = field(default_factory=list)

    def names(self, plural: str) -> list[str]:
        return sorted(path.rsplit("/", 1)[-1] for path in self.objects if f"/{plural}/" in path)

    def discover(self, version: str) -> dict[str, Any]:
        found = [{"name": name, "kind": kind, "namespaced": inside} for kind, (name, inside) in KINDS[version].items()]
        return {"kind": "APIResourceList", "resources": found}

    def patch(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        known = self.objects.get(path, {"metadata": {"generation": 0}})
        generation = known["metadata"]["generation"] + (known.get("spec") != wanted.get("spec"))
        kept = {"status": known["status"]} if "status" in known else {}
        made = self.objects[path] = {**wanted, **kept, "metadata": {**wanted["metadata"], "generation": generation}}
        self.patched.append(path)
        if made["kind"] == "Deployment" and generation != known["metadata"]["generation"]:
            self._roll_out(path, made)
        if made["kind"] == "Ingress":
            made["status"] = {"loadBalancer": {"ingress": [{"hostname": self.host}]}}
        return made

    def _roll_out(self, path: str, deployment: dict[str, Any]) -> None:
        where = path.split("/deployments/")[0].replace("/apis/apps/v1", "/api/v1") + "/pods"
        template, generation = deployment["spec"]["template"], deployment["metadata"]["generation"]
        name = f"{deployment['metadata']['name']}-{generation}"
        pod = {"kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        said = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        if self.starts:
            for other in [each for each in self.objects if each.startswith(f"{where}/{deployment['metadata']['name']}-")]:
                del self.objects[other]
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            pod["status"] = {"phase": "Running", "conditions": [ready]}
        else:
            waits = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container=server"}
            ended = {"reason": "OOMKilled"}
            pod["status"] = {"containerStatuses": [{"state": {"waiting": waits}, "lastState": {"terminated": ended}}]}
            late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}
            said |= {"replicas": 2, "conditions": [late]}
        self.objects[f"{where}/{name}"] = pod
        deployment["status"] = said

    def listed(self, path: str, selector: str) -> dict[str, Any]:
        wanted = dict(each.split("=") for each in selector.split(",") if each)
        found = [item for at, item in self.objects.items() if at.rsplit("/", 1)[0] == path]
        has = [item for item in found if wanted.items() <= item["metadata"].get("labels", {}).items()]
        return {"kind": "List", "items": has}

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.refuses or not _signed(headers.get("authorization", "")):
            return self.refuses or 401, {"kind": "Status", "message": "who are you?"}
        address = urlsplit(target)
        path, query = address.path, parse_qs(address.query)
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if method == "GET" and version in KINDS:
            return 200, self.discover(version)
        if method == "PATCH":
            assert headers["content-type"] == "application/apply-patch+yaml"
            assert query == {"fieldManager": ["llmspec"], "force": ["true"]}
            return 200, self.patch(path, json.loads(body))
        if method == "GET" and "labelSelector" in query:
            return 200, self.listed(path, unquote(query["labelSelector"][0]))
        if path not in self.objects:
            return 404, {"kind": "Status", "message": "not found"}
        return 200, self.objects.pop(path) if method == "DELETE" else self.objects[path]


def _signed(authorization: str) -> bool:
    """A question to STS, signed, and for this cluster: what EKS would ask STS with."""
    token = authorization.removeprefix("Bearer k8s-aws-v1.")
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode() if token != authorization else ""
    said = parse_qs(urlsplit(url).query)
    return said.get("Action") == ["GetCallerIdentity"] and said.get("X-Amz-SignedHeaders") == ["host;x-k8s-aws-id"]


@contextmanager
def kubernetes(folder: Path) -> Iterator[Kubernetes]:
    certificate, key = folder / "cluster.pem", folder / "cluster.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run([*new, "-subj", "/CN=cluster", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    found = Kubernetes("", base64.b64encode(certificate.read_bytes()).decode())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, said = found.answer(self.command, self.path, self.headers, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
