"""A release at EKS: its manifests applied, its pods counted until only new ones are left, its name led to it, knocked at."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from backends.places.cloud import Endpoint, Outputs, Watch, address
from backends.places.endpoint_check import Door, UnreachableError, knock
from backends.places.kubernetes import Cluster, Manifest
from llmspec import container
from llmspec.errors import PlaceError
from llmspec.release import Live, Release

DEPLOYMENT, POD = ("apps/v1", "Deployment"), ("v1", "Pod")
OURS = (
    DEPLOYMENT,
    ("v1", "Service"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
)
"""Kinds of which there is one for each variant: those of a variant that ended are taken away."""
SHOWN = 3


class EksEndpoint(Endpoint):
    """`places: {endpoint: {eks: …}}`."""

    def settle(self, release: Release, outputs: Outputs) -> None:
        watch, cluster, wanted = self.watch(), self._cluster(outputs), list(_manifests(outputs))
        for manifest in wanted:
            cluster.apply(manifest)
        self._prune(cluster, outputs, wanted)
        for deployment in [each for each in wanted if each["kind"] == DEPLOYMENT[1]]:
            watch.for_(lambda deployment=deployment: self._rolled_out(cluster, deployment))  # type: ignore[misc]
        served = {each.number: each for each, _ in self._pods(cluster, outputs)}
        if release.number not in served or served[release.number].content != release.content:
            found = ", ".join(map(str, served)) or "none"
            raise PlaceError(f"what runs is not what was asked for: its pods hold release {found}, and not {release.number}")
        host = watch.for_(lambda: self._balancer(cluster, outputs))
        self._lead(outputs, host)
        place: Any = self.site.spec.place("endpoint")
        try:
            knock(Door(address(outputs)), served, watch, private=not place.public)
        except UnreachableError as error:
            cure = "" if outputs["names"]["zone"] else f"\n  lead {outputs['names']['domain']} to {host}, and apply again"
            raise PlaceError(f"{error}{cure}") from error

    def look(self, outputs: Outputs) -> Live | None:
        """What most of the pods that are ready hold: a Deployment says only what it should be."""
        if not self.aws.look("eks", "describe_cluster", name=outputs["names"]["cluster"]):
            return None
        found = self._pods(self._cluster(outputs), outputs)
        numbers = [release.number for release, _ in found]
        if not numbers:
            return None
        number = max(sorted(set(numbers), reverse=True), key=numbers.count)
        return Live(address(outputs), number, 0, min(since for release, since in found if release.number == number))

    def console(self, outputs: Outputs) -> str:
        return self.aws.console(f"eks/home?region={self.aws.region}#/clusters/{outputs['names']['cluster']}")

    def leave(self, outputs: Outputs) -> None:
        """The load balancer and the machines were made by the cluster: without it nobody would take them away."""
        names = outputs["names"]
        if not self.aws.look("eks", "describe_cluster", name=names["cluster"]):
            return
        watch, cluster = Watch(), self._cluster(outputs)
        self._lead(outputs, "")
        for manifest in [each for each in _manifests(outputs) if each["kind"] in ("Ingress", "NodePool")]:
            cluster.delete(manifest)
            watch.for_(lambda manifest=manifest: _gone(cluster, manifest))  # type: ignore[misc]

    def _cluster(self, outputs: Outputs) -> Cluster:
        return Cluster(self.aws, outputs["names"]["cluster"])

    def _prune(self, cluster: Cluster, outputs: Outputs, wanted: list[Manifest]) -> None:
        kept = {(each["kind"], each["metadata"]["name"]) for each in wanted}
        for version, kind in OURS:
            for found in cluster.all(version, kind, outputs["names"]["namespace"], f"llmspec/name={self.site.name}"):
                if (kind, found["metadata"]["name"]) not in kept:
                    cluster.delete(found)

    def _rolled_out(self, cluster: Cluster, wanted: Manifest) -> tuple[str | None, str]:
        """As Kubernetes counts: its controller has seen this version, and only pods of it are left, all of them available."""
        found = cluster.get(wanted) or {}
        name, said = wanted["metadata"]["name"], found.get("status", {})
        for condition in said.get("conditions", []):
            if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                why = "; ".join(self._reasons(cluster, wanted)) or condition.get("message", "it does not say why")
                raise PlaceError(f"{name} did not roll out, and its pods before stay: {why}")
        desired = found.get("spec", {}).get("replicas", 1)
        counts = [said.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
        state = f"Kubernetes says {counts[0]} new and {counts[1]} available of {desired} pods of {name}"
        current = said.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
        return (state if current and counts == [desired] * 3 else None), state

    def _reasons(self, cluster: Cluster, wanted: Manifest) -> list[str]:
        """Why its pods wait or ended, as each says itself."""
        metadata, found = wanted["metadata"], []
        for pod in cluster.all(*POD, metadata["namespace"], f"side={metadata['name']}"):
            said = pod.get("status", {})
            found += [
                each["message"] for each in said.get("conditions", []) if each.get("status") == "False" and each.get("message")
            ]
            for copy in said.get("containerStatuses", []):
                for state in (copy.get("state", {}), copy.get("lastState", {})):
                    for told in (state.get("waiting"), state.get("terminated")):
                        if told:
                            found.append(": ".join(filter(None, (told.get("reason"), told.get("message")))))
        return list(dict.fromkeys(found))[:SHOWN]

    def _pods(self, cluster: Cluster, outputs: Outputs) -> list[tuple[Release, float]]:
        """The release in each pod that is ready, and since when it is."""
        found = []
        for side in outputs["names"]["deployments"]:
            for pod in cluster.all(*POD, outputs["names"]["namespace"], f"side={side}"):
                conditions = {each["type"]: each for each in pod.get("status", {}).get("conditions", [])}
                ready = conditions.get("Ready", {})
                standing = ready.get("status") == "True" and "deletionTimestamp" not in pod["metadata"]
                if standing and (release := container.released(_environment(pod))):
                    found.append((release, datetime.fromisoformat(ready["lastTransitionTime"]).timestamp()))
        return found

    def _balancer(self, cluster: Cluster, outputs: Outputs) -> tuple[str | None, str]:
        """The host of the load balancer that the cluster makes for the Ingress."""
        ingress = next(each for each in _manifests(outputs) if each["kind"] == "Ingress")
        said = (cluster.get(ingress) or {}).get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        return said[0].get("hostname"), "the cluster makes a load balancer"

    def _lead(self, outputs: Outputs, host: str) -> None:
        """The spec's name leads to the load balancer; with no host it leads nowhere any more."""
        zone, domain = outputs["names"]["zone"], outputs["names"]["domain"]
        if not zone:
            return
        said = self.aws.ask(
            "route53", "list_resource_record_sets", HostedZoneId=zone, StartRecordName=domain, StartRecordType="A", MaxItems="1"
        )
        known = [each for each in said["ResourceRecordSets"] if each["Name"].rstrip(".") == domain and each["Type"] == "A"]
        if host:
            alias = {"HostedZoneId": self._zone_of(host), "DNSName": host, "EvaluateTargetHealth": True}
            change = {"Action": "UPSERT", "ResourceRecordSet": {"Name": domain, "Type": "A", "AliasTarget": alias}}
        elif known:
            change = {"Action": "DELETE", "ResourceRecordSet": known[0]}
        else:
            return
        self.aws.ask("route53", "change_resource_record_sets", HostedZoneId=zone, ChangeBatch={"Changes": [change]})

    def _zone_of(self, host: str) -> str:
        """Of the load balancer itself: AWS's own zone, which an alias names."""
        for balancer in self.aws.pages("elbv2", "describe_load_balancers", "LoadBalancers"):
            if balancer["DNSName"].lower() == host.lower().removeprefix("dualstack."):
                return str(balancer["CanonicalHostedZoneId"])
        raise PlaceError(f"the cluster says that its load balancer is {host}, and AWS has none of that name")


def _manifests(outputs: Outputs) -> Iterator[Manifest]:
    return (each for each in yaml.safe_load_all(outputs["names"]["manifests"]) if each)


def _gone(cluster: Cluster, manifest: Manifest) -> tuple[bool | None, str]:
    return (None if cluster.get(manifest) else True), f"{manifest['kind']} {manifest['metadata']['name']} is being taken away"


def _environment(pod: Manifest) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0].get("env", [])}
