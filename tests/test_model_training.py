"""model: the loop learns, every option of it has an effect, and what it saves is what was trained."""

import csv
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from training_parts import ITEMS, Silent, make_features, make_model, question, write_base, write_data
from transformers import AutoModelForCausalLM, AutoTokenizer

from backends.serving.contract import Contract
from backends.work import base_model, train_hf
from backends.work.base_model import Shape
from backends.work.loss_curve import Point
from backends.work.token_rows import TokenRows
from backends.work.train_hf import Machine, Run, mean_loss, rate_factor, told
from llmspec.shelf import sha256_of
from llmspec.spec.model import Training

QUICK = {"epochs": 40, "learning_rate": 1e-2, "batch_tokens": 64, "warmup": 0.1}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    make_features(folder / "f", write_data(folder / "data"))
    return folder / "f"


@pytest.fixture(autouse=True)
def micro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base_model.SHAPES, "tiny", Shape(hidden=48, layers=2, heads=3, head_size=16))


def weights(folder: Path) -> str:
    return sha256_of(folder / "model.safetensors")


def answer(folder: Path, asked: str) -> tuple[str, bool]:
    """What it says, and whether it ended by itself."""
    contract, speller = Contract.load(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = speller.encode(contract.render([{"role": "user", "content": asked}]), add_special_tokens=False).ids
    network = AutoModelForCausalLM.from_pretrained(folder)
    said = network.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=40)
    new = said[0, len(prompt) :].tolist()
    return speller.decode(new), new[-1] in contract.stop_ids


def test_a_small_model_learns_the_rows_and_stops_talking(tmp_path: Path, features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base_model.SHAPES, "tiny", Shape(hidden=96, layers=2, heads=6, head_size=16))
    metrics = make_model(tmp_path / "m", features, training=QUICK | {"epochs": 120, "learning_rate": 3e-3})
    assert metrics["train_loss"] < 0.1
    assert metrics["trainable"] == metrics["parameters"]
    for item in ITEMS[:3]:
        assert answer(tmp_path / "m", question(item)["question"]) == (question(item)["answer"], True)


def test_the_same_spec_gives_the_same_weights_and_another_seed_others(tmp_path: Path, features: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        make_model(tmp_path / name, features, training=QUICK | {"epochs": 3, "seed": seed})
    assert weights(tmp_path / "one") == weights(tmp_path / "two") != weights(tmp_path / "three")


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 2.5},
        {"learning_rate": 1e-3},
        {"batch_tokens": 300},
        {"schedule": "linear"},
        {"schedule": "constant"},
        {"warmup": 0.5},
        {"weight_decay": 0.1},
        {"clip": 0.01},
        {"seed": 3},
    ],
    ids=str,
)
def test_every_option_of_the_loop_has_an_effect(tmp_path: Path, features: Path, change: dict[str, Any]) -> None:
    plain = QUICK | {"epochs": 4}
    make_model(tmp_path / "plain", features, training=plain)
    make_model(tmp_path / "changed", features, training=plain | change)
    assert weights(tmp_path / "plain") != weights(tmp_path / "changed")


def test_how_often_a_checkpoint_is_made_has_none(tmp_path: Path, features: Path) -> None:
    make_model(tmp_path / "plain", features, training=QUICK | {"epochs": 2})
    make_model(tmp_path / "often", features, training=QUICK | {"epochs": 2, "checkpoint_every": "1ms"})
    assert weights(tmp_path / "plain") == weights(tmp_path / "often")


def test_a_step_in_many_passes_is_the_step_in_one(tmp_path: Path, features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    for most in (10_000, 40):
        monkeypatch.setattr(Machine, "micro_tokens", lambda *_, most=most: most)
        make_model(tmp_path / str(most), features, training=QUICK | {"epochs": 3, "batch_tokens": 256})
        with safe_open(tmp_path / str(most) / "model.safetensors", "pt") as file:
            saved.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    # The sums are taken in another order, so not to the bit.
    assert all(torch.allclose(saved[0][name], saved[1][name], atol=2e-4) for name in saved[0])


def test_rates_climb_and_fall_as_the_schedule_says() -> None:
    rates = {
        how: [rate_factor(n, 100, Training(schedule=how, warmup=0.1)) for n in range(100)]
        for how in ("cosine", "linear", "constant")
    }
    for how, curve in rates.items():
        assert curve[:10] == sorted(curve[:10]), how
        assert curve[10] == 1.0
    assert rates["constant"][99] == 1.0
    assert 0 < rates["cosine"][99] < rates["linear"][99] < 0.02
    assert rates["cosine"][55] == pytest.approx(0.5)
    assert rates["linear"][55] == pytest.approx(0.5)


def test_norms_are_not_pulled_towards_zero(tmp_path: Path, features: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(write_base(tmp_path / "base", rows_in_embedding=500))
    rows = TokenRows.load(features / "train.safetensors")
    groups = Run(network, rows, rows, Training(weight_decay=0.3), Machine.here()).optimizer.param_groups
    assert {(weight.ndim, group["weight_decay"]) for group in groups for weight in group["params"]} == {(2, 0.3), (1, 0.0)}


def test_the_folder_is_a_checkpoint_with_the_contract_it_was_trained_under(tmp_path: Path, features: Path) -> None:
    make_model(tmp_path / "m", features, training=QUICK | {"epochs": 1})
    names = {path.relative_to(tmp_path / "m").as_posix() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "contract.json",
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "report/loss.svg", "report/loss.csv",
    }  # fmt: skip
    assert Contract.load(tmp_path / "m") == Contract.load(features)
    said = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert (said["eos_token_id"], said["pad_token_id"]) == (2, 0)
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "m").glob("*.json"))
    assert len(AutoTokenizer.from_pretrained(tmp_path / "m")) == Contract.load(features).vocab_size


