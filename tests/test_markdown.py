"""A plan as a comment: what it says, that it fits, and that what stands in a spec stays text."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, TINY, tiny_rows
from test_ci_workflow import SHOP

from llmspec.cli import main
from llmspec.differences import Change
from llmspec.markdown import LIMIT, Seen, plain, plans_markdown
from llmspec.plan import Plan, Step

GOLDEN = ROOT / "tests" / "golden"
WARNED = SHOP.replace("  guards: [prompt_injection, pii]\n", "").replace("  audit: true\n", "")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMSPEC_HOME", raising=False)
    (tmp_path / "rows.jsonl").write_text(tiny_rows())
    (tmp_path / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    return tmp_path


def a_plan(*steps: Step, name: str = "shop") -> Plan:
    return Plan(f"{name}.yaml", name, "prod", "s3://acme/bots", "0" * 64, list(steps), f"{name}.yaml --target prod")


@pytest.mark.parametrize(("name", "text", "words"), [("tiny", TINY, []), ("shop", WARNED, ["--target", "prod"])])
def test_the_comment_of_two_specs_is_the_one_that_was_read(
    name: str, text: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{name}.yaml").write_text(text)
    assert main(["plan", f"{name}.yaml", *words, "--offline", "-o", "markdown"]) == 0
    made = re.sub(r"key `[0-9a-f]{12}`", "key `…`", capsys.readouterr().out)
    Path(f"{name}.md").write_text(made)
    assert made == (GOLDEN / f"plan_{name}.md").read_text(), (
        f"read {Path.cwd()}/{name}.md, and keep it as tests/golden/plan_{name}.md"
    )


def test_what_retrains_is_told_with_its_line_and_how_to_apply_just_that() -> None:
    change = Change("model.training.epochs", 3, 5, "shop.yaml:14")
    plan = a_plan(Step("model", "rerun", changes=[change], seconds=400, memory_mb=2100, basis="as last time"))
    text = plans_markdown([Seen(plan)])
    assert "| ~ | model | rerun | model.training.epochs 3 → 5   shop.yaml:14".replace("   ", " ") in text
    assert "| about 7 min · 2.1 GB |" in text
    assert f"`llmspec apply shop.yaml --target prod --plan {plan.fingerprint}`" in text


def test_what_need_not_be_applied_or_was_not_looked_at_has_no_fingerprint() -> None:
    assert "--plan" not in plans_markdown([Seen(a_plan(Step("model", "reuse")))])
    assert "--plan" not in plans_markdown([Seen(a_plan(Step("model", "run")), offline=True)])


def test_a_hundred_plans_fit_into_one_comment_and_details_go_first() -> None:
    steps = [Step("model", "run", [f"reason {at} " + "é" * 60 for at in range(5)], basis="a rule") for _ in range(7)]
    few = plans_markdown([Seen(a_plan(*steps, name=f"p{at}")) for at in range(3)])
    assert few.count("<details>") == 3
    some = plans_markdown([Seen(a_plan(*[replace(step, why=step.why * 3) for step in steps], name=f"p{at}")) for at in range(6)])
    assert 0 < some.count("<details>") < 6
    many = plans_markdown([Seen(a_plan(*steps, name=f"p{at}")) for at in range(100)])
    for text in (few, some, many):
        assert len(text.encode()) <= LIMIT
        assert text.count("<details>") == text.count("</details>")
    assert many.count("<details>") == 0
    assert many.endswith("*It is longer than a comment may be: `llmspec plan` shows the rest.*\n")


def test_a_cell_with_many_reasons_says_how_many_more_there_are_and_details_have_them() -> None:
    text = plans_markdown([Seen(a_plan(Step("data", "rerun", [f"reason {at}" for at in range(9)])))])
    table, _, details = text.partition("<details>")
    assert "reason 5<br>… and 3 more, below |" in table
    assert "- reason 8" in details


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y>"),
        ("a | b\nc", r"a \| b c"),
        ("thanks @everyone, see #12", "thanks @\u200beveryone, see #\u200b12"),
        ("[x](http://evil) `y` *z*", r"\[x\](http://evil) \`y\` \*z\*"),
        ("<!-- llmspec plan prod -->", "&lt;!-- llmspec plan prod -->"),
        ("token_f1 >= 0.8 & more", "token_f1 >= 0.8 &amp; more"),
    ],
)
def test_text_of_a_spec_is_shown_as_it_is_written(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert f" {shown} |" in plans_markdown([Seen(a_plan(Step("model", "run", [text])))])


def test_offline_looks_at_no_store_and_cannot_be_saved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.yaml").write_text(SHOP)  # its store is in S3, and nobody here may ask there
    assert main(["plan", "shop.yaml", "--target", "prod", "--offline"]) == 0
    assert "every stage counts as not made yet" in capsys.readouterr().out
    assert main(["plan", "shop.yaml", "--target", "prod", "--offline", "-o", "json"]) == 0
    assert '"offline": true' in capsys.readouterr().out
    assert main(["plan", "shop.yaml", "--target", "prod", "--offline", "--out", "plan.json"]) == 2
    assert not Path("plan.json").exists()
