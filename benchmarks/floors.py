"""What this machine could do at best: weights' bytes over memory bandwidth, operations over the cores' rate.

python benchmarks/floors.py          both rates are measured here, the second through onnxruntime's own products, int4 and
                                     int8, one after another and with nothing between them
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import bench_model
import numpy as np
import onnx
import onnxruntime as ort
from load import median
from onnx import helper, numpy_helper
from servers import CPUS

from backends.serving.decoder import options
from backends.work.rewrites import int4

DEEP, WIDE, COPIES = 1536, 576, 152
"""Together as many weights as the model has: a cache that would hold fewer of them helps nobody."""
Product = Callable[[int, np.random.Generator], tuple[onnx.NodeProto, list[onnx.TensorProto]]]


def bandwidth(size: int, seconds: float = 1.0) -> float:
    """Bytes per second that all cores together read, over and over, from a block of this size."""
    parts = np.array_split(np.ones(size // 4, np.float32), CPUS)
    with ThreadPoolExecutor(CPUS) as pool:
        return size / _fastest(lambda: list(pool.map(np.max, parts)), seconds)


def int8_product(copy: int, rng: np.random.Generator) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """x times a matrix of its own, as exact as the engine needs it."""
    weights = rng.integers(-127, 127, (DEEP, WIDE), np.int8)
    return helper.make_node("MatMulInteger", ["x", f"w{copy}"], [f"y{copy}"]), [numpy_helper.from_array(weights, f"w{copy}")]


def int4_product(copy: int, rng: np.random.Generator) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """The same, as `int4.py` writes it."""
    blocks = DEEP // int4.BLOCK
    inputs = {
        f"w{copy}": rng.integers(0, 255, (WIDE, blocks, int4.BLOCK // 2), np.uint8),
        f"s{copy}": rng.random((WIDE, blocks), np.float32),
        f"z{copy}": rng.integers(0, 255, (WIDE, blocks // 2), np.uint8),
    }
    size = {"K": DEEP, "N": WIDE, "bits": 4, "block_size": int4.BLOCK, "accuracy_level": int4.INT8_INSIDE}
    node = helper.make_node("MatMulNBits", ["x", *inputs], [f"y{copy}"], domain="com.microsoft", **size)
    return node, [numpy_helper.from_array(values, name) for name, values in inputs.items()]


def rate(product: Product, rows: int, seconds: float = 1.0) -> float:
    """Multiplications and additions per second of `rows` x 1536 by 1536 x 576: the model's own size of product."""
    made = [product(copy, np.random.default_rng(copy)) for copy in range(COPIES)]
    kind, result = (np.float32, np.float32) if product is int4_product else (np.uint8, np.int32)
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [rows, DEEP])
    element = helper.np_dtype_to_tensor_dtype(np.dtype(result))
    outputs = [helper.make_tensor_value_info(node.output[0], element, [rows, WIDE]) for node, _ in made]
    weights = [tensor for _, tensors in made for tensor in tensors]
    session = _load(helper.make_graph([node for node, _ in made], "products", [x], outputs, weights))
    data = np.ones((rows, DEEP), kind)
    return 2 * rows * DEEP * WIDE * COPIES / _fastest(lambda: session.run(None, {"x": data}), seconds)


def _load(graph: onnx.GraphProto) -> ort.InferenceSession:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), options(CPUS), providers=["CPUExecutionProvider"])


def _fastest(run: Callable[[], object], seconds: float) -> float:
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    shape = bench_model.SHAPE
    width, ffn, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    queries, keys = shape["num_attention_heads"] * shape["head_dim"], shape["num_key_value_heads"] * shape["head_dim"]
    weights = layers * width * (2 * queries + 2 * keys + 3 * ffn) + width * bench_model.VOCABULARY
    for precision, each in (("int4", 0.5 + 4 / 32), ("int8", 1.0)):  # int4 has an fp32 scale for 32 weights
        size = int(weights * each)
        reads = median([bandwidth(size) for _ in range(3)])
        read = f"{size / 1e6:.0f} MB to read for a token, at {reads / 1e9:.1f} GB/s"
        print(f"{precision}: {read}: one client gets at most {reads / size:.0f} tok/s")
    for product, name, several in ((int4_product, "int4", (1, 64)), (int8_product, "int8", (1, 8, 16, 32, 64))):
        for rows in several:  # 64 are a prompt, fewer a step
            reached = median([rate(product, rows) for _ in range(3)])
            print(f"{name}, {rows:2} rows: {reached / 1e9:6.0f} G op/s: at most {reached / (2 * weights):6.0f} tok/s")


if __name__ == "__main__":
    main()
