"""Products that read the same rows become one wide product: gate and up, and q, k and v where the builder left them apart.

A step with few rows waits more for its threads to start than for their work, so fewer and wider products are faster. Each
column is computed as before: no number changes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

COLUMNS = {"MatMul": 1, "MatMulNBits": 0}
"""Product: the axis of its weights along which the outputs lie."""


def rewrite(model: ir.Model) -> int:
    """Returns how many wide products were made."""
    groups: dict[tuple[object, ...], list[ir.Node]] = {}
    for node in model.graph:
        if node.op_type in COLUMNS and all(value is None or value.const_value is not None for value in node.inputs[1:]):
            groups.setdefault((node.inputs[0], *_kind(node)), []).append(node)
    alike = [nodes for nodes in groups.values() if len(nodes) > 1]
    for nodes in alike:
        _join(model.graph, nodes)
    return len(alike)


def _kind(node: ir.Node) -> Iterable[object]:
    """What two products must share: all but their outputs' number."""
    yield node.op_type
    yield from sorted((name, attribute.value) for name, attribute in node.attributes.items() if name != "N")
    yield from (value is None for value in node.inputs)


def _join(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    first, axis = nodes[0], COLUMNS[nodes[0].op_type]
    name = f"{first.name}/wide"
    parts = [[node.inputs[index] for node in nodes] for index in range(1, len(first.inputs))]
    weights = [_concatenated(graph, values, axis, f"{name}.{index}") for index, values in enumerate(parts)]
    widths = [_width(node) for node in nodes]
    attributes = {key: attribute.value for key, attribute in first.attributes.items()}
    if "N" in attributes:
        attributes["N"] = sum(widths)
    wide = ir.node(first.op_type, [first.inputs[0], *weights], attributes, domain=first.domain, name=name)
    sizes = _initializer(graph, f"{name}.sizes", np.array(widths, np.int64))
    split = ir.node("Split", [wide.outputs[0], sizes], {"axis": -1}, num_outputs=len(nodes), name=f"{name}/Split")
    wide.outputs[0].name = f"{name}/output_0"
    graph.insert_before(first, [wide, split])
    for node, part in zip(nodes, split.outputs, strict=True):
        part.name = f"{node.name}/part"
        ir.convenience.replace_all_uses_with(node.outputs[0], part)
        graph.remove(node, safe=True)


def _width(node: ir.Node) -> int:
    """N of [.., K] @ [K, N]."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    return int(weight.const_value.shape.numpy()[COLUMNS[node.op_type]])


def _concatenated(graph: ir.Graph, values: list[ir.Value | None], axis: int, name: str) -> ir.Value | None:
    tensors = [value.const_value for value in values if value is not None]
    arrays = [tensor.numpy() for tensor in tensors if tensor is not None]
    return _initializer(graph, name, np.concatenate(arrays, axis=axis)) if arrays else None


def _initializer(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
