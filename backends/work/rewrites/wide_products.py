"""Products that read the same rows become one wide product: gate and up, and q, k and v where the builder left them apart.

A step with few rows waits more for its threads to start than for their work, so fewer and wider products are faster. Each
column is computed as before: no number changes.
"""

import numpy as np
import onnx_ir as ir

from backends.work.rewrites.rewriting import constant


def rewrite(model: ir.Model) -> int:
    """Returns how many wide products were made."""
    groups: dict[ir.Value | None, list[ir.Node]] = {}
    for node in model.graph:
        if node.op_type == "MatMul" and _known(node) is not None:
            groups.setdefault(node.inputs[0], []).append(node)
    alike = [nodes for nodes in groups.values() if len(nodes) > 1]
    for nodes in alike:
        _join(model.graph, nodes)
    return len(alike)


def _join(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    first = nodes[0]
    name = f"{first.name}/wide"
    matrices = [tensor.numpy() for node in nodes if (tensor := _known(node)) is not None]
    weights = constant(graph, f"{name}.weight", np.concatenate(matrices, axis=1))
    wide = ir.node("MatMul", [first.inputs[0], weights], name=name)
    sizes = constant(graph, f"{name}.sizes", np.array([matrix.shape[1] for matrix in matrices], np.int64))
    split = ir.node("Split", [wide.outputs[0], sizes], {"axis": -1}, num_outputs=len(nodes), name=f"{name}/Split")
    wide.outputs[0].name = f"{name}/output_0"
    graph.insert_before(first, [wide, split])
    for node, part in zip(nodes, split.outputs, strict=True):
        part.name = f"{node.name}/part"
        ir.convenience.replace_all_uses_with(node.outputs[0], part)
        graph.remove(node, safe=True)


def _known(node: ir.Node) -> ir.TensorProtocol | None:
    """W of x @ W [K, N], where it is known."""
    weight = node.inputs[1]
    return weight.const_value if weight is not None else None
