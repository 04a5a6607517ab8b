"""What SageMaker is asked for: the training job of `model`, and the processing job of any other stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from backends.places.aws import GB
from backends.places.remote import Errand
from llmspec import container, network
from llmspec.machines import has_local_disk

if TYPE_CHECKING:
    from backends.places.sagemaker import SageMaker

DAY = 86_400
FAULTS_OF_AWS = 2
"""How often SageMaker starts a job again that failed for its own reasons."""
LEAST_VOLUME = 30
"""GB. A machine with disks of its own uses those; more than they have is refused, and all have this."""
INSIDE = "/opt/ml/processing"
"""Files of a processing job may be brought and taken below this only."""
LOSS = {"Name": "llmspec:loss", "Regex": r"\bloss ([0-9.eE+-]+)"}
"""What the training says of itself every few seconds, as a metric."""


@dataclass(frozen=True)
class Kind:
    """One of the two, which are the same under other names."""

    noun: str
    called: str
    log_group: str
    page: str
    """Of the console."""

    def link(self, region: str, name: str) -> str:
        return f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/{self.page}/{name}"


TRAINING = Kind("training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs", "jobs")
PROCESSING = Kind("processing_job", "ProcessingJob", "/aws/sagemaker/ProcessingJobs", "processing-jobs")


def kind_of(stage: str) -> Kind:
    return TRAINING if stage == "model" else PROCESSING


def request(place: "SageMaker", errand: Errand, image: str, name: str) -> dict[str, Any]:
    """The call's fields."""
    make = _training if kind_of(errand.job.stage) is TRAINING else _processing
    tags = [{"Key": key, "Value": value} for key, value in errand.tags.items()]
    return {**make(place, errand, image, name), "RoleArn": errand.role, "Tags": tags}


def output_of(errand: Errand, name: str) -> str:
    """Where SageMaker puts what a job of this name leaves: for a training job that is not ours to say."""
    return f"{errand.shelf.uri}/made/{name}/output/model/"


def isolated(place: "SageMaker", errand: Errand) -> bool:
    """Wherever it can be: only a base from the hub is fetched by the job itself."""
    if place.network_isolation is not None:
        return place.network_isolation
    return not from_hub(errand.job.options)


def from_hub(options: Mapping[str, Any]) -> bool:
    return "hub" in (options.get("model", {}).get("base") or {})


def _training(place: "SageMaker", errand: Errand, image: str, name: str) -> dict[str, Any]:
    spot = {"MaxWaitTimeInSeconds": ceil(place.max_runtime) + DAY} if place.spot else {}
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": [LOSS]},
        "InputDataConfig": [
            {"ChannelName": channel, "InputMode": "File", "DataSource": {"S3DataSource": _all_of(uri)}}
            for channel, uri in errand.channels().items()
        ],
        "OutputDataConfig": {
            "S3OutputPath": f"{errand.shelf.uri}/made",
            "KmsKeyId": errand.ground["data_key"],
            "CompressionType": "NONE",
        },
        "ResourceConfig": _machine(place, errand),
        "StoppingCondition": {"MaxRuntimeInSeconds": ceil(place.max_runtime), **spot},
        "EnableManagedSpotTraining": place.spot,
        # Without spot too: a training that failed or was stopped goes on from here.
        "CheckpointConfig": {"S3Uri": f"{errand.checkpoints.uri}/", "LocalPath": "/opt/ml/checkpoints"},
        "EnableNetworkIsolation": isolated(place, errand),
        "RetryStrategy": {"MaximumRetryAttempts": FAULTS_OF_AWS},
        **_network(errand),
    }


def _processing(place: "SageMaker", errand: Errand, image: str, name: str) -> dict[str, Any]:
    left = {"S3Uri": output_of(errand, name), "LocalPath": f"{INSIDE}/model", "S3UploadMode": "EndOfJob"}
    return {
        "ProcessingJobName": name,
        "AppSpecification": {"ImageUri": image, "ContainerArguments": ["train"]},
        "Environment": {container.BASE: INSIDE, container.REASON: "/opt/ml/output"},
        "ProcessingInputs": [
            {
                "InputName": channel,
                "S3Input": {**_all_of(uri), "S3InputMode": "File", "LocalPath": f"{INSIDE}/input/data/{channel}"},
            }
            for channel, uri in errand.channels().items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [{"OutputName": "artifact", "S3Output": left}],
            "KmsKeyId": errand.ground["data_key"],
        },
        "ProcessingResources": {"ClusterConfig": _machine(place, errand)},
        "StoppingCondition": {"MaxRuntimeInSeconds": ceil(place.max_runtime)},
        "NetworkConfig": {
            "EnableNetworkIsolation": isolated(place, errand),
            **_network(errand),
        },
    }


def _all_of(uri: str) -> dict[str, str]:
    return {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}


def _network(errand: Errand) -> dict[str, Any]:
    """The foundation's, where there is one. Without a NAT gateway it leads to no hub: a job that fetches from there stands in
    SageMaker's own."""
    reaches = network.gateways(errand.site.spec) or not from_hub(errand.job.options)
    return {"VpcConfig": errand.network} if errand.network and reaches else {}


def _machine(place: "SageMaker", errand: Errand) -> dict[str, Any]:
    """One. Types with disks of their own encrypt them themselves and take no key."""
    one = {"InstanceType": place.instance, "InstanceCount": 1}
    if has_local_disk(place.instance):
        return {**one, "VolumeSizeInGB": LEAST_VOLUME}
    return {**one, "VolumeSizeInGB": ceil(place.volume / GB), "VolumeKmsKeyId": errand.ground["data_key"]}
