"""Asking a model that Bedrock serves: which ARNs a role needs for an id as a spec writes it."""

import pulumi

from infra_pulumi.account import Account
from infra_pulumi.policies import Statement

INVOKE = ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
GEOGRAPHIES = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""What an inference profile's id begins with."""
ANYWHERE = "A profile passes questions on to its model in whichever region has room"


def asking(models: tuple[str, ...], account: Account) -> tuple[Statement, ...]:
    """Each model by its own ARN; a profile, and its model only by way of that profile."""
    return tuple(statement for model in models for statement in _asking(model, account))


def _asking(model: str, account: Account) -> tuple[Statement, ...]:
    geography, _, plain = model.partition(".")
    if model.startswith("arn:"):
        return (Statement(INVOKE, (model,)), *(_by_way_of(model, "*", account) if "inference-profile/" in model else ()))
    if geography in GEOGRAPHIES:
        profile = account.arn("bedrock", f"inference-profile/{model}")
        return (Statement(INVOKE, (profile,)), *_by_way_of(profile, plain, account))
    return (Statement(INVOKE, (f"arn:{account.partition}:bedrock:{account.region}::foundation-model/{model}",)),)


def _by_way_of(profile: pulumi.Input[str], model: str, account: Account) -> tuple[Statement, ...]:
    """A profile of one's own does not say in its name which model it is for."""
    models = tuple(f"arn:{account.partition}:bedrock:{where}::foundation-model/{model}" for where in ("*", ""))
    fence = {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
    return (Statement(INVOKE, models, fence, reason=ANYWHERE),)
