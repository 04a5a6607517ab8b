"""The commands of the language, as a user runs them: validate, render, schema, explain."""
# ruff: noqa: E501

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_language_faults import FAULTS, GOOD
from test_language_targets import ENV, SPEC

from llmspec.cli import main
from llmspec.errors import CallError
from llmspec.language.meaning import all_keys, meaning
from llmspec.language.schema import schema, schema_text
from llmspec.source import read

SPECS = ROOT / "specs"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "shop.yaml").write_text(SPEC)
    return tmp_path


def test_validate_checks_every_spec_when_none_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 0
    assert capsys.readouterr().out == "specs/shop.yaml  ok  (target local)\n"


def test_validate_tells_all_problems_of_all_files_and_ends_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "specs" / "bad.yaml").write_text(
        GOOD.replace("name: shop", "name: bad").replace("full", "ful") + "onnx: {precision: int44}\n"
    )
    assert main(["validate"]) == 2
    said = capsys.readouterr()
    assert said.out == "specs/shop.yaml  ok  (target local)\n"
    assert "specs/bad.yaml:8:11  model.method: 'ful' is not one of full, lora, qlora" in said.err
    assert said.err.endswith("2 problems in 1 of 2 files. Nothing was run.\n")
    assert main(["validate", "specs/bad.yaml"]) == 2
    assert capsys.readouterr().err.endswith("\n2 problems. Nothing was run.\n")


def test_validate_in_json_is_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text(GOOD.replace("name: shop", "name: bda"))
    assert main(["validate", "bad.yaml", "specs/shop.yaml", "--target", "prod", "-o", "json"]) == 2
    bad, good = json.loads(capsys.readouterr().out)
    assert [(each["fault"], each["line"], each["column"]) for each in bad["problems"]] == [
        ("no target named 'prod'", 0, 0),
        ("'bda' is not the file's name", 2, 7),
    ]
    assert good == {"file": "specs/shop.yaml", "ok": True, "name": "shop", "target": "prod", "problems": []}


