"""int4: weights in blocks along the rows that a product reads, each block with a scale and a zero of its own.

Scale and zero are those with the least squared error that a search finds: a fifth less than with the block's range in sixteen
equal steps. Blocks of 32 and no larger ones: ONNX Runtime reads blocks of 64 and 128 faster, but rounds a lone row otherwise
than two at once, so a request's answer would depend on who else is there.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from backends.work.rewrites.rewriting import FP32, Rewriting, weights

UINT8 = npt.NDArray[np.uint8]
BLOCK = 32
_TOP = 15
_SHRINKS = np.linspace(0.6, 1.05, 16, dtype=np.float32)
"""Of a block's range: a little less of it costs the outermost numbers and serves all others."""
_AT_ONCE = 1 << 16
"""Blocks that are searched at once: they fit into a processor's cache."""
INT8_INSIDE = 4
"""accuracy_level: activations are rounded to int8 by block, so that the products are of integers."""


def quantize(weight: FP32, block: int = BLOCK) -> tuple[UINT8, FP32, UINT8]:
    """[N, K] -> [N, blocks, block] of 0 … 15, scales [N, blocks] and zeros [N, blocks]: w is (q - zero) * scale."""
    width = -(-weight.shape[1] // block) * block
    padded = np.pad(weight, ((0, 0), (0, width - weight.shape[1]))).reshape(-1, block)
    found = [_searched(padded[start : start + _AT_ONCE]) for start in range(0, len(padded), _AT_ONCE)]
    numbers, scales, zeros = (np.concatenate(part) for part in zip(*found, strict=True))
    shape = (weight.shape[0], width // block)
    return numbers.reshape(*shape, block), scales.reshape(shape), zeros.reshape(shape)


def _searched(blocks: FP32) -> tuple[UINT8, FP32, UINT8]:
    low = np.minimum(blocks.min(axis=1, keepdims=True), 0)
    high = np.maximum(blocks.max(axis=1, keepdims=True), 0)
    whole = np.maximum((high - low) / _TOP, 1e-10)
    zeros = np.clip(np.rint(-low / whole), 0, _TOP)
    scales, least = whole, np.full_like(whole, np.inf)
    for shrink in _SHRINKS:
        tried = whole * shrink
        numbers = _rounded(blocks, tried, zeros)
        fitted = (numbers * blocks).sum(1, keepdims=True) / np.maximum((numbers * numbers).sum(1, keepdims=True), 1e-10)
        tried = np.where(fitted > 0, fitted, tried)
        error = np.square(_rounded(blocks, tried, zeros) * tried - blocks).sum(1, keepdims=True)
        better = error < least
        scales, least = np.where(better, tried, scales), np.where(better, error, least)
    numbers = _rounded(blocks, scales, zeros) + zeros
    return numbers.astype(np.uint8), scales.astype(np.float32), zeros.astype(np.uint8)


def _rounded(blocks: FP32, scales: FP32, zeros: FP32) -> FP32:
    rounded: FP32 = np.clip(np.rint(blocks / scales), -zeros, _TOP - zeros)
    return rounded


def packed(numbers: UINT8) -> UINT8:
    """Two in a byte along the last axis, the first in its lower half; an odd last one has a neighbour of zero."""
    if numbers.shape[-1] % 2:
        numbers = np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, 1)])
    return np.bitwise_or(numbers[..., 0::2], np.left_shift(numbers[..., 1::2], 4), dtype=np.uint8)


class _Int4(Rewriting):
    """Weights by block; activations stay fp32 in the graph."""

    def weight(self, name: str, weight: FP32) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Numbers [N, blocks, bytes], scales [N, blocks] and zeros [N, bytes] of a matrix [N, K], made once."""
        if f"{name}.int4" not in self.graph.initializers:
            numbers, scales, zeros = quantize(weight)
            self.constant(f"{name}.int4", packed(numbers))
            self.constant(f"{name}.scales", scales)
            self.constant(f"{name}.zeros", packed(zeros))
        found = self.graph.initializers
        return found[f"{name}.int4"], found[f"{name}.scales"], found[f"{name}.zeros"]

    def product(self, node: ir.Node) -> None:
        x, w = node.inputs
        assert x is not None
        assert w is not None
        matrix = weights(w).T
        inputs = [x, *self.weight(str(w.name), matrix)]
        size = {"K": matrix.shape[1], "N": matrix.shape[0], "bits": 4, "block_size": BLOCK, "accuracy_level": INT8_INSIDE}
        self.replace(node, self.before(node, "MatMulNBits", inputs, f"{node.name}/int4", domain="com.microsoft", **size))

    def embedding(self, node: ir.Node, table: ir.Value) -> None:
        """The table [V, H] is looked up in int4. Tied to the output head, both are the same bytes."""
        ids = node.inputs[1]
        assert ids is not None
        matrix, source = weights(table), node.inputs[0]
        assert source is not None
        producer = source.producer()
        tied = producer.inputs[0] if producer is not None else None
        numbers, scales, zeros = self.weight(str(tied.name if tied is not None else table.name), matrix)
        flat = self.constant(f"{numbers.name}.flat", np.array([matrix.shape[0], -1], np.int64))
        rows = self.before(node, "Reshape", [numbers, flat], f"{node.name}/flat")
        look = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        inputs = [rows, ids, scales, zeros]
        found = self.before(node, "GatherBlockQuantized", inputs, f"{node.name}/int4", domain="com.microsoft", **look)
        if matrix.shape[1] % BLOCK:
            edges = [self.constant(f"int4.{what}", np.array([at], np.int64)) for what, at in self._edges(matrix.shape[1])]
            found = self.before(node, "Slice", [found, *edges], f"{node.name}/cut")
        self.replace(node, found)

    @staticmethod
    def _edges(width: int) -> list[tuple[str, int]]:
        """Slice's start, end and axis: what a last block was filled up with is no part of a word."""
        return [("start", 0), (f"end.{width}", width), ("last", -1)]


def rewrite(model: ir.Model) -> int:
    """An fp32 decoder becomes an int4 one. Returns how many products changed."""
    return _Int4(model.graph).all()
