"""The Kubernetes manifests, as plain mappings: machines, Deployment, HPA, Service, Ingress. Nothing here needs a cluster."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from infra_pulumi.names import fitted
from infra_pulumi.serving.manifests_ingress import ingress
from infra_pulumi.serving.wanted import CONCURRENCY, PORT, Release, Serving

ACCOUNT = "server"
LABEL, TAINT = "llmspec/serves", "nvidia.com/gpu"
PROCESSOR_PERCENT = 60
"""Above it copies are added, where requests are not counted."""
STOP_SECONDS, LEAVE_SECONDS = 120, 15
"""To finish what is being answered, and before that, for the load balancer to stop asking."""
USER = 10_001
DISK_GIB, BESIDE_GIB = 80, 40
"""What AWS gives a machine by itself; and what image and system take of a disk, beside what a copy is given."""
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Of one copy, and the machine it runs on."""

    instance: str
    gpus: int
    cpu: str
    memory: str
    disk: str
    requests_metric: str = ""


def namespace(wanted: Serving) -> str:
    return fitted(wanted.owner.prefix, 63)


def manifests(
    wanted: Serving,
    sizes: Sizes,
    domain: str,
    public: bool,
    open_to: Sequence[str],
    subnets: Sequence[str],
    copies: Sequence[str],
    groups: Sequence[str],
    certificate: str,
    nodes: str,
) -> list[Manifest]:
    """In the order in which a cluster wants them."""
    scaled = wanted.scale.max > wanted.scale.min
    found = [_plain("v1", "Namespace", namespace(wanted), wanted, scoped=False)]
    found += [_plain("v1", "ServiceAccount", ACCOUNT, wanted), *_machines(wanted, sizes, copies, groups, nodes)]
    for side, variant in wanted.sides().items():
        found += [_deployment(wanted, sizes, side, variant.release, scaled), _service(wanted, side)]
        found += [_scaler(wanted, sizes, side)] if scaled else []
        found += [_keeper(wanted, side)] if wanted.scale.min > 1 else []
    return [*found, *ingress(wanted, namespace(wanted), domain, public, open_to, subnets, certificate)]


def written(found: Sequence[Mapping[str, Any]]) -> str:
    """One YAML text, as `kubectl apply -f -` takes it."""
    text: str = yaml.safe_dump_all([dict(each) for each in found], sort_keys=False)
    return text


def _plain(version: str, kind: str, name: str, wanted: Serving, scoped: bool = True, **more: Any) -> Manifest:
    labels = {key.replace("llmspec:", "llmspec/"): value for key, value in wanted.tags().items() if key.startswith("llmspec:")}
    where = {"namespace": namespace(wanted)} if scoped else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, "labels": labels}, **more}


def _machines(wanted: Serving, sizes: Sizes, subnets: Sequence[str], groups: Sequence[str], role: str) -> list[Manifest]:
    """Machines for our copies alone; they come with a copy that finds no room, and go when they are empty."""
    name = namespace(wanted)
    named = {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": name}
    needs = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [sizes.instance]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]
    spec: dict[str, Any] = {"nodeClassRef": named, "requirements": needs}
    if sizes.gpus:
        spec["taints"] = [{"key": TAINT, "value": "true", "effect": "NoSchedule"}]
    template = {"metadata": {"labels": {LABEL: wanted.owner.name}}, "spec": spec}
    calm = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "300s"}
    where = {
        "role": role.rsplit("/", 1)[-1],
        "subnetSelectorTerms": [{"id": subnet} for subnet in subnets],
        "securityGroupSelectorTerms": [
            {"tags": {"aws:eks:cluster-name": fitted(wanted.owner.prefix, 100)}},
            *({"id": each} for each in groups),
        ],
        "tags": dict(wanted.owner.tagged("endpoint")),  # without the release: other tags are other machines
        "ephemeralStorage": {"size": f"{max(DISK_GIB, _gibibytes(sizes.disk) + BESIDE_GIB)}Gi"},
    }
    return [
        _plain("eks.amazonaws.com/v1", "NodeClass", name, wanted, scoped=False, spec=where),
        _plain("karpenter.sh/v1", "NodePool", name, wanted, scoped=False, spec={"template": template, "disruption": calm}),
    ]


