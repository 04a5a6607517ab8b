"""A release at SageMaker: waited for, read back model by model, asked. UpdateEndpoint can report success after a rollback."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backends.places.cloud import Endpoint, Outputs, address
from backends.places.sagemaker_call import ANSWERED, ASKED, form, invoke
from backends.places.smoke import PATH, answered, question
from llmspec import container
from llmspec.client import Call, Reply
from llmspec.errors import PlaceError
from llmspec.release import Fleet, Live, Release

MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
SERVING = ("InService", "Updating", "SystemUpdating", "RollingBack")
"""While it is updated the release before it answers."""
RELEASE_TAG = "llmspec:release"
BUSY = (429, 503)
BUSY_SECONDS, PAUSE_SECONDS = 120.0, 2.0
"""A question that only wants room is asked again so long."""


@dataclass(frozen=True)
class Side:
    """A production variant, as AWS has it."""

    release: Release | None
    """What its model's own variables say that it serves; None when it is no model of ours."""
    image: str
    deployed: tuple[str, ...]
    """Images that SageMaker says it runs."""
    copies: int | None
    """None where there are no machines to count."""
    weights: tuple[float, float] | None
    """As configured, and as it is now."""


@dataclass(frozen=True)
class Running:
    """The endpoint, asked."""

    status: str
    reason: str
    configuration: str
    release: int | None
    """With which release the configuration was made that is in service."""
    since: float
    sides: Mapping[str, Side]


