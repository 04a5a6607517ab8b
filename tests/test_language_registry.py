"""Engines and places by name: what happens when the package behind a name is broken, and how a choice is kept."""
# ruff: noqa: E501

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from test_language_faults import GOOD, problems, put

from llmspec import registry
from llmspec.load import load

BROKEN = {
    "lost": EntryPoint("lost", "no_such_package:Lost", "llmspec.engines"),
    "nameless": EntryPoint("nameless", "llmspec.registry:Nothing", "llmspec.engines"),
    "other": EntryPoint("other", "backends.places.local:Local", "llmspec.engines"),
}


@pytest.fixture(autouse=True)
def broken_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry.registered
    monkeypatch.setattr(registry, "registered", lambda kind: real(kind) | BROKEN if kind == "engine" else real(kind))


@pytest.mark.parametrize(
    ("name", "fault"),
    [("lost", "No module named 'no_such_package'"), ("nameless", "has no attribute 'Nothing'"), ("other", "backends.places.local:Local is no engine")],
)  # fmt: skip
def test_a_broken_package_is_an_error_where_it_is_named(tmp_path: Path, name: str, fault: str) -> None:
    (problem,) = problems(tmp_path, put("data:\n", f"data:\n  engine: {name}\n"))
    assert fault in problem.fault
    assert (problem.line, problem.column) == (4, 11)


def test_a_broken_package_takes_no_other_down(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD)
    assert load(tmp_path / "shop.yaml").plain["data"]["engine"] == {"sail": {}}
    (problem,) = problems(tmp_path, put("data:\n", "data:\n  engine: sial\n"))
    assert "did you mean 'sail'? (known: sail, spark)" in problem.cure


def test_a_card_is_written_as_it_was_chosen(tmp_path: Path) -> None:
    for written in ("spark", "{spark: {}}", "{spark: }", "{spark: null}"):
        (tmp_path / "shop.yaml").write_text(put("data:\n", f"data:\n  engine: {written}\n"))
        assert load(tmp_path / "shop.yaml").plain["data"]["engine"] == {"spark": {"master": None, "remote": None}}


def test_only_a_mapping_holds_options(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, put("data:\n", "data:\n  engine: {spark: local}\n"))
    assert problem.where == "data.engine.spark"
    assert problem.fault == "expects a mapping, got text 'local'"


def test_a_spec_can_be_read_again_from_what_it_says_of_itself(tmp_path: Path) -> None:
    steps = "clean: [strip_html, remove: x+, drop_missing: [answer], drop_short: {characters: 3}, redact, drop_duplicates: ]"
    (tmp_path / "shop.yaml").write_text(put("model:\n", f"  {steps}\nmodel:\n"))
    spec = load(tmp_path / "shop.yaml").spec
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec
    assert [list(step) for step in spec.model_dump(mode="json")["data"]["clean"]] == [
        ["strip_html"], ["remove"], ["drop_missing"], ["drop_short"], ["redact"], ["drop_duplicates"],
    ]  # fmt: skip
