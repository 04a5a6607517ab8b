"""The model is taken out of the store: as transformers loads it and Bedrock imports it, or as it is served."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Project

from backends.serving.contract import Contract
from llmspec.errors import CallError
from llmspec.export import IMPORTED, check_importable

if TYPE_CHECKING:
    from moto_parts import Moto

pytest_plugins = ["moto_parts"]


def model_of(shop: Project) -> Path:
    return next(path.parent for path in shop.store.glob("tiny/model/*/config.json"))


def test_exported_weights_load_in_transformers_and_say_the_same_tokens(applied: Project) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    said = applied.run("export", "tiny.yaml", "--form", "hf", "--to", "out").stdout
    assert "out: the model of release 1, " in said
    out, own = applied.folder / "out", model_of(applied)
    assert {path.name for path in out.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    contract = Contract.load(own)
    asked = [{"role": "user", "content": "Where do I find lamp number 7?"}]
    tokens = []
    for folder in (out, own):
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
        assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == contract.render(asked)
        prompt = tokenizer(contract.render(asked), add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            tokens.append(model.generate(prompt, max_new_tokens=12, do_sample=False)[0].tolist())
    assert tokens[0] == tokens[1]
    assert json.loads((out / "tokenizer_config.json").read_text())["chat_template"] == contract.template


def test_the_manifest_names_every_file_by_its_hash_and_nothing_is_overwritten(applied: Project) -> None:
    applied.run("export", "tiny.yaml", "--form", "onnx", "--to", "out")
    out = applied.folder / "out"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["form"], manifest["release"]) == ("onnx", 1)
    assert {"model.onnx", "contract.json", "tokenizer.json"} <= set(manifest["files"])
    for name, file in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == file["sha256"]
    again = applied.run("export", "tiny.yaml", "--form", "hf", "--to", "out", check=False)
    assert (again.returncode, "is not empty, and nothing is overwritten" in again.stderr) == (2, True)
    assert json.loads((out / "manifest.json").read_text()) == manifest


def test_what_is_live_is_exported_although_a_newer_model_was_made(applied: Project) -> None:
    live = model_of(applied)
    applied.edit("learning_rate: 1.0e-3", "learning_rate: 2.0e-3").run("apply", "tiny.yaml", "--yes", "--select", "model")
    made = json.loads(applied.run("export", "tiny.yaml", "--form", "hf", "--to", "out", "-o", "json").stdout)
    assert (made["key"], made["release"]) == (live.name, 1)
    weights = (applied.folder / "out" / "model.safetensors").read_bytes()
    assert weights == (live / "model.safetensors").read_bytes()


def test_a_damaged_model_is_not_exported(applied: Project) -> None:
    weights = model_of(applied) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    failed = applied.run("export", "tiny.yaml", "--form", "hf", "--to", "out", check=False)
    assert failed.returncode != 0
    assert not (applied.folder / "out").exists()


def test_an_architecture_that_bedrock_does_not_import_is_refused_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    with pytest.raises(CallError, match="GPT2LMHeadModel is no architecture that Bedrock imports") as refused:
        check_importable(tmp_path)
    assert all(name in str(refused.value) for name in IMPORTED)
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    check_importable(tmp_path)


def test_nothing_that_was_made_is_nothing_to_export(project: Project) -> None:
    failed = project.run("export", "tiny.yaml", "--form", "hf", "--to", "out", check=False)
    assert (failed.returncode, failed.stderr.splitlines()[0]) == (2, "tiny has no model yet")


@pytest.mark.aws
def test_it_goes_to_s3_as_an_import_job_reads_it(applied: Project, aws: "Moto") -> None:
    bucket = aws.bucket()
    applied.env |= aws.env
    applied.run("export", "tiny.yaml", "--form", "hf", "--to", f"s3://{bucket}/import/tiny")
    names = {key.removeprefix("import/tiny/") for key in aws.keys(bucket)}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "manifest.json"} <= names
    listed = json.loads(aws.body(bucket, "import/tiny/manifest.json"))["files"]
    assert hashlib.sha256(aws.body(bucket, "import/tiny/model.safetensors")).hexdigest() == listed["model.safetensors"]["sha256"]
