"""What this machine could do at best: weights' bytes over memory bandwidth, int8 operations over the cores' rate.

python benchmarks/floors.py          both rates are measured here, the second through onnxruntime's own int8 product,
                                     as exact as the engine needs it
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import bench_model
import numpy as np
import onnx
import onnxruntime as ort
from load import median
from onnx import TensorProto, helper
from servers import CPUS

from backends.serving import sums


def bandwidth(size: int, seconds: float = 1.0) -> float:
    """Bytes per second that all cores together read, over and over, from a block of this size."""
    parts = np.array_split(np.ones(size // 4, np.float32), CPUS)
    with ThreadPoolExecutor(CPUS) as pool:
        return size / _fastest(lambda: list(pool.map(np.max, parts)), seconds)


def int8_rate(rows: int, seconds: float = 1.0) -> float:
    """Multiplications and additions per second of `rows` x 1536 by 1536 x 576: the model's own size of product."""
    k, n, copies = 1536, 576, 64  # as many weights as caches do not hold
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, k])
    weights, nodes, outputs = [], [], []
    for copy in range(copies):
        values = np.random.default_rng(copy).integers(-127, 127, (k, n), np.int8)
        weights.append(onnx.numpy_helper.from_array(values, f"w{copy}"))
        nodes.append(helper.make_node("MatMulInteger", ["x", f"w{copy}"], [f"y{copy}"]))
        outputs.append(helper.make_tensor_value_info(f"y{copy}", TensorProto.INT32, [rows, n]))
    session = _load(helper.make_graph(nodes, "products", [x], outputs, weights))
    data = np.ones((rows, k), np.uint8)
    return 2 * rows * k * n * copies / _fastest(lambda: session.run(None, {"x": data}), seconds)


def _load(graph: onnx.GraphProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = CPUS
    for name, value in sums.settings().items():
        options.add_session_config_entry(name, value)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


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
    for rows in (1, 8, 16, 32):
        rate = median([int8_rate(rows) for _ in range(3)])
        print(f"int8, {rows:2} rows: {rate / 1e9:6.0f} G op/s: at most {rate / (2 * weights):6.0f} tok/s of decoding")


if __name__ == "__main__":
    main()