class SageMakerEndpoint(Endpoint):
    """`places: {endpoint: {sagemaker: …}}`."""

    def settle(self, release: Release, outputs: Outputs) -> None:
        watch = self.watch()
        watch.for_(lambda: self._still(outputs))
        running = self._running(outputs)
        assert running
        self._as_asked(running, release, outputs)
        if form(outputs) == "async":
            asked, answered_at = (self.site.store.below(f"{self.site.name}/{folder}").uri for folder in (ASKED, ANSWERED))
            watch.see(f"it was read back, and not asked: it takes files below {asked}/ and answers below {answered_at}/")
        else:
            for side in running.sides:
                self._answers(side, running, outputs)
        self._tidy(outputs, {running.configuration, *outputs["names"]["models"].values()})

    def before(self, outputs: Outputs) -> None:
        """SageMaker refuses another instance for a variant that is scaled, and the end of one: it is scaled no more, and the stack,
        which asks AWS first, makes the scaling anew after it."""
        said = self._described(outputs) if outputs else None
        if said is None:
            return
        wanted: Any = self.site.spec.place("endpoint")
        configured = self.aws.look("sagemaker", "describe_endpoint_config", EndpointConfigName=said["EndpointConfigName"]) or {}
        stay = max(1, len(self.site.spec.endpoint.variants or ()))
        self._unscale(
            f"endpoint/{said['EndpointName']}/variant/{variant['VariantName']}"
            for number, variant in enumerate(configured.get("ProductionVariants", []))
            if "InstanceType" in variant and (variant["InstanceType"] != wanted.instance or number >= stay)
        )

    def _unscale(self, variants: Iterable[str]) -> None:
        if not (named := list(variants)):
            return
        scaling = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
        asked = self.aws.ask("application-autoscaling", "describe_scalable_targets", **scaling, ResourceIds=named)
        for target in asked["ScalableTargets"]:
            self.aws.ask("application-autoscaling", "deregister_scalable_target", **scaling, ResourceId=target["ResourceId"])

    def finished(self, outputs: Outputs) -> bool:
        """A rollout may take four hours, and the provider waits for one, whatever it is told."""
        if self._described(outputs) is None:
            return False
        watch = self.watch()
        watch.for_(lambda: self._still(outputs))
        return True

    def left(self, outputs: Outputs) -> None:
        self._tidy(outputs, set())

    def _tidy(self, outputs: Outputs, kept: set[str]) -> None:
        """Models and configurations of older releases go when the new one has answered, and no sooner: until then SageMaker may
        go back to them by itself. Ours are known by their form, `<name>-<target>-r13-1a2b3c4d`."""
        stem = outputs["names"]["configuration"].rpartition("-r")[0]
        ours = re.compile(rf"{re.escape(stem)}-r[0-9]+-[0-9a-f]{{8}}")
        for listed, key, name, gone in (
            ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "delete_endpoint_config"),
            ("list_models", "Models", "ModelName", "delete_model"),
        ):
            found = [each[name] for each in self.aws.pages("sagemaker", listed, key, NameContains=stem)]
            for old in found:
                if ours.fullmatch(old) and old not in kept:
                    self.aws.look("sagemaker", gone, **{name: old})

    def look(self, outputs: Outputs) -> Live | None:
        running = self._running(outputs)
        if running is None or running.status not in SERVING or running.release is None:
            return None
        return Live(address(outputs), running.release, 0, running.since)

    def fleet(self, outputs: Outputs) -> Fleet | None:
        """An update sets the copies to what the new configuration says: here is how many work. While one is under way its own
        configuration is told, so that whoever takes it up again asks for the same."""
        scale, place = self.site.spec.endpoint.scale, self.site.spec.place("endpoint")
        scaled = scale is not None and scale.max > scale.min and getattr(place, "form", "") == "realtime"
        said = self._described(outputs) if scaled else None
        if said is None:
            return None
        name = said.get("PendingDeploymentSummary", {}).get("EndpointConfigName") or said["EndpointConfigName"]
        configured = self.aws.look("sagemaker", "describe_endpoint_config", EndpointConfigName=name) or {}
        began, now = (
            {variant["VariantName"]: variant[count] for variant in held.get("ProductionVariants", []) if count in variant}
            for held, count in ((configured, "InitialInstanceCount"), (said, "CurrentInstanceCount"))
        )
        return Fleet(name, began, now)

    def console(self, outputs: Outputs) -> str:
        name = outputs["names"]["endpoint"]
        return self.aws.console(f"sagemaker/home?region={self.aws.region}#/endpoints/{name}")

    def call(self, outputs: Outputs) -> Call | None:
        return lambda path, body: invoke(self.aws, outputs, path, body)

    def _still(self, outputs: Outputs) -> tuple[str | None, str]:
        """Whether it came to rest, and in which state."""
        said = self._described(outputs)
        if said is None:
            raise PlaceError(f"the stack is up, and SageMaker has no endpoint {outputs['names']['endpoint']}")
        status = said["EndpointStatus"]
        if status in MOVING:
            return None, f"SageMaker says {status}"
        if status != "InService":
            raise PlaceError(f"SageMaker says {status}: {said.get('FailureReason') or 'and no reason'}")
        return status, status

    def _described(self, outputs: Outputs) -> dict[str, Any] | None:
        return self.aws.look("sagemaker", "describe_endpoint", EndpointName=outputs["names"]["endpoint"])

    def _running(self, outputs: Outputs) -> Running | None:
        said = self._described(outputs)
        if said is None:
            return None
        configured = self.aws.look("sagemaker", "describe_endpoint_config", EndpointConfigName=said["EndpointConfigName"])
        variants = {variant["VariantName"]: variant for variant in said.get("ProductionVariants", [])}
        sides = {
            variant["VariantName"]: self._side(variant, variants.get(variant["VariantName"], {}))
            for variant in (configured or {}).get("ProductionVariants", [])
        }
        return Running(
            said["EndpointStatus"],
            said.get("FailureReason", ""),
            said["EndpointConfigName"],
            self._made_with(configured, sides),
            said["LastModifiedTime"].timestamp(),
            sides,
        )

    def _side(self, configured: Mapping[str, Any], variant: Mapping[str, Any]) -> Side:
        said = self.aws.look("sagemaker", "describe_model", ModelName=configured["ModelName"]) or {}
        told = said.get("PrimaryContainer", {})
        return Side(
            container.released(told.get("Environment", {})),
            str(told.get("Image", "")),
            tuple(str(each.get("SpecifiedImage")) for each in variant.get("DeployedImages", [])),
            variant.get("CurrentInstanceCount"),
            (configured["InitialVariantWeight"], variant["CurrentWeight"]) if "CurrentWeight" in variant else None,
        )

    def _made_with(self, configured: Mapping[str, Any] | None, sides: Mapping[str, Side]) -> int | None:
        """A configuration never changes, so its tag cannot run ahead of what is in service, as the endpoint's own can."""
        numbers = {side.release.number for side in sides.values() if side.release}
        if configured is None or len(numbers) < 2:
            return next(iter(numbers), None)
        tags = self.aws.pages("sagemaker", "list_tags", "Tags", ResourceArn=configured["EndpointConfigArn"])
        said = next((tag["Value"] for tag in tags if tag["Key"] == RELEASE_TAG), "")
        return int(said) if said.isdecimal() and int(said) in numbers else None

    def _as_asked(self, running: Running, release: Release, outputs: Outputs) -> None:
        """Every fault at once."""
        wanted = outputs["names"]["configuration"]
        if running.configuration != wanted:
            raise PlaceError(self._rolled_back(running, wanted, outputs))
        faults = list(_faults(running.sides, release, outputs["names"]["models"]))
        if faults:
            raise PlaceError("what runs is not what was asked for: " + "; ".join(faults))

    def _rolled_back(self, running: Running, wanted: str, outputs: Outputs) -> str:
        """SageMaker said that the update succeeded; it put the old configuration back."""
        said = self._described(outputs) or {}
        alarms = said.get("LastDeploymentConfig", {}).get("AutoRollbackConfiguration", {}).get("Alarms", [])
        why = running.reason or self._ringing([alarm["AlarmName"] for alarm in alarms])
        return f"SageMaker rolled it back: {running.configuration} is in service, and not {wanted}; {why}"

    def _ringing(self, alarms: list[str]) -> str:
        """Which of the alarms that watched the rollout are in alarm, or were there to be."""
        if not alarms:
            return "it gives no reason, and no alarm watched it; its log says more"
        found = self.aws.ask("cloudwatch", "describe_alarms", AlarmNames=alarms, AlarmTypes=["MetricAlarm"])
        rings = [f"{each['AlarmName']} ({each['StateReason']})" for each in found["MetricAlarms"] if each["StateValue"] == "ALARM"]
        return f"alarms: {'; '.join(rings)}" if rings else f"one of these alarms may have rung meanwhile: {', '.join(alarms)}"

    def _answers(self, side: str, running: Running, outputs: Outputs) -> None:
        """By SageMaker's own call, as users' clients do: whole, and, where it streams, streamed."""
        served, target = running.sides[side].release, side if len(running.sides) > 1 else ""
        assert served
        for stream in (False,) if form(outputs) == "serverless" else (False, True):
            reply = self._with_patience(outputs, question(stream), target)
            answered(reply.status, reply.lines, stream, side)
            said = dict(part.partition("=")[::2] for part in reply.headers["release"].split(";"))
            if (said.get("llmspec-release"), said.get("content")) != (str(served.number), served.content):
                found = f"release {said['llmspec-release']}" if "llmspec-release" in said else "one that says no release"
                raise PlaceError(f"{side} was given release {served.number}, and {found} answers (content {said.get('content')})")

    def _with_patience(self, outputs: Outputs, body: bytes, target: str) -> Reply:
        until = time.monotonic() + BUSY_SECONDS
        while True:
            reply = invoke(self.aws, outputs, PATH, body, target)
            if reply.status not in BUSY or time.monotonic() > until:
                return reply
            time.sleep(PAUSE_SECONDS)


def _faults(sides: Mapping[str, Side], release: Release, models: Mapping[str, str]) -> Iterator[str]:
    if set(sides) != set(models):
        yield f"the variants are {', '.join(sides) or 'none'}, and not {', '.join(models)}"
    served = [side.release for side in sides.values() if side.release]
    if release.content not in [each.content for each in served if each.number == release.number]:
        found = ", ".join(str(each.number) for each in served) or "none"
        yield f"release {release.number} is in none of them (found: {found})"
    for name, side in sides.items():
        if side.release is None:
            yield f"{name} runs a model that says no release"
        if side.deployed and side.image not in side.deployed:
            yield f"{name} runs the image {', '.join(side.deployed)}, and its model names {side.image}"
        if side.copies == 0 and (release.serving.get("scale") or {}).get("min", 1):
            yield f"{name} has no copy"
        if side.weights and side.weights[0] != side.weights[1]:
            yield f"{name} has the weight {side.weights[1]:g}, and {side.weights[0]:g} is configured: somebody changed it since"
