"""onnx: the artifact says what the model says, in every precision, and is the same bytes each time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx_parts import Silent, artifact, features, graph_of, model, report

from backends.serving.contract import Contract
from backends.serving.decoder import Decoder
from backends.work.export_onnx import build, export
from backends.work.parity import agreement, hear_artifact, hear_model, held_out
from backends.work.report import Report
from backends.work.rewrites import silu, wide_products
from llmspec.errors import BlockedError, PlaceError

PRECISIONS = ["fp32", "int8", "int4"]


def inputs() -> dict[str, Path]:
    return {"model": model(), "features": features()}


def bytes_of(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_fp32_says_exactly_what_the_model_says() -> None:
    _, numbers = artifact("fp32")
    assert numbers["parity_tokens"] == 1.0
    assert numbers["parity_perplexity"] == pytest.approx(1.0, abs=1e-4)
    assert numbers["compared_rows"] == 12


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_artifact_stays_close_to_a_trained_model(precision: str) -> None:
    _, numbers = artifact(precision)
    assert numbers["parity_tokens"] >= 0.98
    assert numbers["parity_perplexity"] <= 1.05


def test_each_precision_is_smaller_than_the_one_before() -> None:
    fp32, int8, int4 = (artifact(precision)[1]["megabytes"] for precision in PRECISIONS)
    assert fp32 > int8 > int4


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_artifact_holds_what_serving_needs_and_nothing_else(precision: str) -> None:
    folder, _ = artifact(precision)
    assert set(bytes_of(folder)) == {
        "model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json", "contract.json",
    }  # fmt: skip
    assert Contract.load(folder) == Contract.load(model())
    assert (folder / "tokenizer.json").read_bytes() == (model() / "tokenizer.json").read_bytes()
    shape = json.loads((folder / "genai_config.json").read_text())["model"]
    assert (shape["decoder"]["num_hidden_layers"], shape["decoder"]["head_size"], shape["context_length"]) == (2, 32, 256)


EXPORT_AGAIN = """
import sys
from pathlib import Path
from backends.work.export_onnx import build, export
from onnx_parts import report
model, features, *outputs = map(Path, sys.argv[1:])
for output in outputs:
    export({"onnx": {"precision": output.name}}, {"model": model, "features": features}, output, report())
