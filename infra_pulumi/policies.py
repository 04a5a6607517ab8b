"""Policies as statements: each says what it allows, and a wildcard in it says why."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi

# What lies below one named thing: `arn:aws:s3:::bucket/product/data/*`, but neither `bucket/*` nor `role/*`.
_BELOW_A_NAME = re.compile(r"arn:[^:*]+:[^:*]+:[^:*]*:[^*]*?:/?[^/:*]+[/:][^*]*\w[^*]*\*")

Texts = pulumi.Input[str] | Sequence[pulumi.Input[str]]


class WildcardError(ValueError):
    """A statement reaches further than it says why."""


@dataclass(frozen=True)
class Statement:
    """One statement of a policy."""

    actions: tuple[str, ...]
    resources: tuple[pulumi.Input[str], ...] = ()
    """None in a role's trust policy, where the role itself is meant."""
    conditions: Mapping[str, Mapping[str, Texts]] = field(default_factory=dict)
    principals: Mapping[str, Texts] = field(default_factory=dict)
    reason: str = ""
    """Why a wildcard is needed. It becomes the statement's Sid, so that an auditor reads it at AWS's console too."""
    effect: Literal["Allow", "Deny"] = "Allow"


def document(*statements: Statement) -> pulumi.Output[str]:
    """The policy as JSON. A wildcard without a reason stops the program before anything is made."""
    return pulumi.Output.from_input([_raw(each) for each in statements]).apply(_dumped)


def wildcards(statement: Mapping[str, Any]) -> list[str]:
    """What reaches further than one named thing, in a statement as IAM reads it."""
    actions = [action for action in _listed(statement.get("Action")) if "*" in action]
    resources = [resource for resource in _listed(statement.get("Resource")) if not _is_scoped(resource)]
    principals = statement.get("Principal", {})
    named = [principals] if isinstance(principals, str) else [text for texts in principals.values() for text in _listed(texts)]
    return actions + resources + [text for text in named if "*" in text]


def _raw(statement: Statement) -> dict[str, Any]:
    raw: dict[str, Any] = {"Sid": _sid(statement.reason), "Effect": statement.effect, "Action": list(statement.actions)}
    optional = {
        "Principal": dict(statement.principals),
        # One is written as IAM gives it back, so that nothing seems to have changed.
        "Resource": statement.resources[0] if len(statement.resources) == 1 else list(statement.resources),
        "Condition": {test: dict(keys) for test, keys in statement.conditions.items()},
    }
    return {name: value for name, value in {**raw, **optional}.items() if value}


def _dumped(statements: Sequence[Mapping[str, Any]]) -> str:
    bare = [(each, found) for each in statements if (found := wildcards(each)) and not each.get("Sid")]
    if bare:
        faults = "\n".join(f"  {', '.join(found)} in {json.dumps(each)}" for each, found in bare)
        raise WildcardError(f"a wildcard needs a written reason (Statement.reason):\n{faults}")
    return json.dumps({"Version": "2012-10-17", "Statement": _apart(statements)})


def _apart(statements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sids are unique within a document: the second with the same reason is numbered."""
    seen: dict[str, int] = {}
    found = []
    for each in statements:
        sid = each.get("Sid", "")
        seen[sid] = seen.get(sid, 0) + 1
        found.append({**each, "Sid": f"{sid}{seen[sid]}"} if sid and seen[sid] > 1 else dict(each))
    return found


def _sid(reason: str) -> str:
    """`A log group has streams` -> `ALogGroupHasStreams`: a Sid takes letters and digits only."""
    words = re.findall(r"[A-Za-z0-9]+", reason.replace("'", ""))
    return "".join(word[0].upper() + word[1:] for word in words)


def _is_scoped(resource: str) -> bool:
    return "*" not in resource or bool(_BELOW_A_NAME.fullmatch(resource))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
