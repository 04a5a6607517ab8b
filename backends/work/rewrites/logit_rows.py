"""The output head, the widest product of all, is computed only for the rows whose logits are asked for (input `logit_rows`).

Of a prompt that is nobody's but its last token's; of an answer it is each row's; of a text to be scored it is every token's.
"""

import numpy as np
import onnx_ir as ir

from backends.work.rewrites.rewriting import constant

PRODUCTS = ("MatMul", "Gemm")
INPUT, OUTPUT = "logit_rows", "logits"


def rewrite(model: ir.Model) -> None:
    """logits [batch, sequence, vocab] become [rows, vocab], for the rows of [batch * sequence] that `logit_rows` names."""
    graph = model.graph
    (logits,) = (value for value in graph.outputs if value.name == OUTPUT)
    head = head_of(logits)
    hidden = head.inputs[0]
    assert hidden is not None
    flat = constant(graph, "logit_rows.flat", np.array([-1, _width(head)], np.int64))
    wanted = ir.val(INPUT, ir.DataType.INT64, ["num_logits"])
    graph.inputs.append(wanted)
    rows = ir.node("Reshape", [hidden, flat], name=f"{head.name}/rows")
    chosen = ir.node("Gather", [rows.outputs[0], wanted], {"axis": 0}, name=f"{head.name}/wanted")
    graph.insert_before(head, [rows, chosen])
    for node in (rows, chosen):
        node.outputs[0].name = f"{node.name}/output_0"
    head.replace_input_with(0, chosen.outputs[0])
    assert logits.shape is not None
    logits.shape = ir.Shape(["num_logits", logits.shape[-1]])


def head_of(logits: ir.Value) -> ir.Node:
    """The product that makes them: some models scale, cap or cast what comes out of it, element by element."""
    node = logits.producer()
    while node is not None and node.op_type not in PRODUCTS:
        node = next((value.producer() for value in node.inputs if value is not None and value.producer() is not None), None)
    assert node is not None, "no product makes the logits"
    return node


def _width(head: ir.Node) -> int:
    """K of [.., K] @ [K, vocab]."""
    weight = head.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    width = weight.shape[1 if head.attributes.get_int("transB", 0) else 0]
    assert isinstance(width, int)
    return width
