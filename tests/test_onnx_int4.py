"""int4: weights in blocks, and the search for the scale and zero that lose least."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from backends.work.rewrites import int4

RANDOM = np.random.default_rng(0)


def rounded(weight: np.ndarray, block: int) -> np.ndarray:
    """What a search must beat: the range in sixteen equal steps."""
    blocks = weight.reshape(-1, block)
    low, high = np.minimum(blocks.min(1, keepdims=True), 0), np.maximum(blocks.max(1, keepdims=True), 0)
    scale = (high - low) / 15
    zero = np.rint(-low / scale)
    return ((np.clip(np.rint(blocks / scale) + zero, 0, 15) - zero) * scale).reshape(weight.shape)


def restored(weight: np.ndarray, block: int = int4.BLOCK) -> np.ndarray:
    numbers, scales, zeros = int4.quantize(weight, block)
    whole = (numbers.astype(np.float32) - zeros[..., None]) * scales[..., None]
    return whole.reshape(weight.shape[0], -1)[:, : weight.shape[1]]


def loss(weight: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(weight - other).sum() / np.square(weight).sum())


@pytest.mark.parametrize("draw", [RANDOM.normal, lambda size: RANDOM.standard_t(4, size)], ids=["normal", "heavy tails"])
def test_the_search_loses_less_than_rounding(draw) -> None:
    weight = draw(size=(200, 512)).astype(np.float32)
    assert loss(weight, restored(weight)) < 0.95 * loss(weight, rounded(weight, int4.BLOCK))


def test_zero_stays_zero_and_a_block_of_one_sign_uses_all_its_steps() -> None:
    weight = np.concatenate([np.zeros((1, 128)), np.abs(RANDOM.normal(size=(1, 128)))]).astype(np.float32)
    again = restored(weight)
    assert not again[0].any()
    assert len(np.unique(again[1])) > 30, "four blocks with steps of their own"


def test_a_width_that_no_block_divides_is_filled_up_with_what_nobody_reads() -> None:
    weight = RANDOM.normal(size=(64, 200)).astype(np.float32)
    numbers, scales, _ = int4.quantize(weight)
    assert numbers.shape == (64, 7, 32)
    assert scales.shape == (64, 7)
    assert loss(weight, restored(weight)) < 0.007


def test_two_numbers_lie_in_a_byte_the_first_below() -> None:
    assert int4.packed(np.array([[1, 2, 3]], np.uint8)).tolist() == [[0x21, 0x03]]


@pytest.mark.parametrize("width", [256, 200])
def test_the_runtime_computes_and_looks_up_with_the_numbers_that_were_meant(width: int) -> None:
    """A tied table: looked up, and as the head it is multiplied with what was found."""
    table = RANDOM.normal(size=(48, width)).astype(np.float32)
    head = ir.Value(name="head", const_value=ir.tensor(np.ascontiguousarray(table.T)))
    ids = ir.val("ids", ir.DataType.INT64, ["n"])
    turned = ir.node("Transpose", [head], {"perm": [1, 0]}, name="turned")
    found = ir.node("Gather", [turned.outputs[0], ids], {"axis": 0}, name="found")
    product = ir.node("MatMul", [found.outputs[0], head], name="product")
    for value, kind, shape in ((found.outputs[0], "words", ["n", width]), (product.outputs[0], "logits", ["n", 48])):
        value.name, value.type, value.shape = kind, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    nodes = [turned, found, product]
    graph = ir.Graph(
        [ids], [found.outputs[0], product.outputs[0]], nodes=nodes, initializers=[head], opset_imports={"": 21, "com.microsoft": 1}
    )
    model = ir.Model(graph, ir_version=10)

    assert int4.rewrite(model) == 1
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    assert sum(name.endswith(".int4") for name in graph.initializers) == 1, "look-up and head are the same bytes"

    words, logits = ort.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, {"ids": np.arange(48)})
    meant = restored(table)
    np.testing.assert_allclose(words, meant, atol=1e-5)
    np.testing.assert_allclose(logits, meant @ meant.T, atol=0.02 * np.abs(meant @ meant.T).max())
