"""What `workspace.yaml` loads: every spec under `specs/`. A bad spec shows as an asset with its error; the others live on."""

import os
import re
from pathlib import Path

import dagster as dg

from llmspec.compile import definitions
from llmspec.errors import CallError, LLMSpecError
from llmspec.stage import Product


def spec_files() -> list[Path]:
    """LLMSPEC_SPECS (a folder or files, separated by ':'), else `specs/`, else the YAML files here."""
    asked = os.environ.get("LLMSPEC_SPECS")
    places = [Path(part) for part in asked.split(":")] if asked else [Path("specs") if Path("specs").is_dir() else Path()]
    return [file for place in places for file in (sorted(place.glob("*.yaml")) if place.is_dir() else [place])]


def invalid(name: str, path: Path, error: Exception) -> dg.Definitions:
    """An asset that says what is wrong with its spec."""
    spec = dg.AssetSpec(
        dg.AssetKey(["invalid", re.sub(r"[^A-Za-z0-9_-]", "_", name)]),
        group_name="invalid_specs",
        description=f"`{path}` is not loaded:\n\n```\n{error}\n```",
        kinds={"yaml"},
    )
    return dg.Definitions(assets=[spec])


def load_all() -> dg.Definitions:
    """All specs, merged; each fails alone."""
    found = []
    named: dict[str, Path] = {}
    for path in spec_files():
        if path.name == "workspace.yaml":
            continue
        if (namesake := named.setdefault(path.stem, path)) != path:
            fault = CallError(f"{namesake} has the same name, and assets are known by it\n  rename one of the two files")
            found.append(invalid(str(path), path, fault))
            continue
        try:
            found.append(definitions(Product.open(path)))
        except (LLMSpecError, dg.DagsterInvalidDefinitionError) as error:
            found.append(invalid(path.stem, path, error))
    return dg.Definitions.merge(*found, dg.Definitions(executor=dg.in_process_executor)) if found else dg.Definitions()


defs = load_all()
