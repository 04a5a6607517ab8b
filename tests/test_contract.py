"""One suite over every registered engine and place, ours and other people's: what a card promises, and what its work must be."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmspec import registry
from llmspec.card import Card, Engine, Place
from llmspec.job import Job
from llmspec.language.fields import docs
from llmspec.section import STAGES
from llmspec.shelf import sha256_of
from llmspec.store import open_artifact

ENGINES = dict(registry.engines())
PLACES = dict(registry.places())
CARDS: dict[str, type[Card]] = {**ENGINES, **PLACES}
HERE = [name for name, place in PLACES.items() if "data" in place.runs and not place.cloud]
"""Places whose jobs run without an account: those of a cloud are tested against its API."""
HEAVY = ("torch", "pyspark", "transformers", "onnxruntime", "numpy", "pyarrow", "dagster", "boto3", "pulumi", "fastapi")


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_it_is_and_what_each_option_means(name: str) -> None:
    card = CARDS[name]
    assert card.__doc__
    assert "Engine" not in (card.__doc__ or "").split()[0]
    assert set(docs(card)) >= set(card.model_fields)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_works_with_its_defaults_is_frozen_and_refuses_what_it_does_not_know(name: str) -> None:
    card = CARDS[name]()
    assert CARDS[name].model_validate(json.loads(card.model_dump_json())) == card
    with pytest.raises(ValueError, match=r"frozen|Extra inputs"):
        CARDS[name].model_validate({"no_such_option": 1})


@pytest.mark.parametrize("name", CARDS)
def test_a_card_loads_nothing_heavy(name: str) -> None:
    point = registry.registered("engine" if name in ENGINES else "place")[name]
    check = f"import sys, {point.module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", CARDS)
def test_what_a_card_requires_has_a_cure(name: str) -> None:
    card = CARDS[name]
    assert bool(card.requires) <= bool(card.install)
    assert set(card.missing()) <= set(card.requires)


@pytest.mark.parametrize("name", [name for name, card in ENGINES.items() if card.stage != "endpoint"])
def test_an_engine_s_work_takes_options_inputs_output_and_report(name: str) -> None:
    engine: type[Engine] = ENGINES[name]
    assert engine.stage in STAGES
    assert engine.version >= 1
    module, _, function = engine.work.partition(":")
    work = getattr(importlib.import_module(module), function)
    assert list(inspect.signature(work).parameters) == ["options", "inputs", "output", "report"]


@pytest.mark.parametrize("name", PLACES)
def test_a_place_does_stages_that_exist(name: str) -> None:
    place: type[Place] = PLACES[name]
    assert set(place.runs) <= set(STAGES) - {"endpoint"}
    assert place.runs or place.serves
    assert set(place.for_jobs) | set(place.for_endpoint) <= set(place.model_fields)
    assert {key.split(".")[0] for key in place().honours} <= {"scale", "rollout", "variants"}
    assert set(place.engines) <= set(ENGINES)


@pytest.mark.parametrize("name", HERE)
def test_a_place_runs_a_job_to_its_manifest(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    job = simple_job(tmp_path)
    in_dagster(lambda context: PLACES[name]().run(context, job))
    made = open_artifact(Path(job.output))
    assert made is not None
    assert made.manifest.key == job.key
    assert made.verify().manifest.metrics["rows"] == 6


@pytest.mark.parametrize("name", HERE)
def test_a_place_raises_when_its_job_fails_and_leaves_no_manifest(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    job = simple_job(tmp_path, rows="{broken")
    with pytest.raises(Exception, match=r"rows\.jsonl"):
        in_dagster(lambda context: PLACES[name]().run(context, job))
    assert open_artifact(Path(job.output)) is None


def simple_job(folder: Path, rows: str = "") -> Job:
    """Six rows through our own data engine."""
    from llmspec.spec.data import Data

    text = rows or "".join(json.dumps({"question": f"How is {i}?", "answer": f"It is {i}."}) + "\n" for i in range(6))
    (folder / "rows.jsonl").write_text(text)
    options = {"data": Data.model_validate({"sources": [{"path": "rows.jsonl"}]}).model_dump(mode="json")}
    draft = Job(
        spec="contract",
        stage="data",
        engine="sail",
        version=1,
        work=ENGINES["sail"].work,
        options=options,
        keyed=options,
        inputs={},
        files={"rows": {str(folder / "rows.jsonl"): sha256_of(folder / "rows.jsonl")}},
    )
    return Job(**{**vars(draft), "output": str(folder / "store" / draft.key)})


def in_dagster(body: Any) -> None:
    """Run the body where a place runs: inside an asset of a real run."""
    import dagster as dg

    @dg.asset
    def subject(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        body(context)
        return dg.MaterializeResult()

    dg.materialize([subject])
