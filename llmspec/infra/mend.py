"""What an apply that was killed left half done. AWS may have made a thing of which the state only knows that it was wanted."""

from collections.abc import Mapping
from typing import Any

NAMED: Mapping[str, str] = {
    "aws:s3/bucket:Bucket": "{bucket}",
    "aws:iam/role:Role": "{name}",
    "aws:iam/rolePolicy:RolePolicy": "{role}:{name}",
    "aws:kms/alias:Alias": "{name}",
    "aws:ecr/repository:Repository": "{name}",
    "aws:sagemaker/model:Model": "{name}",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": "{name}",
    "aws:sagemaker/endpoint:Endpoint": "{name}",
    "aws:cloudwatch/logGroup:LogGroup": "{name}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "{name}",
    "aws:cloudwatch/dashboard:Dashboard": "{dashboardName}",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "{logGroupName}:{name}",
    "aws:lambda/function:Function": "{name}",
    "aws:codebuild/project:Project": "{name}",
    "aws:s3/bucketVersioning:BucketVersioning": "{bucket}",
    "aws:s3/bucketPolicy:BucketPolicy": "{bucket}",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "{bucket}",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": "{bucket}",
}
"""Types whose id is made of names that we give -> how. Of the others AWS alone knows it, and the sweep finds them by their tags."""


def id_of(resource: Mapping[str, Any]) -> str:
    """What AWS calls a thing that is made of these inputs; empty when only AWS knows."""
    form = NAMED.get(str(resource["type"]))
    try:
        return form.format(**resource.get("inputs", {})) if form else ""
    except KeyError:  # AWS chose the name
        return ""


def adopted(deployment: dict[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """The state with what may have been made taken in, the URNs of that, and those that nobody can name.

    Each is only assumed here. A refresh of these URNs, which must follow, asks AWS and drops what is not there.
    """
    resources = [dict(resource) for resource in deployment.get("resources") or []]
    live = {resource["urn"]: resource for resource in resources if not resource.get("delete")}
    taken: list[str] = []
    unknown: list[str] = []
    for operation in deployment.get("pending_operations") or []:
        resource = operation["resource"]
        replaced = live.get(resource["urn"])
        id_ = id_of(resource)
        if operation["type"] != "creating" or (replaced is not None and replaced.get("id") == id_):
            continue
        if not id_:
            unknown.append(resource["urn"])
            continue
        if replaced is not None:
            replaced["delete"] = True  # Pulumi's own word for: goes once its successor is there
        resources.append({**resource, "id": id_, "outputs": {"id": id_}})
        taken.append(resource["urn"])
    return {**deployment, "resources": resources, "pending_operations": []}, taken, unknown
