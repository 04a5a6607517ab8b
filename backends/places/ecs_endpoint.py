"""A release at ECS: its services steady on the task definition that was asked for, read back to the release in it, knocked at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backends.places.cloud import Endpoint, Outputs, address
from backends.places.endpoint_check import Door, knock
from llmspec import container
from llmspec.errors import PlaceError
from llmspec.release import Live, Release

SERVER = "server"
"""The container in the task."""
RELEASE_TAG = "llmspec:release"
SHOWN = 3
"""Events and ended tasks that a failure tells of."""


@dataclass(frozen=True)
class Side:
    """A service of the stack, as ECS has it."""

    task: str
    """The task definition of the PRIMARY deployment: what is being served, or brought up."""
    running: int
    desired: int
    state: str
    """IN_PROGRESS, COMPLETED or FAILED."""
    reason: str
    since: float
    tag: str
    release: Release | None
    image: str


class EcsEndpoint(Endpoint):
    """`places: {endpoint: {ecs: …}}`."""

    def before(self, outputs: Outputs) -> None:
        """In steps ECS goes from one target group to the other and back. All at once knows the first only: the rule would lead
        there, and the second group go, before a copy is in the first."""
        rollout, names = self.site.spec.endpoint.rollout, outputs.get("names", {})
        if not names.get("green") or (rollout and rollout.strategy != "all_at_once"):
            return
        rules = (self.aws.look("elbv2", "describe_rules", RuleArns=[names["rule"]]) or {}).get("Rules", [])
        actions = [action.get("ForwardConfig", {}) for rule in rules for action in rule["Actions"]]
        groups = [group for action in actions for group in action.get("TargetGroups", [])]
        if any(group["TargetGroupArn"] == names["green"] and group.get("Weight") for group in groups):
            fault = "endpoint.rollout: the copies that answer stand where steps led, and all_at_once would take them away first"
            raise PlaceError(f"{fault}\n  let one more release go live in steps, as the last one did; then write all_at_once")

    def settle(self, release: Release, outputs: Outputs) -> None:
        watch, names = self.watch(), outputs["names"]
        sides = {side: watch.for_(lambda side=side: self._steady(side, outputs)) for side in names["services"]}  # type: ignore[misc]
        if faults := list(self._faults(sides, release, outputs)):
            raise PlaceError("what runs is not what was asked for: " + "; ".join(faults))
        wanted = {side.release.number: side.release for side in sides.values() if side.release}
        place: Any = self.site.spec.place("endpoint")
        knock(Door(address(outputs), server_name=self._server_name(outputs)), wanted, watch, private=not place.public)

    def look(self, outputs: Outputs) -> Live | None:
        """Its release is what the running task definition holds. Of an A/B test it is the one that was deployed, while it runs."""
        sides = {side: self._side(side, outputs) for side in outputs["names"]["services"]}
        up = [side for side in sides.values() if side and side.running and side.release]
        if not up:
            return None
        numbers = [side.release.number for side in up if side.release]
        number = int(up[0].tag) if up[0].tag.isdecimal() and int(up[0].tag) in numbers else numbers[0]
        return Live(address(outputs), number, 0, max(side.since for side in up))

    def console(self, outputs: Outputs) -> str:
        return self.aws.console(f"ecs/v2/clusters/{outputs['names']['cluster']}/services?region={self.aws.region}")

    def _steady(self, name: str, outputs: Outputs) -> tuple[Side | None, str]:
        """As many copies as wanted, of one task definition. ECS puts the old one back by itself and calls that completed."""
        side = self._side(name, outputs)
        if side is None:
            raise PlaceError(f"the stack is up, and ECS has no service {outputs['names']['services'][name]}")
        wanted = outputs["names"]["tasks"][name]
        if side.state == "FAILED" or (side.state == "COMPLETED" and side.task != wanted):
            back = f"ECS rolled it back: {_short(side.task)} is served, and not {_short(wanted)}"
            told = "; ".join(filter(None, (side.reason, *self._events(name, outputs), *self._ended(wanted, outputs))))
            raise PlaceError(f"{back if side.task != wanted else 'ECS gave it up'}: {told}")
        if side.state == "COMPLETED" and side.running >= side.desired:
            return side, side.state
        return None, f"ECS says {side.state}: {side.running} of {side.desired} copies of {_short(side.task)} run"

    def _side(self, name: str, outputs: Outputs) -> Side | None:
        service = self._service(name, outputs)
        if service is None:
            return None
        primary: Mapping[str, Any] = next((each for each in service.get("deployments", []) if each["status"] == "PRIMARY"), {})
        task = primary.get("taskDefinition") or service.get("taskDefinition", "")
        told = self._server(task)
        return Side(
            task,
            int(primary.get("runningCount", service["runningCount"])),
            int(service["desiredCount"]),
            primary.get("rolloutState", "COMPLETED"),
            primary.get("rolloutStateReason", ""),
            primary["updatedAt"].timestamp() if "updatedAt" in primary else 0.0,
            next((tag["value"] for tag in service.get("tags", []) if tag["key"] == RELEASE_TAG), ""),
            container.released({each["name"]: each["value"] for each in told.get("environment", [])}),
            str(told.get("image", "")),
        )

    def _service(self, name: str, outputs: Outputs) -> dict[str, Any] | None:
        names = outputs["names"]
        what: dict[str, Any] = {"cluster": names["cluster"], "services": [names["services"][name]], "include": ["TAGS"]}
        said = self.aws.look("ecs", "describe_services", **what)
        found = [each for each in (said or {}).get("services", []) if each["status"] == "ACTIVE"]
        return found[0] if found else None

    def _server(self, task: str) -> Mapping[str, Any]:
        said = self.aws.look("ecs", "describe_task_definition", taskDefinition=task) if task else None
        containers = (said or {}).get("taskDefinition", {}).get("containerDefinitions", [])
        found: Mapping[str, Any] = next((each for each in containers if each["name"] == SERVER), {})
        return found

    def _faults(self, sides: Mapping[str, Side], release: Release, outputs: Outputs) -> Iterator[str]:
        served = [side.release for side in sides.values() if side.release]
        if release.content not in [each.content for each in served if each.number == release.number]:
            found = ", ".join(str(each.number) for each in served) or "none"
            yield f"release {release.number} is in none of its services (found: {found})"
        for name, side in sides.items():
            if side.release is None:
                yield f"{name} runs a task that says no release"
            if not side.running:
                yield f"{name} has no copy"
            for image in self._images(name, side.task, outputs):
                if image != side.image:
                    yield f"{name} runs the image {image}, and its task definition names {side.image}"

    def _images(self, name: str, task: str, outputs: Outputs) -> set[str]:
        """Of the copies that run this task definition; others may be on their way out."""
        names = outputs["names"]
        what = {"cluster": names["cluster"], "serviceName": names["services"][name], "desiredStatus": "RUNNING"}
        arns = list(self.aws.pages("ecs", "list_tasks", "taskArns", **what))[:100]
        tasks = self.aws.ask("ecs", "describe_tasks", cluster=names["cluster"], tasks=arns)["tasks"] if arns else []
        ours = [each for each in tasks if each["taskDefinitionArn"] == task]
        return {copy["image"] for each in ours for copy in each.get("containers", []) if copy["name"] == SERVER and "image" in copy}

    def _events(self, name: str, outputs: Outputs) -> list[str]:
        service = self._service(name, outputs) or {}
        return [each["message"] for each in service.get("events", [])[:SHOWN]]

    def _ended(self, task: str, outputs: Outputs) -> list[str]:
        """Why copies of it ended; ECS remembers for an hour."""
        names = outputs["names"]
        family = task.rsplit("/", 1)[-1].partition(":")[0]
        what = {"cluster": names["cluster"], "family": family, "desiredStatus": "STOPPED"}
        arns = list(self.aws.pages("ecs", "list_tasks", "taskArns", **what))[:100]
        tasks = self.aws.ask("ecs", "describe_tasks", cluster=names["cluster"], tasks=arns)["tasks"] if arns else []
        ours = [each for each in tasks if each["taskDefinitionArn"] == task]
        return list(dict.fromkeys(each["stoppedReason"] for each in ours if each.get("stoppedReason")))[:SHOWN]

    def _server_name(self, outputs: Outputs) -> str:
        """A balancer without a name of ours shows the certificate of another: of the one that the spec names."""
        place: Any = self.site.spec.place("endpoint")
        if place.domain or not place.certificate:
            return ""
        said = self.aws.ask("acm", "describe_certificate", CertificateArn=place.certificate)
        return str(said["Certificate"]["DomainName"]).replace("*.", "endpoint.")


def _short(task: str) -> str:
    return task.rsplit("/", 1)[-1] or "nothing"
