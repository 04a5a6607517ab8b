"""What a program speaks to while it runs: the resource monitor and the engine's log, over gRPC."""

import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    resource_pb2,
    resource_pb2_grpc,
)

from pulumi_engine.engine import Deployment
from pulumi_engine.errors import CommandFailedError, RefusedError

FEATURES = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
)


class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
    """What the program speaks to."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def GetDeploymentInfo(self, request: Any, context: Any) -> Any:
        return resource_pb2.DeploymentInfo(supportedFeatures=FEATURES, dryRun=self.deployment.dry)

    def SupportsFeature(self, request: Any, context: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in ("secrets", "aliasSpecs", "deletedWith"))

    def Invoke(self, request: Any, context: Any) -> Any:
        try:
            found = self.deployment.cloud.invoke(request.tok, self.deployment.region(request.provider))
        except RefusedError as refused:
            context.abort(grpc.StatusCode.UNKNOWN, str(refused))
        return resource_pb2.ResourceInvokeResponse(**{"return": _struct(found)})

    def RegisterResource(self, request: Any, context: Any) -> Any:
        try:
            state, said = self.deployment.register(request)
        except RefusedError as refused:
            if not self.deployment.failed and not self.deployment.cancelled:
                self.deployment.fail({"urn": request.name, "type": request.type}, str(refused))
            context.abort(grpc.StatusCode.UNAVAILABLE, "resource monitor shut down while waiting on step's done channel")
        return resource_pb2.RegisterResourceResponse(urn=state["urn"], id=state.get("id", ""), object=_struct(said))

    def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:
        with self.deployment.lock:
            if (state := self.deployment.new.get(request.urn)) is not None:
                state["outputs"] = json_format.MessageToDict(request.outputs)
                self.deployment.save()
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


class Listener(engine_pb2_grpc.EngineServicer):
    """What the program logs."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def Log(self, request: Any, context: Any) -> Any:
        if request.severity >= engine_pb2.WARNING:
            severity = "error" if request.severity == engine_pb2.ERROR else "warning"
            told = {"message": request.message, "color": "never", "severity": severity, "urn": request.urn}
            self.deployment.events.tell(diagnosticEvent=told)
            print(f"    {severity}: {request.message}", flush=True)
        return empty_pb2.Empty()


def run(deployment: Deployment, client: str) -> None:
    """The inline program, in the process that waits at `client`."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    resource_pb2_grpc.add_ResourceMonitorServicer_to_server(Monitor(deployment), server)
    engine_pb2_grpc.add_EngineServicer_to_server(Listener(deployment), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    asked = language_pb2.RunRequest(
        project=deployment.stack.project,
        stack=deployment.stack.name,
        pwd=str(Path.cwd()),
        args=[address],
        dryRun=deployment.dry,
        parallel=16,
        monitor_address=address,
        organization="organization",
    )
    try:
        with grpc.insecure_channel(client) as channel:
            running = language_pb2_grpc.LanguageRuntimeStub(channel).Run.future(asked)
            while not running.done():
                time.sleep(0.01)  # in Python's own code, where a signal is heard
            said = running.result()
    except grpc.RpcError as error:
        raise CommandFailedError(f"failed to run the program: {error}") from error
    finally:
        server.stop(0.2).wait()
    if said.error and not deployment.failed:
        deployment.failed.append(said.error)


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    found = struct_pb2.Struct()
    json_format.ParseDict(values, found)
    return found
