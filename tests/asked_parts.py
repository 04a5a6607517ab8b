"""What tests of arguments share: a spec for each place, the ground it would stand on, and both argument sets."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from conftest import ROOT

from infra_pulumi.foundation import FoundationArgs
from infra_pulumi.service import faults
from infra_pulumi.serving.wanted import Serving
from llmspec.infra.asked import foundation_args, serving
from llmspec.load import Loaded, load
from llmspec.release import Release
from llmspec.shelf import Folder, Shelf
from llmspec.site import Site
from llmspec.spec import Spec

_written = importlib.util.spec_from_file_location("spec_ground", ROOT / "tests" / "conform" / "spec_ground.py")
assert _written
assert _written.loader
spec_ground = importlib.util.module_from_spec(_written)
_written.loader.exec_module(spec_ground)

SPECS = sorted((ROOT / "specs").glob("aws-*.yaml"))
SECRET = "https://chat.example/hooks/T0-very-secret"
NAMED = {"domain": "bot.acme.example", "zone": "Z0123456789ABCDEFGHIJ"}
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
CERTIFICATE = "arn:aws:acm:eu-central-1:111122223333:certificate/a-b"
BASE: dict[str, Any] = {
    "llmspec": 1,
    "name": "bot",
    "region": "eu-central-1",
    "store": "s3://acme-llm/bots",
    "data": {"sources": [{"path": "faq.jsonl"}]},
    "model": {"base": {"scratch": "tiny"}},
    "monitors": {"alarms": ["error_rate > 1%"]},
    "governance": {"budget": {"monthly": "100 USD"}},
}
PLACES: dict[str, dict[str, Any]] = {
    "sagemaker": {"endpoint": {"sagemaker": {}}},
    "async": {"endpoint": {"sagemaker": {"form": "async"}}},
    "serverless": {"endpoint": {"sagemaker": {"form": "serverless"}}},
    "ecs": {"endpoint": {"ecs": NAMED}},
    "lambda": {"endpoint": {"lambda": {}}},
    "eks": {"endpoint": {"eks": NAMED}},
    "emr": {"endpoint": {"sagemaker": {}}, "data": {"emr": {}}},
}


class Here(Site):
    """A site whose store is a folder of the test's."""

    folder = Path()

    @property
    def store(self) -> Shelf:
        return Folder(type(self).folder)


def merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def at(path: str, value: Any) -> dict[str, Any]:
    """`monitors.every`, `5m` -> `{monitors: {every: 5m}}`."""
    first, _, rest = path.partition(".")
    return {first: at(rest, value) if rest else value}


def spec(place: str, *changes: Mapping[str, Any]) -> Spec:
    told: dict[str, Any] = {**BASE, "places": PLACES[place]}
    if place == "emr":
        told = merged(told, {"data": {"engine": "spark"}})
    for change in changes:
        told = merged(told, change)
    return Spec.model_validate(told)


@cache
def loaded() -> Loaded:
    """Where a spec of ours lies; what stands in it is put in its place."""
    return load(SPECS[0], "prod", env={})


def ground(made: Spec) -> dict[str, Any]:
    return dict(spec_ground.outputs(dataclasses.replace(loaded(), spec=made)))


def release(made: Spec, number: int = 1) -> Release:
    written = spec_ground.release(dataclasses.replace(loaded(), spec=made), number)
    return dataclasses.replace(written, serving=made.endpoint.model_dump(mode="json"))


def asked(made: Spec, site: type[Site] = Site) -> tuple[FoundationArgs, Serving]:
    """Both argument sets, and the service's without fault."""
    wanted = serving(site(made, "prod", Path("bot.yaml")), release(made), ground(made), resolve=lambda _: SECRET)
    assert [str(problem) for problem in faults(wanted)] == []
    return foundation_args(made, "prod"), wanted
