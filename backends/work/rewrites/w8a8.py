"""int8 that batches: each row of activations has a scale of its own, each column of weights too (w8a8).

ONNX Runtime's own dynamic quantization takes one scale per tensor, so requests in one batch change each other's answers.
Here a row's numbers depend on that row alone: round(x / s) in int8, an exact integer product, one multiplication back.
CPUs with VNNI or AMX (and ARM with dot products) do it several times faster than fp32. On older x86 the engine asks for the slower
product that is as exact (`backends/serving/sums.py`): the quick one there clips sums of two products at 16 bits.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from backends.work.rewrites.rewriting import FP32, Rewriting, weights

_LARGEST = 127


def quantize_columns(weight: FP32) -> tuple[npt.NDArray[np.int8], FP32]:
    """[K, N] fp32 -> [K, N] int8 and [N] scales; symmetric, so zero stays zero."""
    scales = (np.maximum(np.abs(weight).max(axis=0), 1e-8) / _LARGEST).astype(np.float32)
    return np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST).astype(np.int8), scales


class _W8A8(Rewriting):
    """Activations by row, weights by column."""

    def __init__(self, graph: ir.Graph):
        super().__init__(graph)
        self.rows: dict[str, tuple[ir.Value, ir.Value]] = {}
        """Activation -> its int8 form and the largest of each row, shared by the products that read it."""
        self.one = self.constant("w8a8.one", np.array(1, np.float32))
        self.step = self.constant("w8a8.step", np.array(1 / _LARGEST, np.float32))
        self.last_axis = self.constant("w8a8.last_axis", np.array([-1], np.int64))
        self.middle = self.constant("w8a8.middle", np.array(128, np.uint8))

    def weight(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The int8 form and the scales of an initializer, made once."""
        name = str(value.name)
        if f"{name}.int8" not in self.graph.initializers:
            quantized, scales = quantize_columns(weights(value))
            self.constant(f"{name}.int8", quantized)
            self.constant(f"{name}.scales", scales / _LARGEST)  # the rows' step too: what is left to multiply by is their largest
        return self.graph.initializers[f"{name}.int8"], self.graph.initializers[f"{name}.scales"]

    def row(self, node: ir.Node, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The int8 form of an activation, and the largest number of each of its rows."""
        if str(value.name) not in self.rows:
            name = f"{node.name}/rows"
            size = self.before(node, "Abs", [value], f"{name}/Abs")
            largest = self.before(node, "ReduceMax", [size, self.last_axis], f"{name}/ReduceMax", keepdims=1)
            # -1 … 1. Nothing guards a row of zeros: what 0/0 becomes in int8 is a whole number, and 0 once multiplied back.
            unit = self.before(node, "Div", [value, largest], f"{name}/Div")
            int8 = self.before(node, "QuantizeLinear", [unit, self.step, self.middle], f"{name}/QuantizeLinear")
            self.rows[str(value.name)] = int8, largest
        return self.rows[str(value.name)]

    def product(self, node: ir.Node) -> None:
        """x [.., K] @ W [K, N], in int8."""
        x, w = node.inputs
        assert x is not None
        assert w is not None
        (rows, largest), (columns, scales) = self.row(node, x), self.weight(w)
        inputs = [rows, columns, self.one, scales, self.middle]
        whole = self.before(node, "MatMulIntegerToFloat", inputs, f"{node.name}/int8", domain="com.microsoft")
        self.replace(node, self.before(node, "Mul", [whole, largest], f"{node.name}/rescale"))

    def embedding(self, node: ir.Node, table: ir.Value) -> None:
        """A table [V, H] is looked up in int8, a scale per word; tied to the output head, it has that one's scales."""
        ids = node.inputs[1]
        assert ids is not None
        name = str(table.name)
        quantized, scales = quantize_columns(weights(table).T)
        words = self.constant(f"{name}.words", np.ascontiguousarray(quantized.T))
        word_scales = self.constant(f"{name}.word_scales", scales[:, None])
        found = self.before(node, "Gather", [words, ids], f"{node.name}/int8", axis=0)
        found = self.before(node, "Cast", [found], f"{node.name}/Cast", to=int(ir.DataType.FLOAT))
        scale = self.before(node, "Gather", [word_scales, ids], f"{node.name}/scale", axis=0)
        self.replace(node, self.before(node, "Mul", [found, scale], f"{node.name}/rescale"))


def rewrite(model: ir.Model) -> int:
    """An fp32 decoder becomes a w8a8 one. Returns how many products changed."""
    return _W8A8(model.graph).all()
