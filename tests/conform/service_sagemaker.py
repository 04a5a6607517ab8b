"""The service stack at SageMaker with everything on, for a check against the real provider's schema."""

import dataclasses

from infra_pulumi.service import service
from infra_pulumi.serving.sagemaker import SagemakerArgs
from infra_pulumi.serving.wanted import Scale
