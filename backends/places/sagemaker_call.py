"""A question by SageMaker's own call, signed with the credentials that are here; HTTP alone does not get in."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backends.places.cloud import Outputs
from llmspec.aws import Aws, told
from llmspec.client import Reply
from llmspec.errors import CallError, PlaceError

ASKED, ANSWERED = "capture/asked", "capture/answers"
"""Folders of the product that an asynchronous endpoint's questions come from and its answers go to. Its role reads no others;
`governance.retention.journal` speaks of both."""
NOT_YET = ("ModelNotReadyException", "ServiceUnavailable", "ThrottlingException", "InternalDependencyException")


def form(outputs: Outputs) -> str:
    """`realtime`, `async` or `serverless`: the end of the address says it."""
    url = str(outputs["url"])
    return "async" if url.endswith("/async-invocations") else "serverless" if url.endswith("/invocations") else "realtime"


def invoke(aws: Aws, outputs: Outputs, path: str, body: bytes, variant: str = "") -> Reply:
    """`/invocations` knows by the body what is asked, so every path of ours leads there. `variant` pins one side of an A/B test."""
    if form(outputs) == "async":
        fault = f"an asynchronous endpoint takes files in S3, below <store>/<name>/{ASKED}/, and no questions"
        raise CallError(f"{fault}\n  ask: aws sagemaker-runtime invoke-endpoint-async --input-location s3://…")
    if not path.startswith("/v1/"):
        raise CallError(f"{path} is not reachable at SageMaker, which passes on questions only")
    name, streams = outputs["names"]["endpoint"], form(outputs) == "realtime" and bool(json.loads(body).get("stream"))
    if not streams:  # a serverless endpoint streams nothing
        body = json.dumps(json.loads(body) | {"stream": False}).encode()
    verb = "invoke_endpoint_with_response_stream" if streams else "invoke_endpoint"
    what: dict[str, Any] = {"EndpointName": name, "ContentType": "application/json", "Body": body}
    what |= {"TargetVariant": variant} if variant else {}
    with told(f"sagemaker-runtime:{verb}", aws.region):
        return _asked(aws, verb, what)


def _asked(aws: Aws, verb: str, what: Mapping[str, Any]) -> Reply:
    """What the container refuses is its own reply, with its own status."""
    from botocore.exceptions import ClientError

    try:
        said = getattr(aws.client("sagemaker-runtime"), verb)(**what)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ModelError":
            status, message = error.response.get("OriginalStatusCode", 500), error.response.get("OriginalMessage", str(error))
            return Reply(int(status), {}, [str(message).encode()])
        if code in NOT_YET:
            message = json.dumps({"error": {"message": f"SageMaker says {code}: {error.response['Error']['Message']}"}})
            return Reply(503, {"retry-after": "5"}, [message.encode()])
        raise
    headers = {"content-type": said.get("ContentType", ""), "release": said.get("CustomAttributes", "")}
    headers |= {"variant": said.get("InvokedProductionVariant", "")}
    return Reply(200, headers, _lines(_parts(said["Body"])) if "stream" in verb else [said["Body"].read()])


def _parts(events: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for event in events:
        if "PayloadPart" in event:
            yield event["PayloadPart"]["Bytes"]
            continue
        fault: Mapping[str, Any] = next(iter(event.values()), {})
        raise PlaceError(f"the answer broke off: {fault.get('Message') or next(iter(event), 'SageMaker does not say why')}")


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Parts end where SageMaker cuts them, also in the middle of a line."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest
