"""What the rewrites of a built graph share: constants, nodes put before others, and the weights that training made."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

FP32 = npt.NDArray[np.float32]


class Rewriting(ABC):
    """One graph on its way from fp32 to something smaller."""

    def __init__(self, graph: ir.Graph):
        self.graph = graph

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        return constant(self.graph, name, array)

    def before(self, node: ir.Node, op: str, inputs: list[ir.Value], name: str, domain: str = "", **attributes: int) -> ir.Value:
        made = ir.node(op, inputs, attributes, domain=domain, name=name)
        made.outputs[0].name = f"{name}/output_0"
        self.graph.insert_before(node, made)
        return made.outputs[0]

    def replace(self, node: ir.Node, value: ir.Value) -> None:
        """Whatever read the node reads the value, and the graph's own output keeps its name."""
        (old,) = node.outputs
        if old.is_graph_output():
            value.name, old.name = old.name, f"{old.name}/fp32"
            value.type, value.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)

    @abstractmethod
    def product(self, node: ir.Node) -> None:
        """x [.., K] @ W [K, N]."""

    @abstractmethod
    def embedding(self, node: ir.Node, table: ir.Value) -> None:
        """A table [V, H] is looked up."""

    def all(self) -> int:
        """Every product and every look-up. Returns how many products changed."""
        products = 0
        for node in list(self.graph):
            if node.op_type == "MatMul" and is_weight(node.inputs[1]):
                self.product(node)
                products += 1
            elif node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0:
                table = node.inputs[0] if is_weight(node.inputs[0]) else tied_table(node)
                if table is not None:
                    self.embedding(node, table)
        return products


def constant(graph: ir.Graph, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    """An initializer of the graph, made once."""
    if name not in graph.initializers:
        graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
    return graph.initializers[name]


def weights(value: ir.Value | None) -> FP32:
    """The numbers of an initializer."""
    assert value is not None
    assert value.const_value is not None
    numbers: FP32 = value.const_value.numpy().astype(np.float32, copy=False)
    return numbers


def is_weight(value: ir.Value | None) -> bool:
    """A matrix that training made, not a shape or an index."""
    tensor = value.const_value if value is not None else None
    return tensor is not None and len(tensor.shape) == 2 and tensor.dtype == ir.DataType.FLOAT


def tied_table(node: ir.Node) -> ir.Value | None:
    """The builder spells a tied table as the transposed output head: the same numbers, laid out for look-up."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if source is None or source.op_type != "Transpose" or not is_weight(source.inputs[0]):
        return None
    return ir.Value(name="model.embed_tokens.weight", const_value=ir.tensor(np.ascontiguousarray(weights(source.inputs[0]).T)))
