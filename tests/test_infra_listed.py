"""The list of what the programs would make: from real classes, of which only those in use are loaded."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from moto_parts import Moto, aws, aws_here

from llmspec.infra.change import CloudChange
from llmspec.infra.listed import Listing
from llmspec.load import load
from llmspec.release import Release
from llmspec.site import Site

__all__ = ["aws", "aws_here"]
pytestmark = pytest.mark.aws
ROOT = Path(__file__).parents[1]
SAID = re.compile(r"\baws\.([a-z0-9_]+)\.([A-Z]\w+)")


def after_narrowing(text: str) -> str:
    """What a process of its own prints."""
    begun = "from types import ModuleType\nfrom llmspec.infra.narrow import Narrow, narrow\nnarrow()\nimport pulumi_aws as aws\n"
    return subprocess.run([sys.executable, "-c", begun + text], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_every_class_that_the_programs_name_is_found_and_no_service_is_loaded_whole_for_it() -> None:
    said = {name for file in (ROOT / "infra_pulumi").rglob("*.py") for name in SAID.findall(file.read_text(encoding="utf-8"))}
    assert len(said) > 150
    told = after_narrowing(
        f"for service, name in {sorted(said)}:\n"
        "    found = getattr(getattr(aws, service), name)\n"
        "    assert found.__name__ == name and found.__module__.startswith(f'pulumi_aws.{service}.'), found\n"
        "    if type(getattr(aws, service)) is not Narrow: print(service, name)\n"
    )
    assert told == ""


def test_what_stands_elsewhere_in_a_service_is_found_too_and_what_is_nowhere_is_named() -> None:
    told = after_narrowing(
        "print(aws.s3.CannedAcl.PRIVATE.value, type(aws.s3) is ModuleType, callable(aws.kms.get_alias))\n"
        "try: aws.sns.Nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    assert told == "private True True\nmodule 'pulumi_aws.sns' has no attribute 'Nothing'\n"


@pytest.mark.parametrize(
    ("file", "serves"), [("aws-full", "aws:sagemaker/endpoint:Endpoint"), ("aws-ecs", "aws:ecs/service:Service")]
)
def test_a_list_is_made_of_what_it_is_told_and_asks_the_store_for_the_foundation_only(
    aws_here: Moto, file: str, serves: str
) -> None:
    loaded = load(ROOT / "specs" / f"{file}.yaml", "prod", env={})
    where = f"{loaded.spec.store}/{loaded.spec.name}/onnx/1"
    release = Release(1, loaded.spec.name, "prod", where, "1" * 64, "2" * 64, "c" * 64, loaded.plain["endpoint"])
    aws_here.gate.asked.clear()
    with Listing(Site(loaded.spec, "prod", loaded.path)) as listing:
        found = listing.of(release)
    assert aws_here.gate.asked
    assert all("foundation/prod.json" in asked for asked in aws_here.gate.asked)
    for part, kind in {"foundation": "aws:ec2/vpcEndpoint:VpcEndpoint", "service": serves}.items():
        changes = found[part]
        assert not isinstance(changes, str), changes
        assert kind in {change.type for change in changes}
        assert all(isinstance(change, CloudChange) and change.op == "create" for change in changes)


def test_a_list_that_nobody_waits_for_any_more_is_not_made() -> None:
    loaded = load(ROOT / "specs" / "aws-full.yaml", "prod", env={})
    with Listing(Site(loaded.spec, "prod", loaded.path)) as listing:
        assert listing._process.poll() is None
    assert listing._process.returncode == -signal.SIGKILL