"""


def test_another_process_in_another_folder_writes_the_same_bytes(tmp_path: Path) -> None:
    moved, outputs = tmp_path / "moved", [tmp_path / "int8", tmp_path / "int4"]
    shutil.copytree(model(), moved)
    for output in outputs:
        output.mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    command = [sys.executable, "-c", EXPORT_AGAIN, str(moved), str(features()), *map(str, outputs)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "5"})
    for output in outputs:
        assert bytes_of(output) == bytes_of(artifact(output.name)[0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_artifact_names_no_folder_and_no_commit(precision: str) -> None:
    folder, _ = artifact(precision)
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(folder.parent).encode() not in content
    assert "+" not in onnx.load(folder / "model.onnx", load_external_data=False).producer_version


def test_what_a_killed_export_left_behind_is_gone(tmp_path: Path) -> None:
    (tmp_path / ".build").mkdir()
    (tmp_path / ".build/model.onnx").write_text("half")
    (tmp_path / "model.onnx.data").write_text("half")
    export({"onnx": {"precision": "int4"}}, inputs(), tmp_path, report())
    assert bytes_of(tmp_path) == bytes_of(artifact("int4")[0])


def test_a_broken_artifact_is_found_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(artifact("fp32")[0], broken)
    graph = onnx.load(broken / "model.onnx")
    weight = next(item for item in graph.graph.initializer if item.name == "model.layers.1.mlp.down_proj.MatMul.weight")
    weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * -3).tobytes()
    (broken / "model.onnx.data").unlink()
    onnx.save(graph, broken / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    rows = held_out(features())
    numbers = agreement(hear_model(model(), rows, lambda: None), hear_artifact(broken, rows, lambda: None))
    assert numbers["parity_tokens"] < 0.9
    assert numbers["parity_perplexity"] > 1.2


def test_rows_are_compared_only_where_training_taught_something() -> None:
    rows = held_out(features())
    _, numbers = artifact("fp32")
    assert numbers["compared_tokens"] == sum(int(row.loss.sum()) for row in rows) < sum(len(row) for row in rows)


def test_features_of_another_contract_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "features"
    shutil.copytree(features(), other)
    contract = Contract.load(other)
    type(contract)(**{**vars(contract), "system_prompt": "Be brief."}).save(other)
    with pytest.raises(BlockedError, match="train it again"):
        export({"onnx": {"precision": "fp32"}}, {"model": model(), "features": other}, tmp_path, report())


def test_fp16_asks_for_a_gpu_before_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BlockedError, match="fp16 is for a GPU, and onnxruntime sees none here"):
        export({"onnx": {"precision": "fp16"}}, inputs(), tmp_path, report())


def test_an_exchanged_tokenizer_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(model(), other)
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text().replace("<|pad|>", "<|qad|>"))
    with pytest.raises(BlockedError, match="not the tokenizer its contract names"):
        export({"onnx": {"precision": "fp32"}}, {"model": other, "features": features()}, tmp_path, report())


def test_an_architecture_the_builder_does_not_know_is_named(tmp_path: Path) -> None:
    other, output = tmp_path / "model", tmp_path / "out"
    shutil.copytree(model(), other)
    output.mkdir()
    settings = json.loads((other / "config.json").read_text()) | {"architectures": ["GPT2LMHeadModel"]}
    (other / "config.json").write_text(json.dumps(settings))
    with pytest.raises(PlaceError, match=r"GPT2LMHeadModel.*does not know this architecture"):
        export({"onnx": {"precision": "fp32"}}, {"model": other, "features": features()}, output, report())


def test_the_comparison_reports_its_progress_and_the_builder_keeps_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    heard = Silent()
    export({"onnx": {"precision": "fp32"}}, inputs(), tmp_path, Report(heard))
    assert heard.events[-1]["done"] == heard.events[-1]["total"] == 24
    assert "Reading layer" not in "".join(capfd.readouterr()) + "".join(heard.lines)


# logit_rows


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_logits_that_are_asked_for_are_those_of_their_rows(precision: str) -> None:
    decoder = Decoder(artifact(precision)[0], slots=3, max_len=40, threads=1)
    tokens = np.random.default_rng(3).integers(6, 300, (1, 30))
    every = decoder.forward(0, tokens, np.array([30])).copy()
    wanted = np.array([29, 3, 3])
    some = decoder.forward(0, tokens, np.array([30]), wanted)
    np.testing.assert_allclose(some, every[wanted], atol=1e-4)


def test_what_a_model_does_to_its_logits_is_done_to_those_asked_for(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

    other = tmp_path / "model"
    shutil.copytree(model(), other)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(2)
    vocab_size = Contract.load(other).vocab_size
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=vocab_size, **size, head_dim=16, initializer_range=0.5, final_logit_softcapping=5.0, sliding_window=24
        )
    ).save_pretrained(other)
    (output := tmp_path / "out").mkdir()
    build(other, output, "fp32", report())
    tokens = np.random.default_rng(3).integers(6, 300, (1, 12))
    found = Decoder(output, slots=1, max_len=16, threads=1).forward(0, tokens, np.array([12]), np.array([11, 4]))
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(other)(torch.from_numpy(tokens)).logits[0, [11, 4]].numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert np.abs(expected).max() > 3, "the cap must bite"


# the number of rows, and what is beside them


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_logits_to_the_bit_alone_and_among_others(precision: str, threads: int) -> None:
    decoder = Decoder(artifact(precision)[0], slots=16, max_len=250, threads=threads)
    dice = np.random.default_rng(0)
    for memory in (side for pair in decoder.memories for side in pair):
        memory[:] = dice.normal(size=memory.shape)
    lengths, tokens = dice.integers(2, 250, 16), dice.integers(6, 300, (16, 1))
    alone = [decoder.forward(slot, tokens[[slot]], lengths[[slot]])[0].copy() for slot in range(16)]
    for rows in (2, 3, 7, 16):
        assert np.array_equal(decoder.forward(0, tokens[:rows], lengths[:rows]), alone[:rows])


@pytest.mark.parametrize("slots", [3, 4])
def test_rows_that_go_in_pairs_leave_the_slot_beside_them_as_it_was(slots: int) -> None:
    decoder = Decoder(artifact("int4")[0], slots=slots, max_len=100, threads=1)
    prompts = np.random.default_rng(5).integers(6, 300, (slots, 20))
    for slot, prompt in enumerate(prompts):
        decoder.read(slot, prompt.tolist(), 0, 20)
    before, beside = decoder.get(0, 0, 20), decoder.get(slots - 1, 0, 20)
    decoder.paired = True
    rows, lengths = prompts[:3, :1], np.full(3, 21)
    logits = decoder.forward(0, rows, lengths).copy()
    assert np.array_equal(decoder.get(slots - 1, 0, 20), beside)
    assert np.array_equal(decoder.get(0, 0, 20), before)
    for row in range(3):
        assert np.array_equal(decoder.forward(row, rows[row : row + 1], lengths[:1])[0], logits[row])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_prompt_has_the_same_logits_to_the_bit_wherever_it_is_cut(precision: str) -> None:
    decoder = Decoder(artifact(precision)[0], slots=1, max_len=100, threads=2)
    tokens = np.random.default_rng(1).integers(6, 300, (1, 96))

    def read(cut: int) -> np.ndarray:
        starts = range(0, 96, cut)
        return np.concatenate([decoder.forward(0, tokens[:, at : at + cut], np.array([min(at + cut, 96)])).copy() for at in starts])

    for cut in (2, 5, 31, 48):
        assert np.array_equal(read(cut)[:95], read(96)[:95]), "pieces of 5 leave one token alone at the end"
    np.testing.assert_allclose(read(1), read(96), atol=0.5 if precision != "fp32" else 1e-3)


@pytest.mark.parametrize("rewriting", [wide_products, silu])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_fewer_operators_change_no_number(
    precision: str, rewriting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path, artifact(precision)[0]
    monkeypatch.setattr(rewriting, "rewrite", lambda _: 0)
    build(model(), tmp_path, precision, report())
    tokens = np.random.default_rng(2).integers(6, 300, (1, 60))
    many, few = (Decoder(folder, 1, 100, 2).forward(0, tokens, np.array([60])) for folder in folders)
    assert np.array_equal(many, few)
    before, after = map(graph_of, folders)
    product = "MatMul" if precision == "fp32" else "MatMulNBits"
    fewer = {wide_products: product, silu: "Sigmoid"}[rewriting]
    assert before.count(fewer) == after.count(fewer) + 2, "one less in each of two layers"
