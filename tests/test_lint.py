"""What lint is told to leave unread is what nobody here calls."""

import re
import tomllib

from conftest import ROOT


def test_types_are_checked_of_every_service_of_aws_that_a_program_calls() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    (followed,) = [set(section["module"]) for section in told if section.get("follow_imports") == "normal"]
    sources = [path.read_text() for path in (ROOT / "infra_pulumi").rglob("*.py")]
    called = {service for source in sources for service in re.findall(r"\baws\.([a-z0-9_]+)\.[A-Z]", source)}
    assert len(called) > 20
    assert {f"pulumi_aws.{service}.*" for service in called} == {name for name in followed if name.endswith(".*")}
