"""Every file in specs/ is validated and planned; the quickstart is applied, and answers right."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Project
from moto_parts import Moto
from openai import OpenAI

pytest_plugins = ["moto_parts"]
SPECS = [spec.name for spec in sorted((ROOT / "specs").glob("*.yaml"))]
FOR_AWS = [name for name in SPECS if name.startswith("aws-")]
Told = dict[str, dict[str, Any]]
"""What a command said of each spec."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    """A copy of specs/, with its endpoints on free ports."""
    made = copied(tmp_path)
    yield made
    for name in SPECS:
        if list((tmp_path / ".llmspec" / "run").glob(f"{Path(name).stem}-*")):
            made.run("stop", f"specs/{name}", check=False)


def copied(folder: Path) -> Project:
    shutil.copytree(ROOT / "specs", folder / "specs")
    return Project(folder)


def said_of(shop: Project, names: list[str], command: str, *words: str) -> Told:
    """One command for all of them."""
    said = json.loads(shop.run(command, *(f"specs/{name}" for name in names), "-o", "json", *words).stdout)
    return dict(zip(names, said, strict=True))


@pytest.fixture(scope="module")
def unmade(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Where nothing was made yet."""
    return copied(tmp_path_factory.mktemp("unmade"))


@pytest.fixture(scope="module")
def checked(unmade: Project) -> Told:
    return said_of(unmade, SPECS, "validate")


@pytest.fixture(scope="module")
def planned(unmade: Project) -> Told:
    return said_of(unmade, SPECS, "plan")


@pytest.fixture(scope="module")
def in_aws(tmp_path_factory: pytest.TempPathFactory, aws: Moto) -> Project:
    """In an account where nothing is yet: the bucket of its store comes with the foundation."""
    made = copied(tmp_path_factory.mktemp("aws"))
    made.env = aws.env
    return made


@pytest.fixture(scope="module")
def checked_for_aws(in_aws: Project) -> Told:
    return said_of(in_aws, FOR_AWS, "validate", "--target", "prod")


@pytest.fixture(scope="module")
def planned_for_aws(in_aws: Project) -> Told:
    return said_of(in_aws, FOR_AWS, "plan", "--target", "prod")


def on_a_free_port(spec: Path) -> None:
    text = spec.read_text()
    assert "endpoint:" not in text
    spec.write_text(text + "\nendpoint: {port: 0}\n")


def learns_in(epochs: int, spec: Path) -> None:
    """A shorter training than the spec's own."""
    text = spec.read_text()
    assert text.count("{epochs: ") == 1
    spec.write_text(re.sub(r"{epochs: \d+", f"{{epochs: {epochs}", text))


def half_of(rows: Path) -> None:
    """A shorter training, again."""
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[: len(lines) // 2]))


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_of_ours_is_valid_and_can_be_planned(checked: Told, planned: Told, name: str) -> None:
    assert checked[name]["ok"]
    (first_step, *_) = planned[name]["steps"]
    assert (first_step["stage"], first_step["action"]) == ("data", "run")
    first, *_ = (ROOT / "specs" / name).read_text().splitlines()
    assert first == "# yaml-language-server: $schema=llm.schema.json"


@pytest.mark.aws
@pytest.mark.parametrize("name", FOR_AWS)
def test_every_spec_for_aws_passes_its_policy_and_knows_what_it_costs(
    checked_for_aws: Told, planned_for_aws: Told, name: str
) -> None:
    policy = checked_for_aws[name].get("policy", {}).get("prod", [])
    assert [finding for finding in policy if not finding["waived"]] == []
    plan = planned_for_aws[name]
    assert plan["costs"]["lines"]
    assert plan["costs"]["budget_usd"] >= plan["costs"]["monthly_usd"][0]
    assert [step["stage"] for step in plan["steps"] if step["action"] == "blocked"] == []


@pytest.mark.timeout(600)
def test_the_quickstart_passes_its_gate_and_answers_right(shop: Project) -> None:
    spec = shop.folder / "specs" / "quickstart.yaml"
    on_a_free_port(spec)
    shop.run("apply", "specs/quickstart.yaml", "--yes", timeout=420)
    url = json.loads(shop.run("status", "specs/quickstart.yaml", "-o", "json").stdout)["url"]
    assert "30 days" in shop.run("ask", "specs/quickstart.yaml", "How do I return my laptop?").stdout
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    asked = [{"role": "user", "content": "Could you explain how to reset my router?"}]
    pieces = client.chat.completions.create(model="quickstart", messages=asked, stream=True)  # type: ignore[call-overload]
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert "power key" in said
    assert "router" in said


def test_a_base_in_another_spec_is_asked_for_before_it_exists(planned: Told) -> None:
    actions = {step["stage"]: step for step in planned["support-bot.yaml"]["steps"]}
    assert actions["data"]["action"] == "run"
    assert actions["features"]["action"] == "blocked"
    assert "llmspec apply specs/support-base.yaml --select +model" in actions["features"]["why"][0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_policy_is_learned_by_an_adapter_over_a_base_trained_here(shop: Project) -> None:
    for name, rows, epochs in (("support-base", "support_base", 3), ("support-bot", "support_policy", 3)):
        on_a_free_port(shop.folder / "specs" / f"{name}.yaml")
        learns_in(epochs, shop.folder / "specs" / f"{name}.yaml")
        half_of(shop.folder / "specs" / "data" / f"{rows}.jsonl")
    shop.run("apply", "specs/support-base.yaml", "--yes", "--select", "+model", timeout=420)
    shop.run("apply", "specs/support-bot.yaml", "--yes", timeout=420)
    scores = json.loads(shop.run("history", "specs/support-bot.yaml", "-o", "json").stdout)[-1]["scores"]
    assert scores["token_f1"] >= 0.8
    assert os.listdir(next((shop.folder / ".llmspec/store/support-bot/model").glob("*/adapter")))  # noqa: PTH208
