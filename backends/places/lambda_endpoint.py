"""A release at Lambda: its version ready, the alias led to it (in steps by CodeDeploy), read back, asked through the API."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backends.places.cloud import Endpoint, Outputs, Watch, address
from backends.places.endpoint_check import Door, knock
from llmspec import container
from llmspec.errors import PlaceError
from llmspec.release import Live, Release

LIVE = "live"
"""The alias that users' stage leads to."""
UNDER_WAY = ("Created", "Queued", "InProgress", "Baking", "Ready")


UNRESERVED = 100
"""So many copies at once Lambda keeps for functions that reserve none; all that there are, where an account has fewer."""


class LambdaEndpoint(Endpoint):
    """`places: {endpoint: {lambda: …}}`."""

    def before(self, outputs: Outputs) -> None:
        """`scale.max` is reserved, and a new account has little to reserve from. Where none may ask, Lambda itself refuses."""
        try:
            limit = self.aws.ask("lambda", "get_account_settings")["AccountLimit"]
            function = self.aws.look("lambda", "get_function", FunctionName=outputs["names"]["function"]) if outputs else None
        except PlaceError:
            return
        ours = ((function or {}).get("Concurrency") or {}).get("ReservedConcurrentExecutions", 0)
        every, scale = limit["ConcurrentExecutions"], self.site.spec.endpoint.scale
        most = limit["UnreservedConcurrentExecutions"] + ours - min(UNRESERVED, every)
        wanted = scale.max if scale else 1
        if wanted > max(ours, most):
            raise PlaceError(
                f"endpoint.scale.max reserves {wanted} of the {every} copies that Lambda runs at once in this account, "
                f"and {max(0, most)} can be reserved\n  ask for more of 'Concurrent executions' at "
                f"https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384, or lower scale.max"
            )

    def settle(self, release: Release, outputs: Outputs) -> None:
        watch, names = self.watch(), outputs["names"]
        watch.for_(lambda: self._ready(outputs, names["version"]))
        if names["deployment"]:
            self._shift(outputs, watch)
        self._leads_to(outputs, names["version"])
        served = self._release(outputs, LIVE)
        if served is None or (served.number, served.content) != (release.number, release.content):
            found = f"release {served.number} with other content" if served else "a function that says no release"
            raise PlaceError(f"what runs is not what was asked for: version {names['version']} holds {found}")
        watch.for_(lambda: self._warm(outputs))
        knock(Door(address(outputs), self.headers(outputs)), {served.number: served}, watch, private=False)

    def look(self, outputs: Outputs) -> Live | None:
        """What the alias leads to; while traffic moves in steps, what most of it goes to."""
        function = self._function(outputs, LIVE)
        if function is None or function["Configuration"].get("State", "Active") not in ("Active", "Inactive"):
            return None
        served = container.released(_environment(function))
        since = datetime.fromisoformat(function["Configuration"]["LastModified"]).timestamp()
        return Live(address(outputs), served.number, 0, since) if served else None

    def console(self, outputs: Outputs) -> str:
        name = outputs["names"]["function"]
        return self.aws.console(f"lambda/home?region={self.aws.region}#/functions/{name}?tab=monitoring")

    def headers(self, outputs: Outputs) -> Mapping[str, str]:
        """The API counts by keys; whoever may read them in AWS asks with the first."""
        keys = outputs["names"]["keys"]
        if not keys:
            return {}
        found = self.aws.ask("apigateway", "get_api_key", apiKey=next(iter(keys.values())), includeValue=True)
        return {"x-api-key": found["value"]}

    def _function(self, outputs: Outputs, qualifier: str) -> dict[str, Any] | None:
        return self.aws.look("lambda", "get_function", FunctionName=outputs["names"]["function"], Qualifier=qualifier)

    def _release(self, outputs: Outputs, qualifier: str) -> Release | None:
        return container.released(_environment(self._function(outputs, qualifier) or {}))

    def _ready(self, outputs: Outputs, version: str) -> tuple[str | None, str]:
        """Lambda takes the image apart before the first copy of a version can start."""
        function = self._function(outputs, version)
        if function is None:
            raise PlaceError(f"the stack is up, and Lambda has no version {version} of {outputs['names']['function']}")
        told = function["Configuration"]
        state = told.get("State", "Active")
        if state == "Failed":
            raise PlaceError(f"Lambda says Failed: {told.get('StateReason') or told.get('StateReasonCode') or 'and no reason'}")
        return (None if state == "Pending" else state), f"Lambda says {state}: {told.get('StateReason', '')}".removesuffix(": ")

    def _alias(self, outputs: Outputs) -> tuple[str, dict[str, float]]:
        """The version that it leads to, and versions that have a share of it meanwhile."""
        said = self.aws.look("lambda", "get_alias", FunctionName=outputs["names"]["function"], Name=LIVE)
        if said is None:
            raise PlaceError(f"the stack is up, and {outputs['names']['function']} has no alias {LIVE}")
        return said["FunctionVersion"], dict((said.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {})

    def _shift(self, outputs: Outputs, watch: Watch) -> None:
        """In the steps that the spec says. A deployment that an earlier apply began is waited for, not begun again."""
        wanted = outputs["names"]["version"]
        for deployment in self._under_way(outputs):
            watch.see(f"an earlier deployment is under way: {deployment}")
            watch.for_(lambda deployment=deployment: self._ended(deployment, may_fail=True))  # type: ignore[misc]
        version, shares = self._alias(outputs)
        if version == wanted and not shares:
            return
        watch.see(f"CodeDeploy moves the traffic from version {version} to {wanted}")
        deployment = self._begin(outputs, version)
        watch.for_(lambda: self._ended(deployment, may_fail=False))

    def _under_way(self, outputs: Outputs) -> list[str]:
        where = {"applicationName": outputs["names"]["deployment"]["application"]}
        where |= {"deploymentGroupName": outputs["names"]["deployment"]["group"]}
        return list(self.aws.pages("codedeploy", "list_deployments", "deployments", **where, includeOnlyStatuses=list(UNDER_WAY)))

    def _begin(self, outputs: Outputs, version: str) -> str:
        names = outputs["names"]
        moved = {"Name": names["function"], "Alias": LIVE, "CurrentVersion": version, "TargetVersion": names["version"]}
        content = json.dumps({"version": 0.0, "Resources": [{"function": {"Type": "AWS::Lambda::Function", "Properties": moved}}]})
        said = {"content": content, "sha256": hashlib.sha256(content.encode()).hexdigest()}
        revision = {"revisionType": "AppSpecContent", "appSpecContent": said}
        where = {"applicationName": names["deployment"]["application"], "deploymentGroupName": names["deployment"]["group"]}
        return str(self.aws.ask("codedeploy", "create_deployment", **where, revision=revision)["deploymentId"])

    def _ended(self, deployment: str, may_fail: bool) -> tuple[str | None, str]:
        told = self.aws.ask("codedeploy", "get_deployment", deploymentId=deployment)["deploymentInfo"]
        status = told["status"]
        if status in ("Failed", "Stopped") and not may_fail:
            error, back = told.get("errorInformation") or {}, told.get("rollbackInfo") or {}
            why = "; ".join(filter(None, (error.get("message"), back.get("rollbackMessage")))) or "and no reason"
            where = self.aws.console(f"codesuite/codedeploy/deployments/{deployment}?region={self.aws.region}")
            raise PlaceError(f"CodeDeploy says {status} ({error.get('code', 'no code')}): {why}", where)
        return (status if status in ("Succeeded", "Failed", "Stopped") else None), f"CodeDeploy says {status}"

    def _leads_to(self, outputs: Outputs, wanted: str) -> None:
        version, shares = self._alias(outputs)
        if version == wanted and not shares:
            return
        served = self._release(outputs, version)
        also = "".join(f", and {share:.0%} to version {other}" for other, share in shares.items())
        holds = f" (release {served.number})" if served else ""
        raise PlaceError(
            f"its version is {wanted}, and {LIVE} leads to version {version}{holds}{also}: it was rolled back, or moved by hand"
        )

    def _warm(self, outputs: Outputs) -> tuple[str | None, str]:
        """Copies that are held ready; none are where `scale.min` asks for none."""
        what = {"FunctionName": outputs["names"]["function"], "Qualifier": LIVE}
        said = self.aws.look("lambda", "get_provisioned_concurrency_config", **what)
        if said is None:
            return "none", "none"
        if said["Status"] == "FAILED":
            raise PlaceError(f"Lambda holds no copies ready: {said.get('StatusReason') or 'and gives no reason'}")
        ready = said.get("AvailableProvisionedConcurrentExecutions", 0)
        state = f"{ready} of {said['RequestedProvisionedConcurrentExecutions']} copies are ready"
        return (state if said["Status"] == "READY" else None), state


def _environment(function: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = function.get("Configuration", {}).get("Environment", {}).get("Variables", {})
    return found
