"""What blocks: checks of the data, parity of the artifact, gates; each a pure function of stored numbers."""

from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Project

from llmspec import checks
from llmspec.load import load
from llmspec.release import Release
from llmspec.spec import Spec
from llmspec.store import Manifest


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    text = TINY.replace("evaluation:\n", "onnx: {precision: int4, parity: {tokens: 0.9, perplexity: 1.1}}\nevaluation:\n")
    (tmp_path / "tiny.yaml").write_text(text.replace("data:\n", 'data:\n  checks: {rows: ">= 30", dropped: "<= 10%"}\n'))
    return load(tmp_path / "tiny.yaml").spec


@pytest.mark.parametrize(
    ("stage", "metrics", "failing"),
    [
        ("data", {"rows": 30, "dropped": 0.1}, []),
        ("data", {"rows": 29, "dropped": 0.11}, ["rows 29, asked >= 30", "dropped 0.11, asked <= 10%"]),
        ("data", {"rows": 30, "dropped": 0.100001}, ["dropped 0.100001, asked <= 10%"]),
        ("data", {"rows": 30}, ["dropped was not measured"]),
        ("onnx", {"parity_tokens": 0.9, "parity_perplexity": 1.1}, []),
        ("onnx", {"parity_tokens": 0.899, "parity_perplexity": 1.0}, ["parity_tokens 0.899, asked >= 0.9"]),
        ("evaluation", {"perplexity": 100_001}, ["perplexity 100,001 > 100,000"]),
        ("features", {}, []),
    ],
)
def test_a_check_holds_or_says_the_number_that_breaks_it(
    spec: Spec, stage: str, metrics: dict[str, float], failing: list[str]
) -> None:
    judged = checks.judge(stage, spec, metrics, "rows", None)
    assert [verdict.reason for verdict in judged if not verdict.passed] == failing
    assert [verdict.gate for verdict in judged] == checks.names(stage, spec)


def test_a_champion_that_was_scored_on_other_rows_is_named_as_such_wherever_the_gate_is_judged(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("[perplexity <= 100000]", "[perplexity <= champion, perplexity <= 9]"))
    spec = load(tmp_path / "tiny.yaml").spec
    champion = Release(1, "tiny", "local", "", "", "", "", {}, scores={"perplexity": 6.0}, scored_on="old rows")
    note = " (the champion was scored on other rows)"
    for rows, said in (("new rows", note), ("old rows", "")):
        judged = checks.judge("evaluation", spec, {"perplexity": 5.0}, rows, champion)
        assert [verdict.reason for verdict in judged] == [f"perplexity 5 <= 6{said}", "perplexity 5 <= 9"]


@pytest.mark.parametrize(
    ("data", "asked"),
    [("other", {"data": "test", "rows": 4}), ("same", {"data": "validation", "rows": 4}), ("same", {"data": "test"})],
)
def test_other_data_another_part_and_another_number_are_other_rows(data: str, asked: dict[str, Any]) -> None:
    def scored_on(data: str, asked: dict[str, Any]) -> str:
        scores = Manifest("tiny", "evaluation", "k", "d", "score_onnx", 1, {"evaluation": asked}, {"data": data}, {}, {}, {})
        return checks.scored_on(scores)

    assert scored_on(data, asked) != scored_on("same", {"data": "test", "rows": 4})
    assert scored_on(data, asked) == scored_on(data, {**asked, "metrics": ["rouge_l"]}), "the same rows, measured otherwise"


def test_data_that_fails_its_checks_trains_nothing_in_this_run_in_the_next_and_in_one_that_leaves_data_out(
    project: Project,
) -> None:
    project.edit("data:\n", 'data:\n  checks: {rows: ">= 1000"}\n')
    for _ in range(2):
        said = project.run("apply", "tiny.yaml", "--yes", check=False)
        assert said.returncode == 1
        assert "rows 40, asked >= 1000" in said.stdout + said.stderr
        assert not list(project.store.glob("tiny/features/*"))
    assert project.actions("--select", "features")["features"] == "blocked"
    said = project.run("apply", "tiny.yaml", "--yes", "--select", "features", check=False)
    assert said.returncode == 1
    assert "data does not pass" in said.stdout + said.stderr
    assert project.actions()["model"] == "blocked"
    project.edit(">= 1000", ">= 40")
    assert project.actions()["data"] == "reuse"
