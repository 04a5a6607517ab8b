"""A serverless endpoint with a copy that is kept warm."""

from service_ground import serving

from infra_pulumi.service import service
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Scale

service(serving(SagemakerArgs(form="serverless", memory_mb=4096), scale=Scale(min=1, max=20)))
