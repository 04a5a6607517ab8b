"""What differs between two sets of inputs, and which differences a provider can only answer with another resource."""

from typing import Any

from pulumi_engine.values import bare, is_secret

NAMES = frozenset({"name", "bucket", "namePrefix", "dashboardName", "functionName", "roleName"})
ALL = frozenset({"*"})
FORCES: dict[str, frozenset[str]] = {
    "aws:sagemaker/model:Model": ALL,
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": ALL,
    "aws:s3/bucket:Bucket": frozenset({"bucket", "objectLockEnabled"}),
    "aws:kms/key:Key": frozenset({"multiRegion", "customerMasterKeySpec", "keyUsage"}),
    "aws:ec2/vpc:Vpc": frozenset({"cidrBlock"}),
    "aws:ec2/subnet:Subnet": frozenset({"cidrBlock", "availabilityZone", "vpcId"}),
    "aws:iam/role:Role": frozenset({"name", "path"}),
    "aws:cognito/userPool:UserPool": frozenset({"usernameAttributes"}),
}
"""As in the provider's own schema; types that are not listed are replaced when their name changes."""
LABELS = ("tags", "tagsAll")


def differences(old: Any, new: Any, path: str = "") -> dict[str, str]:
    """Path -> `add`, `delete` or `update`."""
    hidden = is_secret(old) or is_secret(new)
    if isinstance(old, dict) and isinstance(new, dict) and not hidden:
        found: dict[str, str] = {}
        for name in [*new, *(name for name in old if name not in new)]:
            at = _below(path, name)
            if name not in old:
                found[at] = "add"
            elif name not in new:
                found[at] = "delete"
            else:
                found |= differences(old[name], new[name], at)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        found = {}
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            found |= differences(before, after, f"{path}[{number}]")
        return found
    return {} if bare(old) == bare(new) else {path: "update"}


def _below(path: str, name: str) -> str:
    plain = name.replace("_", "").isalnum()
    return (f"{path}.{name}" if path else name) if plain else f'{path}["{name}"]'


def top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def forcing(kind: str, paths: list[str], more: list[str]) -> list[str]:
    """The properties among these that force a replacement."""
    forces = FORCES.get(kind, NAMES)
    tops = list(dict.fromkeys(top(path) for path in paths))
    return [name for name in tops if name in more or name in forces or (forces is ALL and name not in LABELS)]
