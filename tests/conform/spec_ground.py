"""Which spec a program beside this one is made from, and a foundation as its stack would have left it in writing."""

import os
from pathlib import Path
from typing import Any

from llmspec.infra.asked import foundation_args
from llmspec.load import Loaded, load
from llmspec.release import Release

ACCOUNT = "123456789012"
SECRETS = {"ALARM_WEBHOOK": "https://chat.example/secret"}


def chosen() -> Loaded:
    """`SPEC=specs/aws-full.yaml`, at the target that is in AWS."""
    return load(Path(os.environ["SPEC"]), os.environ.get("TARGET", "prod"), env={})


def outputs(loaded: Loaded) -> dict[str, Any]:
    """What `foundation` exports, with ARNs as AWS makes them. Parts that the spec does not ask for are absent."""
    args = foundation_args(loaded.spec, loaded.target)
    owner, region = args.owner, args.owner.region
    repositories = {name: f"{owner.prefix}-{name}" for name in ("serving", "training")}
    found: dict[str, Any] = {
        "bucket": args.storage.bucket,
        "product": args.storage.product(owner),
        "data_key": f"arn:aws:kms:{region}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000001",
        "logs_key": f"arn:aws:kms:{region}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000002",
        "roles": {kind: f"arn:aws:iam::{ACCOUNT}:role/{owner.prefix}-{kind}" for kind in args.identity.kinds},
        "boundary": f"arn:aws:iam::{ACCOUNT}:policy/{owner.prefix}-boundary",
        "log_groups": {kind: f"/llmspec/{owner.prefix}/{kind}" for kind in ("endpoint", "monitors")},
        "repositories": {name: f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{path}" for name, path in repositories.items()},
        "repository_arns": {name: f"arn:aws:ecr:{region}:{ACCOUNT}:repository/{path}" for name, path in repositories.items()},
    }
    if args.events:
        streams = {name: f"{owner.prefix}-{name}" for name in ("journal", "engagement")}
        found["streams"] = {name: f"arn:aws:firehose:{region}:{ACCOUNT}:deliverystream/{path}" for name, path in streams.items()}
        found["carrier_role"] = f"arn:aws:iam::{ACCOUNT}:role/{owner.prefix}-carrier"
    if args.access:
        found["user_pool_arn"] = f"arn:aws:cognito-idp:{region}:{ACCOUNT}:userpool/{region}_0a1b2c3d4"
    if args.network:
        zones = range(args.network.zones)
        found["doors_security_group"] = "sg-1a2b3c4d"
        found |= {"vpc": "vpc-0a1b2c3d", "cidr": args.network.cidr, "work_security_group": "sg-0a1b2c3d"}
        found["private_subnets"] = [f"subnet-0000000{zone}" for zone in zones]
        found["public_subnets"] = [f"subnet-1000000{zone}" for zone in zones] if args.network.public_subnets else []
    return found


def release(loaded: Loaded, number: int = 1) -> Release:
    """As `apply` writes it: the artifact in the store, the endpoint as the spec says."""
    return Release(
        number,
        loaded.spec.name,
        loaded.target,
        artifact=f"{loaded.spec.store}/{loaded.spec.name}/onnx/{number:064x}",
        artifact_key=f"{number:064x}",
        artifact_digest=f"{number + 1:064x}",
        contract="c" * 64,
        serving=loaded.plain["endpoint"],
        scores={"token_f1": 0.9},
    )
