"""What a destroyed stack left in AWS, because it cannot be made again. The next apply takes it in: a bucket cannot be made twice,
and what a key encrypted can be read with that key alone.

The list lies where the states lie, from before anything is destroyed until the next apply has taken it in.
"""

import json
from collections.abc import Mapping
from typing import Any

from llmspec.shelf import Shelf

Resource = dict[str, Any]
PLACES = ("aws:sagemaker/model:Model", "aws:sagemaker/endpointConfiguration:EndpointConfiguration")
"""A stack leaves these to their place, which removes them when nothing can go back to them any more."""


class Kept:
    """The list of one stack."""

    def __init__(self, shelf: Shelf, stack: str):
        self._shelf, self._name = shelf, f"kept/{stack}.json"

    def read(self) -> list[Resource]:
        return list(json.loads(self._shelf.read(self._name) or "[]"))

    def add(self, resources: list[Resource]) -> None:
        """To what a destroy that was killed had written already."""
        if every := {each["urn"]: each for each in [*self.read(), *resources]}:
            self._shelf.write(self._name, json.dumps(list(every.values()), indent=1))

    def forget(self) -> None:
        self._shelf.remove(self._name)


def kept(deployment: Mapping[str, Any]) -> list[Resource]:
    """What stays, and the components and providers that it stands in, in the state's order."""
    every = [each for each in deployment.get("resources") or [] if not each.get("delete")]
    stay = {each["urn"] for each in every if each.get("custom") and stays(each)}
    for each in reversed(every):  # whoever is named stands before who names him
        if each["urn"] in stay:
            stay |= {each.get("parent", ""), each.get("provider", "").rsplit("::", 1)[0]}
    return [_alone(each, stay) for each in every if each["urn"] in stay]


def stays(resource: Mapping[str, Any]) -> bool:
    """Whether it is there after the product is gone."""
    return bool(resource.get("retainOnDelete")) and resource["type"] not in PLACES


def _alone(resource: Resource, there: set[str]) -> Resource:
    """It depends on nothing that is gone."""
    found = {**resource, "dependencies": [urn for urn in resource.get("dependencies") or [] if urn in there]}
    if by := resource.get("propertyDependencies"):
        found["propertyDependencies"] = {name: [urn for urn in urns or [] if urn in there] for name, urns in by.items()}
    return found


def returned(deployment: dict[str, Any], left: list[Resource]) -> tuple[dict[str, Any], list[str]]:
    """The state with what was left taken in, and the URNs of that in AWS. A refresh of these asks AWS, and drops what is gone."""
    resources = list(deployment.get("resources") or [])
    known = {each["urn"] for each in resources}
    new = [each for each in left if each["urn"] not in known]
    return {**deployment, "resources": [*resources, *new]}, [each["urn"] for each in new if each.get("retainOnDelete")]
