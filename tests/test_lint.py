"""What lint is told to leave unread is what nobody here calls, and what it is told to keep light is all that is no roof."""

import re
import tomllib

from conftest import ROOT

ROOF = {"__init__", "__main__", "apply", "cli", "compile", "definitions", "infra"}
"""Of llmspec, what may load Dagster or pulumi, and its own name."""


def test_types_are_checked_of_every_service_of_aws_that_a_program_calls() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    (followed,) = [set(section["module"]) for section in told if section.get("follow_imports") == "normal"]
    sources = [path.read_text() for path in (ROOT / "infra_pulumi").rglob("*.py")]
    called = {service for source in sources for service in re.findall(r"\baws\.([a-z0-9_]+)\.[A-Z]", source)}
    assert len(called) > 20
    assert {f"pulumi_aws.{service}.*" for service in called} == {name for name in followed if name.endswith(".*")}


def test_every_module_of_the_floor_is_kept_light() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floor,) = [set(contract["source_modules"]) for contract in contracts if contract["name"] == "the floor is light"]
    there = {path.stem for path in (ROOT / "llmspec").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert floor == {f"llmspec.{name}" for name in there - ROOF}
    assert there > ROOF
