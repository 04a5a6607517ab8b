"""Sums of int8 products are exact on every processor, by the quick product wherever that is."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from backends.serving import sums
from backends.serving.decoder import session


def test_int8_sums_are_not_clipped_on_any_processor(tmp_path: Path) -> None:
    rows, columns = np.full((3, 64), 255, np.uint8), np.full((64, 5), 127, np.int8)
    given = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("w", columns), ("one", np.float32(1)), ("scales", np.ones(5, np.float32)), ("zero", np.uint8(0)))
    ]
    product = onnx.helper.make_node("MatMulIntegerToFloat", ["x", "w", "one", "scales", "zero"], ["y"], domain="com.microsoft")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [None, 64])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 5])
    graph = onnx.helper.make_graph([product], "product", [x], [y], given)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "product.onnx")
    (found,) = session(tmp_path / "product.onnx", 1).run(None, {"x": rows})
    assert np.array_equal(found, np.full((3, 5), 64 * 255 * 127, np.float32))


def test_the_exact_product_which_is_slow_is_asked_for_only_where_the_quick_one_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    if "avx2" in flags:
        assert sums.quick_is_exact() == bool(flags & {"avx512_vnni", "avx_vnni"})
    assert sums.settings() == ({} if sums.quick_is_exact() else sums.EXACT)

    class Clipping:
        """Adds two products in 16 bits, but for a lone row."""

        def __init__(self, graph: bytes, providers: list[str]):
            assert graph == sums.PRODUCT

        def run(self, _: None, given: dict[str, Any]) -> list[Any]:
            products = given["a"].astype(int)[:, :, None] * given["b"].astype(int)[None]
            pairs = products.reshape(len(products), -1, 2, products.shape[2]).sum(2)
            return [(pairs if len(pairs) == 1 else pairs.clip(-(2**15), 2**15 - 1)).sum(1)]

    monkeypatch.setattr(sums.ort, "InferenceSession", Clipping)
    tried = sums.quick_is_exact.__wrapped__()  # what is remembered of this processor stays
    monkeypatch.setattr(sums, "quick_is_exact", lambda: tried)
    assert sums.settings() == sums.EXACT


def test_the_product_that_is_tried_is_one_of_uint8_and_int8() -> None:
    (a, b, y) = (
        onnx.helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("a", onnx.TensorProto.UINT8, ["m", "k"]),
            ("b", onnx.TensorProto.INT8, ["k", "n"]),
            ("y", onnx.TensorProto.INT32, ["m", "n"]),
        )
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "g", [a, b], [y])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 10)], ir_version=4)
    assert made.SerializeToString() == sums.PRODUCT