def _gibibytes(size: str) -> int:
    """`204800Mi` -> 200."""
    return math.ceil(int(size[:-2]) / (1024 if size.endswith("Mi") else 1))


def _deployment(wanted: Serving, sizes: Sizes, side: str, release: Release, scaled: bool) -> Manifest:
    """A copy goes only when its follower answers. With a scaler the number is the scaler's."""
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"side": side}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": 1200,
        "template": {
            "metadata": {"labels": {"side": side, "llmspec/release": str(release.number)}},
            "spec": _pod(wanted, sizes, side, release),
        },
    }
    return _plain("apps/v1", "Deployment", side, wanted, spec=spec if scaled else {"replicas": wanted.scale.min, **spec})


def _pod(wanted: Serving, sizes: Sizes, side: str, release: Release) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "minDomains": wanted.scale.zones,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"side": side}},
    }
    tolerations = [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}] if sizes.gpus else []
    return {
        "serviceAccountName": ACCOUNT,
        "nodeSelector": {LABEL: wanted.owner.name},
        "tolerations": tolerations,
        "topologySpreadConstraints": [spread],
        "terminationGracePeriodSeconds": STOP_SECONDS + LEAVE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(sizes, release, wanted.ground.cidr)],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": sizes.disk}}],
    }


def _container(sizes: Sizes, release: Release, cidr: str) -> dict[str, Any]:
    """The root is read-only; what is fetched or written lies in the scratch volume, which has a bound of its own."""
    needs = {"cpu": sizes.cpu, "memory": sizes.memory, **({TAINT: sizes.gpus} if sizes.gpus else {})}
    believed = {"FORWARDED_ALLOW_IPS": cidr} if cidr else {}
    settings = release.fetched(LLMSPEC_STOP_SECONDS=str(STOP_SECONDS), HOME="/tmp", TMPDIR="/tmp", **believed)
    return {
        "name": ACCOUNT,
        "image": release.image,
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": name, "value": value} for name, value in sorted(settings.items())],
        "resources": {
            "requests": {**needs, "ephemeral-storage": sizes.disk},
            "limits": {key: value for key, value in needs.items() if key != "cpu"},
        },
        "startupProbe": _probe("/ping", periodSeconds=5, failureThreshold=120),
        "readinessProbe": _probe("/health", periodSeconds=10, failureThreshold=2),
        "livenessProbe": _probe("/ping", periodSeconds=15, failureThreshold=4, timeoutSeconds=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }


def _probe(path: str, **times: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, **times}


def _service(wanted: Serving, side: str) -> Manifest:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return _plain("v1", "Service", side, wanted, spec={"type": "ClusterIP", "selector": {"side": side}, "ports": ports})


def _scaler(wanted: Serving, sizes: Sizes, side: str) -> Manifest:
    """By requests at work where the cluster counts them, else by the processor. Down slowly: machines take minutes to come."""
    scale = wanted.scale
    metric: dict[str, Any] = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": PROCESSOR_PERCENT}},
    }
    if sizes.requests_metric:
        target = {"type": "AverageValue", "averageValue": str(scale.concurrency_per_copy or CONCURRENCY)}
        metric = {"type": "Pods", "pods": {"metric": {"name": sizes.requests_metric}, "target": target}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": side},
        "minReplicas": scale.min,
        "maxReplicas": scale.max,
        "metrics": [metric],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return _plain("autoscaling/v2", "HorizontalPodAutoscaler", side, wanted, spec=spec)


def _keeper(wanted: Serving, side: str) -> Manifest:
    """While machines are renewed, one copy at a time may be away."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"side": side}}}
    return _plain("policy/v1", "PodDisruptionBudget", side, wanted, spec=spec)
