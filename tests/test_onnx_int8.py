"""w8a8: every product of weights in int8, each row by its own measure."""

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx_parts import artifact, features, graph_of, model, report

from backends.serving.decoder import options
from backends.work.export_onnx import export
from backends.work.rewrites import w8a8


def run(path: Path, ids: np.ndarray, lengths: list[int]) -> np.ndarray:
    session = ort.InferenceSession(str(path), options(1), providers=["CPUExecutionProvider"])
    mask = (np.arange(ids.shape[1])[None, :] < np.array(lengths)[:, None]).astype(np.int64)
    past = {
        f"past_key_values.{layer}.{side}": np.zeros((len(ids), 1, 0, 32), np.float32)
        for layer in range(2)
        for side in ("key", "value")
    }
    every = np.arange(ids.size)
    logits = session.run(["logits"], {"input_ids": ids, "attention_mask": mask, "logit_rows": every, **past})[0]
    return logits.reshape(*ids.shape, -1)


def test_int8_logits_are_the_same_to_the_bit_alone_and_in_a_batch() -> None:
    path = artifact("int8")[0] / "model.onnx"
    lengths = [40, 13, 27, 5, 31, 1, 40, 8]
    ids = np.random.default_rng(0).integers(6, 300, (len(lengths), 40))
    together = run(path, ids, lengths)
    for index, length in enumerate(lengths):
        alone = run(path, ids[index : index + 1, :length], [length])
        assert np.array_equal(alone[0], together[index, :length])


def test_every_product_of_weights_becomes_int8() -> None:
    kinds = graph_of(artifact("int8")[0])
    assert "MatMul" not in kinds
    assert kinds.count("MatMulIntegerToFloat") == kinds.count("QuantizeLinear") == 2 * 4 + 1, "gate and up are one"


def test_a_row_of_zeros_makes_zeros_and_leaves_its_neighbours_alone() -> None:
    x, w = ir.val("x", ir.DataType.FLOAT, ["n", 64]), np.random.default_rng(4).normal(size=(64, 48)).astype(np.float32)
    weight = ir.Value(name="w", const_value=ir.tensor(w))
    product = ir.node("MatMul", [x, weight], name="product")
    (y,) = product.outputs
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["n", 48])
    opsets = {"": 18, "com.microsoft": 1}
    made = ir.Model(ir.Graph([x], [y], nodes=[product], initializers=[weight], opset_imports=opsets), ir_version=9)
    assert w8a8.rewrite(made) == 1
    rows = np.random.default_rng(5).normal(size=(6, 64)).astype(np.float32)
    rows[[1, 4]] = 0
    (found,) = ort.InferenceSession(ir.to_proto(made).SerializeToString(), options(1)).run(None, {"x": rows})
    assert not found[[1, 4]].any()
    np.testing.assert_allclose(found, rows @ w, atol=0.02 * np.abs(rows @ w).max())


def test_an_untied_embedding_is_rewritten_too(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    other, output = tmp_path / "model", tmp_path / "out"
    shutil.copytree(model(), other)
    output.mkdir()
    llama = LlamaForCausalLM.from_pretrained(other)
    llama.config.tie_word_embeddings = False
    llama.lm_head.weight = torch.nn.Parameter(llama.model.embed_tokens.weight.detach().clone())
    llama.save_pretrained(other)
    numbers = export({"onnx": {"precision": "int8"}}, {"model": other, "features": features()}, output, report())
    assert numbers["parity_tokens"] >= 0.98
    assert numbers["megabytes"] == pytest.approx(artifact("int8")[1]["megabytes"], rel=0.1)


def test_columns_come_back_within_half_a_step() -> None:
    weight = np.random.default_rng(1).normal(size=(50, 7)).astype(np.float32)
    weight[:, 3] = 0
    quantized, scales = w8a8.quantize_columns(weight)
    assert np.abs(quantized * scales - weight).max() <= scales.max() / 2 + 1e-6
    assert not quantized[:, 3].any()
