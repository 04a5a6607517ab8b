"""Every file in specs/ is validated and planned; the quickstart is applied, and answers right."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Project
from moto_parts import Aws
from openai import OpenAI

pytest_plugins = ["moto_parts"]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    """A copy of specs/, with its endpoints on free ports."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    made = Project(tmp_path)
    yield made
    for spec in sorted((tmp_path / "specs").glob("*.yaml")):
        made.run("stop", f"specs/{spec.name}", check=False)


def on_a_free_port(spec: Path) -> None:
    text = spec.read_text()
    assert "endpoint:" not in text
    spec.write_text(text + "\nendpoint: {port: 0}\n")


@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
def test_every_spec_of_ours_is_valid_and_can_be_planned(shop: Project, name: str) -> None:
    shop.run("validate", f"specs/{name}")
    plan = json.loads(shop.run("plan", f"specs/{name}", "-o", "json").stdout)
    assert (plan["steps"][0]["stage"], plan["steps"][0]["action"]) == ("data", "run")
    first, *_ = (ROOT / "specs" / name).read_text().splitlines()
    assert first == "# yaml-language-server: $schema=llm.schema.json"


@pytest.mark.aws
@pytest.mark.parametrize("name", [spec.name for spec in SPECS if spec.name.startswith("aws-")])
def test_every_spec_for_aws_passes_its_policy_and_knows_what_it_costs(shop: Project, aws: Aws, name: str) -> None:
    """In an account where nothing is yet: the bucket of its store comes with the foundation."""
    shop.env = aws.env
    checked = shop.run("validate", f"specs/{name}", "--target", "prod", "-o", "json")
    (told,) = json.loads(checked.stdout)
    assert [finding for finding in told.get("policy", {}).get("prod", []) if not finding["waived"]] == []
    plan = json.loads(shop.run("plan", f"specs/{name}", "--target", "prod", "-o", "json").stdout)
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


def test_a_base_in_another_spec_is_asked_for_before_it_exists(shop: Project) -> None:
    plan = json.loads(shop.run("plan", "specs/support-bot.yaml", "-o", "json").stdout)
    actions = {step["stage"]: step for step in plan["steps"]}
    assert actions["data"]["action"] == "run"
    assert actions["features"]["action"] == "blocked"
    assert "llmspec apply specs/support-base.yaml --select +model" in actions["features"]["why"][0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_policy_is_learned_by_an_adapter_over_a_base_trained_here(shop: Project) -> None:
    for name in ("support-base", "support-bot"):
        on_a_free_port(shop.folder / "specs" / f"{name}.yaml")
    shop.run("apply", "specs/support-base.yaml", "--yes", "--select", "+model", timeout=420)
    shop.run("apply", "specs/support-bot.yaml", "--yes", timeout=420)
    scores = json.loads(shop.run("history", "specs/support-bot.yaml", "-o", "json").stdout)[-1]["scores"]
    assert scores["token_f1"] >= 0.8
    assert os.listdir(next((shop.folder / ".llmspec/store/support-bot/model").glob("*/adapter")))  # noqa: PTH208
