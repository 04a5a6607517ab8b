"""Providers that speak to moto through boto3, for the types that an end-to-end test reads back. The rest is only recorded."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import boto3
from botocore.exceptions import ClientError, ParamValidationError

from pulumi_engine.errors import RefusedError

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Provider:
    """What one type is made, changed, removed and found with; `said` is what a made one says of itself."""

    region: str
    make: Callable[[str, Inputs], tuple[str, Inputs]]
    drop: Callable[[str, Inputs], None]
    seen: Callable[[str], Any]
    """What is there, or None; a ClientError says that as well."""
    put: Callable[[str, Inputs], None] | None = None
    says: Callable[[Any], Inputs] = lambda _: {}
    """What it says of itself, of what `seen` gave; where that does not follow from its name."""

    def create(self, name: str, inputs: Inputs) -> tuple[str, Inputs]:
        return _told(lambda: self.make(name, inputs))

    def update(self, id_: str, inputs: Inputs) -> None:
        if self.put:
            put = self.put
            _told(lambda: put(id_, inputs))

    def delete(self, id_: str, inputs: Inputs) -> None:
        _told(lambda: self.drop(id_, inputs))

    def read(self, id_: str, inputs: Inputs) -> Inputs | None:
        """Its inputs; of an endpoint what it really runs, which its platform may have taken back."""
        try:
            found = self.seen(id_)
        except ClientError:
            return None
        return (
            None
            if found is None
            else inputs | {"endpointConfigName": found["EndpointConfigName"]}
            if "EndpointName" in found
            else inputs
        )


def _told(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except ClientError as error:
        said = error.response["Error"]
        raise RefusedError(f"operation error {error.operation_name}: api error {said['Code']}: {said['Message']}") from error
    except ParamValidationError as error:
        raise RefusedError(f"api error ValidationException: {error}") from error


def provider(kind: str, region: str) -> Provider | None:
    make = PROVIDERS.get(kind)
    return make(region) if make else None


@cache
def client(service: str, region: str) -> Any:
    return boto3.client(service, region_name=region)


def pascal(value: Any) -> Any:
    """`{"modelName": …}` -> `{"ModelName": …}`, as boto3 has it; tags and environments keep their keys."""
    if isinstance(value, dict):
        plain = ("environment", "tags")
        return {key[0].upper() + key[1:]: each if key in plain else pascal(each) for key, each in value.items()}
    return [pascal(each) for each in value] if isinstance(value, list) else value


def labels(inputs: Inputs) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in (inputs.get("tags") or {}).items()]


def bucket(region: str) -> Provider:
    s3 = client("s3", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        name = inputs["bucket"]
        there = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **there)
        put(name, inputs)
        return name, {"arn": f"arn:aws:s3:::{name}", "region": region, "bucketRegionalDomainName": f"{name}.s3.amazonaws.com"}

    def put(id_: str, inputs: Inputs) -> None:
        if inputs.get("tags"):
            s3.put_bucket_tagging(Bucket=id_, Tagging={"TagSet": labels(inputs)})

    def drop(id_: str, inputs: Inputs) -> None:
        if inputs.get("forceDestroy"):
            for item in s3.list_objects_v2(Bucket=id_).get("Contents", []):
                s3.delete_object(Bucket=id_, Key=item["Key"])
        s3.delete_bucket(Bucket=id_)

    return Provider(region, make, drop, lambda id_: s3.head_bucket(Bucket=id_), put)


def bucket_encryption(region: str) -> Provider:
    s3 = client("s3", region)

    def put(id_: str, inputs: Inputs) -> None:
        rules = []
        for rule in inputs["rules"]:
            how = rule["applyServerSideEncryptionByDefault"]
            default = {"SSEAlgorithm": how["sseAlgorithm"]}
            default |= {"KMSMasterKeyID": how["kmsMasterKeyId"]} if how.get("kmsMasterKeyId") else {}
            rules.append({"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(rule.get("bucketKeyEnabled"))})
        s3.put_bucket_encryption(Bucket=id_, ServerSideEncryptionConfiguration={"Rules": rules})

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        put(inputs["bucket"], inputs)
        return inputs["bucket"], {}

    def drop(id_: str, _: Inputs) -> None:
        s3.delete_bucket_encryption(Bucket=id_)

    return Provider(region, make, drop, lambda id_: s3.get_bucket_encryption(Bucket=id_), put)


def bucket_versioning(region: str) -> Provider:
    s3 = client("s3", region)

    def put(id_: str, inputs: Inputs) -> None:
        s3.put_bucket_versioning(Bucket=id_, VersioningConfiguration={"Status": inputs["versioningConfiguration"]["status"]})

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        put(inputs["bucket"], inputs)
        return inputs["bucket"], {}

    return Provider(region, make, lambda *_: None, lambda id_: s3.get_bucket_versioning(Bucket=id_), put)


def key(region: str) -> Provider:
    kms = client("kms", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        tags = [{"TagKey": each["Key"], "TagValue": each["Value"]} for each in labels(inputs)]
        made = kms.create_key(Description=inputs.get("description", ""), Tags=tags)["KeyMetadata"]
        return made["KeyId"], {"arn": made["Arn"], "keyId": made["KeyId"]}

    def drop(id_: str, _: Inputs) -> None:
        kms.schedule_key_deletion(KeyId=id_, PendingWindowInDays=7)

    def seen(id_: str) -> Any:
        found = kms.describe_key(KeyId=id_)["KeyMetadata"]
        return None if found["KeyState"] == "PendingDeletion" else found

    return Provider(region, make, drop, seen)


def role(region: str) -> Provider:
    iam = client("iam", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        asked = {"RoleName": inputs["name"], "AssumeRolePolicyDocument": inputs["assumeRolePolicy"], "Tags": labels(inputs)}
        made = iam.create_role(**asked)["Role"]
        return inputs["name"], {"arn": made["Arn"], "name": inputs["name"], "uniqueId": made["RoleId"]}

    def put(id_: str, inputs: Inputs) -> None:
        iam.update_assume_role_policy(RoleName=id_, PolicyDocument=inputs["assumeRolePolicy"])

    def drop(id_: str, _: Inputs) -> None:
        for policy in iam.list_role_policies(RoleName=id_)["PolicyNames"]:
            iam.delete_role_policy(RoleName=id_, PolicyName=policy)
        iam.delete_role(RoleName=id_)

    return Provider(region, make, drop, lambda id_: iam.get_role(RoleName=id_), put)


def log_group(region: str) -> Provider:
    logs = client("logs", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        logs.create_log_group(logGroupName=inputs["name"], tags=inputs.get("tags") or {})
        return inputs["name"], {"arn": f"arn:aws:logs:{region}:123456789012:log-group:{inputs['name']}"}

    def seen(id_: str) -> Any:
        groups = logs.describe_log_groups(logGroupNamePrefix=id_)["logGroups"]
        return next((group for group in groups if group["logGroupName"] == id_), None)

    return Provider(region, make, lambda id_, _: logs.delete_log_group(logGroupName=id_), seen)


def topic(region: str) -> Provider:
    sns = client("sns", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        arn = sns.create_topic(Name=inputs["name"], Tags=labels(inputs))["TopicArn"]
        return arn, {"arn": arn}

    return Provider(region, make, lambda id_, _: sns.delete_topic(TopicArn=id_), lambda id_: sns.get_topic_attributes(TopicArn=id_))


def repository(region: str) -> Provider:
    ecr = client("ecr", region)

    def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
        asked = {"repositoryName": inputs["name"], "imageTagMutability": inputs.get("imageTagMutability", "MUTABLE")}
        return inputs["name"], says(ecr.create_repository(**asked, tags=labels(inputs))["repository"])

    def says(made: Any) -> Inputs:
        return {"arn": made["repositoryArn"], "repositoryUrl": made["repositoryUri"]}

    def drop(id_: str, inputs: Inputs) -> None:
        ecr.delete_repository(repositoryName=id_, force=bool(inputs.get("forceDelete")))

    def seen(id_: str) -> Any:
        return ecr.describe_repositories(repositoryNames=[id_])["repositories"][0]

    return Provider(region, make, drop, seen, says=says)


def sagemaker(verb: str, name: str, asked: Callable[[Inputs], Inputs], changes: bool = False) -> Callable[[str], Provider]:
    """`verb` is boto3's ending: `model`; `name` its parameter for the name. moto itself cannot change an endpoint; what stands
    before it in a test that changes one can."""

    arn = f"{name.removesuffix('Name')}Arn"

    def provide(region: str) -> Provider:
        api = client("sagemaker", region)

        def make(_: str, inputs: Inputs) -> tuple[str, Inputs]:
            with suppress(ClientError):  # moto would make it a second time
                if seen(inputs["name"]):
                    raise RefusedError(f"api error ValidationException: Cannot create already existing {verb} {inputs['name']}")
            made = getattr(api, f"create_{verb}")(**{name: inputs["name"], "Tags": labels(inputs), **asked(inputs)})
            return inputs["name"], says(made)

        def says(found: Any) -> Inputs:
            return {"arn": found[arn]}

        def drop(id_: str, _: Inputs) -> None:
            getattr(api, f"delete_{verb}")(**{name: id_})

        def put(id_: str, inputs: Inputs) -> None:
            found = getattr(api, f"describe_{verb}")(**{name: id_})
            if any(found[key] != value for key, value in asked(inputs).items()):
                getattr(api, f"update_{verb}")(**{name: id_, **asked(inputs)})
            api.add_tags(ResourceArn=found[arn], Tags=labels(inputs))

        seen = partial(_described, getattr(api, f"describe_{verb}"), name)
        return Provider(region, make, drop, seen, put if changes else None, says)

    return provide


def _described(describe: Callable[..., Any], name: str, id_: str) -> Any:
    return describe(**{name: id_})


def _model(inputs: Inputs) -> Inputs:
    names = ("executionRoleArn", "primaryContainer", "containers", "vpcConfig", "enableNetworkIsolation")
    asked = dict(pascal({name: inputs[name] for name in names if name in inputs}))
    for container in (asked.get("PrimaryContainer"), *asked.get("Containers", [])):
        if container and (source := container.get("ModelDataSource")):
            (container["ModelDataSource"]["S3DataSource"],) = source.pop("S3DataSources")  # a list of one, to Pulumi
    return asked


def _configuration(inputs: Inputs) -> Inputs:
    asked = {"ProductionVariants": pascal(inputs["productionVariants"])}
    for variant in asked["ProductionVariants"]:
        if "RoutingConfigs" in variant:
            (variant["RoutingConfig"],) = variant.pop("RoutingConfigs")  # a list of one, to Pulumi
    asked |= {"KmsKeyId": inputs["kmsKeyArn"]} if inputs.get("kmsKeyArn") else {}
    more = {name: inputs[name] for name in ("dataCaptureConfig", "asyncInferenceConfig") if name in inputs}
    return asked | pascal(more)


PROVIDERS: dict[str, Callable[[str], Provider]] = {
    "aws:s3/bucket:Bucket": bucket,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": bucket_encryption,
    "aws:s3/bucketVersioning:BucketVersioning": bucket_versioning,
    "aws:kms/key:Key": key,
    "aws:iam/role:Role": role,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:sns/topic:Topic": topic,
    "aws:ecr/repository:Repository": repository,
    "aws:sagemaker/model:Model": sagemaker("model", "ModelName", _model),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": sagemaker("endpoint_config", "EndpointConfigName", _configuration),
    "aws:sagemaker/endpoint:Endpoint": sagemaker(
        "endpoint", "EndpointName", lambda inputs: {"EndpointConfigName": inputs["endpointConfigName"]}, changes=True
    ),
}