def test_validate_without_any_spec_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["validate"]) == 2
    assert "llmspec init" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bytes_",
    [b"#" * 10_000_000, b"a: [" + b"[" * 900_000, b"\0", b"caf\xe9", b"a: &a [*a]"],
    ids=["10 MB", "deep", "NUL", "latin", "loop"],
)
def test_a_hostile_file_is_one_clear_answer_and_no_traceback(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "x.yaml").write_bytes(bytes_)
    done = subprocess.run(
        [sys.executable, "-m", "llmspec", "validate", "x.yaml"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert done.stderr.endswith("1 problem. Nothing was run.\n")


def test_validate_imports_nothing_heavy() -> None:
    code = (
        "import sys; from llmspec.cli import main; main(['validate', 'specs/quickstart.yaml']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        "& {'dagster', 'torch', 'pyspark', 'numpy', 'transformers', 'fastapi', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["specs/quickstart.yaml  ok  (target local)", "[]"], done.stderr


def test_a_valid_spec_imports_only_the_cards_it_names() -> None:
    code = (
        "import sys; from llmspec.load import load; load('specs/quickstart.yaml');"
        "print(sorted(name for name in sys.modules if name.startswith('backends.places.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_render_in_json_gives_the_spec_and_the_origins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "specs/shop.yaml", "--target", "prod", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["spec"]["model"]["training"]["epochs"] == 4
    assert told["origins"]["model.training.epochs"] == {"file": "specs/shop.yaml", "line": 30, "column": 26, "how": "target prod"}


def test_the_schema_beside_the_specs_is_current() -> None:
    kept = (SPECS / "llm.schema.json").read_text(encoding="utf-8")
    assert kept == schema_text(), "run: llmspec schema --out specs/llm.schema.json"


def test_every_property_of_the_schema_has_a_description() -> None:
    made = schema()
    bare = [
        f"{name}.{key}"
        for name, each in [*made["$defs"].items(), ("", made)]
        for key, value in each.get("properties", {}).items()
        if not value.get("description")
    ]
    assert bare == []
    assert made["$defs"]["Training"]["properties"]["learning_rate"]["description"] == (
        "Peak rate, reached after warm-up; when absent 4e-3 from scratch, 2e-5 for method full on a trained base."
    )


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_spec_of_ours_fits_the_schema(path: Path) -> None:
    assert misfits(read(path).root.plain()) == []


def test_short_forms_overlays_and_references_fit_the_schema(folder: Path) -> None:
    assert misfits(read(folder / "specs" / "shop.yaml").root.plain()) == []


@pytest.mark.parametrize(
    "case",
    [
        "unknown key", "unknown top key", "missing", "missing in a union", "choice", "version", "number as text", "yes", "number for text",
        "text for a list", "too small", "pattern", "key pattern", "branch for a commit", "union of text and mapping", "inside a union", "engine",
        "engine's option", "two engines", "place", "stage of a place", "cleaning step", "two steps in one", "bare value of a step", "target", "overlay",
    ],
)  # fmt: skip
def test_an_editor_with_the_schema_refuses_what_we_refuse(tmp_path: Path, case: str) -> None:
    (tmp_path / "shop.yaml").write_text(str(FAULTS[case][0]))
    assert misfits(read(tmp_path / "shop.yaml").root.plain()) != []


def test_every_key_is_explained_with_what_it_means() -> None:
    assert {"model.training.epochs", "data.engine.spark.remote", "data.clean.redact.kinds", "model.base.revision"} <= set(
        all_keys()
    )
    for key in all_keys():
        found = meaning(key)
        assert found.about, key
        assert found.type, key


def test_explain_a_key_prints_its_type_default_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "model.training.epochs"]) == 0
    assert capsys.readouterr().out == (
        "model.training.epochs  a number, above 0, default 3\n  How often each row is seen; from scratch 4 when absent.\n\n    epochs: 3\n"
    )
    assert main(["explain", "monitors.alarms"]) == 0
    assert "alarms: [p95_latency > 1s for 5m]" in capsys.readouterr().out
    assert main(["explain", "data.sources[0].path", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["default"], told["examples"]) == ("", ["path: data/faq.jsonl", "path: data/*.csv"])
    assert main(["explain"]) == 0
    assert re.search(r"^    evaluation +What the artifact must score", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    ("key", "cure"),
    [
        ("epochs", "did you mean model.training.epochs?"),
        ("model.training.epoch", "did you mean 'model.training.epochs'?"),
        ("modle", "did you mean 'model'?"),
        ("evalution.gates", "did you mean evaluation.gates?"),
    ],
)
def test_a_misspelt_key_is_recognised(key: str, cure: str) -> None:
    with pytest.raises(CallError) as caught:
        meaning(key)
    assert cure in str(caught.value)


def test_examples_of_keys_are_values_that_the_language_takes(tmp_path: Path) -> None:
    """Every example of a top-level section's own keys loads."""
    from llmspec.load import load

    path = tmp_path / "shop.yaml"
    tried = 0
    for key in all_keys():
        parent = key.rpartition(".")[0]
        if parent not in (
            "features",
            "onnx",
            "evaluation",
            "endpoint",
            "monitors",
            "endpoint.limits",
            "model.training",
            "onnx.parity",
        ):
            continue
        for example in meaning(key).examples:
            nested = f"{parent.partition('.')[0]}: {{{parent.partition('.')[2]}{': {' if '.' in parent else ''}{example}{'}' if '.' in parent else ''}}}"
            good = (
                GOOD.replace("method: full", f"method: full\n  training: {{{example}}}")
                if parent == "model.training"
                else GOOD + nested
            )
            if key in ("endpoint.scale", "endpoint.rollout", "endpoint.variants", "monitors.notify", "monitors.dashboards"):
                good += "\nstore: s3://acme-llm/bots\nregion: eu-central-1\nplaces: {endpoint: sagemaker}\n"
            if "bedrock" in example:
                good = good.replace("{scratch: tiny}", "{bedrock: amazon.nova-lite-v1:0}").replace("method: full", "method: prompt")
                good += "\nregion: eu-central-1\n"
            path.write_text(good.replace("{scratch: tiny}", "{path: x}") if "base" in example else good)
            load(path)
            tried += 1
    assert tried > 25


def misfits(value: Any, schema_: dict[str, Any] | None = None, where: str = "") -> list[str]:
    """What a JSON Schema validator would say. It knows the keywords that our schema uses, and fails on any other."""
    whole = misfits.whole = getattr(misfits, "whole", None) or schema()  # type: ignore[attr-defined]
    rules = whole if schema_ is None else schema_
    if "$ref" in rules:
        wrong = misfits(value, whole["$defs"][rules["$ref"].rpartition("/")[2]], where)
        return wrong + misfits(value, {key: rule for key, rule in rules.items() if key != "$ref"}, where)
    wrong = []
    for word, rule in rules.items():
        wrong += [f"{where}: {word}" for holds in [CHECKS[word](value, rule)] if not holds] if word in CHECKS else []
        assert word in CHECKS or word in NESTED or word in NOTES, word
    if "anyOf" in rules and all(misfits(value, each, where) for each in rules["anyOf"]):
        wrong.append(f"{where}: anyOf")
    if "oneOf" in rules and sum(not misfits(value, each, where) for each in rules["oneOf"]) != 1:
        wrong.append(f"{where}: oneOf")
    if isinstance(value, list) and "items" in rules:
        wrong += [each for at, item in enumerate(value) for each in misfits(item, rules["items"], f"{where}[{at}]")]
    if isinstance(value, dict):
        wrong += _misfits_below(value, rules, where)
    return wrong


def _misfits_below(value: dict[str, Any], rules: dict[str, Any], where: str) -> list[str]:
    wrong = []
    for key, item in value.items():
        ours = [rule for name, rule in rules.get("properties", {}).items() if name == key]
        ours += [rule for pattern, rule in rules.get("patternProperties", {}).items() if re.search(pattern, key)]
        for rule in ours or [rules.get("additionalProperties", True)]:
            wrong += [] if rule is True else [f"{where}.{key}: unknown"] if rule is False else misfits(item, rule, f"{where}.{key}")
        if "propertyNames" in rules:
            wrong += misfits(key, rules["propertyNames"], f"{where}.{key}")
    return wrong


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "string": isinstance(value, str), "integer": number and float(value).is_integer(), "number": number, "boolean": isinstance(value, bool),
        "null": value is None, "array": isinstance(value, list), "object": isinstance(value, dict),
    }[kind]  # fmt: skip


CHECKS = {
    "type": lambda value, rule: _is(value, rule),
    "enum": lambda value, rule: value in rule,
    "const": lambda value, rule: value == rule and isinstance(value, bool) == isinstance(rule, bool),
    "required": lambda value, rule: not isinstance(value, dict) or set(rule) <= set(value),
    "pattern": lambda value, rule: not isinstance(value, str) or re.search(rule, value) is not None,
    "minLength": lambda value, rule: not isinstance(value, str) or len(value) >= rule,
    "minItems": lambda value, rule: not isinstance(value, list) or len(value) >= rule,
    "maxItems": lambda value, rule: not isinstance(value, list) or len(value) <= rule,
    "minProperties": lambda value, rule: not isinstance(value, dict) or len(value) >= rule,
    "maxProperties": lambda value, rule: not isinstance(value, dict) or len(value) <= rule,
    "minimum": lambda value, rule: not _is(value, "number") or value >= rule,
    "maximum": lambda value, rule: not _is(value, "number") or value <= rule,
    "exclusiveMinimum": lambda value, rule: not _is(value, "number") or value > rule,
    "exclusiveMaximum": lambda value, rule: not _is(value, "number") or value < rule,
}
NESTED = {"anyOf", "oneOf", "items", "properties", "patternProperties", "additionalProperties", "propertyNames", "$defs"}
NOTES = {"$schema", "title", "description", "default", "examples"}