def test_the_loss_told_is_that_of_the_saved_checkpoint(tmp_path: Path, features: Path) -> None:
    base = write_base(tmp_path / "base", dtype=torch.bfloat16)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    metrics = make_model(tmp_path / "m", tmp_path / "f", base, training=QUICK | {"epochs": 5})
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert saved.dtype == torch.bfloat16
    held_out = TokenRows.load(tmp_path / "f" / "validation.safetensors")
    assert mean_loss(AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32), held_out, Machine.here()) == (
        pytest.approx(metrics["validation_loss"], rel=1e-6)
    )


def test_the_loss_curve_has_every_step_and_five_looks_at_held_out_rows(tmp_path: Path, features: Path) -> None:
    metrics = make_model(tmp_path / "m", features, training=QUICK | {"epochs": 10})
    with (tmp_path / "m" / "report" / "loss.csv").open(encoding="utf-8") as file:
        curve = list(csv.DictReader(file))
    assert [int(point["step"]) for point in curve] == list(range(metrics["steps"] + 1))
    looks = [float(point["validation_loss"]) for point in curve if point["validation_loss"]]
    assert len(looks) == 5
    assert looks[-1] == pytest.approx(metrics["validation_loss"], rel=1e-6)
    assert looks[0] == pytest.approx(math.log(Contract.load(features).vocab_size), rel=0.1)
    drawn = ElementTree.fromstring((tmp_path / "m" / "report" / "loss.svg").read_text(encoding="utf-8"))
    (training,) = drawn.iterfind("{*}polyline")
    assert len(training.attrib["points"].split()) == metrics["steps"]
    assert len(list(drawn.iterfind("{*}circle"))) == 5, "a dot for each look"


def test_without_held_out_rows_there_is_no_validation_loss(tmp_path: Path, features: Path) -> None:
    rows = TokenRows.load(features / "train.safetensors")
    network = AutoModelForCausalLM.from_pretrained(write_base(tmp_path / "base", rows_in_embedding=500))
    run = Run(network, rows, TokenRows.of([], []), Training(epochs=1), Machine.here())
    run.to_the_end(tmp_path, report := train_hf.Report(Silent()))
    assert all(isinstance(point, Point) and point.validation_loss is None for point in run.state.curve)
    assert "validation_loss" not in told(run, None, report)


def test_a_base_with_too_few_embeddings_gets_the_missing_ones_once(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", rows_in_embedding=330)
    vocab_size = make_features(tmp_path / "f", write_data(tmp_path / "data"), base)["vocab_size"]
    assert vocab_size > 330
    make_model(tmp_path / "m", tmp_path / "f", base, training={"epochs": 1})
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").get_input_embeddings().weight.shape[0] == vocab_size


def test_a_base_with_more_embeddings_than_tokens_keeps_them(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", rows_in_embedding=512)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    make_model(tmp_path / "m", tmp_path / "f", base, training={"epochs": 1})
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").config.vocab_size == 512


def test_a_base_of_another_tokenizer_is_refused(tmp_path: Path, features: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data", [{"question": "Zig?", "answer": "Zag, zag, zag."}]))
    make_model(tmp_path / "base", tmp_path / "f", training={"epochs": 1})
    with pytest.raises(ValueError, match="made with another tokenizer"):
        make_model(tmp_path / "m", features, tmp_path / "base", training={"epochs": 1})


def test_a_trained_model_is_a_base_for_the_next(tmp_path: Path, features: Path) -> None:
    make_model(tmp_path / "first", features, training=QUICK | {"epochs": 2})
    make_features(tmp_path / "f", write_data(tmp_path / "data"), tmp_path / "first")
    assert Contract.load(tmp_path / "f").tokenizer == Contract.load(features).tokenizer
    metrics = make_model(tmp_path / "second", tmp_path / "f", tmp_path / "first", training=QUICK | {"epochs": 2})
    assert metrics["steps"] > 0


def test_an_already_quantized_base_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ValueError, match="quantized already"):
        make_model(tmp_path / "m", tmp_path / "f", base)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_the_same_rows_from_packed_sequences(tmp_path: Path, features: Path) -> None:
    metrics = make_model(tmp_path / "m", features, training=QUICK)
    assert Machine.here().on_gpu
    assert metrics["train_loss"] < 0.3
