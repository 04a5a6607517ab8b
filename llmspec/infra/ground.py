"""ground: the foundation's outputs, as its stack gave them, become what a service stack stands on."""

from collections.abc import Mapping
from typing import Any

from infra_pulumi.serving.wanted import Ground


def standing(outputs: Mapping[str, Any]) -> Ground:
    """A part that was not made is absent: a serverless endpoint has no network, a function no role of the foundation's."""
    work = outputs.get("work_security_group")
    return Ground(
        key_arn=outputs["data_key"],
        log_key_arn=outputs["logs_key"],
        endpoint_role_arn=outputs["roles"].get("endpoint", ""),
        vpc_id=outputs.get("vpc", ""),
        subnet_ids=tuple(outputs.get("private_subnets", ())),
        security_group_ids=(work,) if work else (),
        repository_arn=outputs["repository_arns"]["serving"],
        log_group=outputs["log_groups"]["endpoint"],
        monitors_log_group=outputs["log_groups"]["monitors"],
        capture=f"s3://{outputs['bucket']}/{outputs['product']}capture",
        cidr=outputs.get("cidr", ""),
        doors_group_id=outputs.get("doors_security_group", ""),
        public_subnet_ids=tuple(outputs.get("public_subnets", ())),
        user_pool_arn=outputs.get("user_pool_arn"),
        streams=outputs.get("streams", {}),
        carrier_role_arn=outputs.get("carrier_role"),
        boundary=outputs["boundary"],
    )
