"""Where one step's time goes: onnxruntime's own profile of the served graph, by what its operators are for.

python benchmarks/step.py                                   int4 with one row; int8 with 1, 8, 16 and 32
python benchmarks/step.py --rows 16 --length 560            after prompts of 512

`unprofiled` is the step as the endpoint runs it; what the operators do not fill of the profiled one is what lies between them.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import bench_model
import numpy as np
import onnxruntime as ort
from load import median

from backends.serving import decoder as served
from backends.serving.decoder import Decoder, cores

STEPS = 60
KINDS = {
    "MatMulNBits": "products",
    "MatMulIntegerToFloat": "products",
    "GroupQueryAttention": "attention, positions and memory",
    "SkipSimplifiedLayerNormalization": "norms and sums",
    "SimplifiedLayerNormalization": "norms and sums",
    "Split": "gate and up",
    "QuickGelu": "gate and up",
}
PARTS = ("qkv_proj", "o_proj", "gate_proj", "down_proj", "lm_head")
ROWS = "rows in int8 and back"


def kind(node: str, operator: str) -> str:
    """What an operator is for, by its type and the name that the exporter gave it."""
    found = KINDS.get(operator)
    if found == "products":
        part = next(part for part in PARTS if part in node)
        return f"product {'gate and up' if part == 'gate_proj' else part.removesuffix('_proj')}"
    if found:
        return found
    if "/rows/" in node or node.endswith("/rescale"):
        return ROWS
    return "gate and up" if "/mlp/" in node else "the rest"


class Steps:
    """A decoder in the middle of answers: every row has `length` tokens."""

    def __init__(self, folder: Path, rows: int, length: int):
        self.decoder = Decoder(folder, rows, length + 1, cores())
        self.graph = folder / "model.onnx"
        self.tokens = np.arange(rows, dtype=np.int64)[:, None] + 1000
        self.lengths = np.full(rows, length)
        self.wanted = np.arange(rows)

    def once(self) -> float:
        started = time.perf_counter()
        self.decoder.forward(0, self.tokens, self.lengths, self.wanted)
        return time.perf_counter() - started

    def unprofiled(self) -> float:
        """Seconds of a step."""
        return median([self.once() for _ in range(STEPS)][STEPS // 4 :])

    def profiled(self) -> tuple[float, dict[str, float]]:
        """Seconds of a step, and of the operators of each kind in it."""
        with tempfile.TemporaryDirectory() as scratch:
            options = served.options(cores())
            options.enable_profiling, options.profile_file_prefix = True, f"{scratch}/step"
            # Writing an event down takes longer than threads look out for the next operator: they would sleep before each.
            options.add_session_config_entry("session.intra_op.spin_duration_us", "2000")
            self.decoder.session = ort.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])
            self.decoder._bindings.clear()
            seconds = self.unprofiled()
            events = json.loads(Path(self.decoder.session.end_profiling()).read_text(encoding="utf-8"))
        spent: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event["name"].endswith("_kernel_time"):
                spent[f"{event['name'].removesuffix('_kernel_time')}\n{event['args']['op_name']}"].append(event["dur"] / 1e6)
        kinds: dict[str, float] = defaultdict(float)
        for node, times in spent.items():
            kinds[kind(*node.split("\n"))] += median(times)
        return seconds, kinds


def say(precision: str, rows: int, length: int, steps: Steps) -> None:
    plain = steps.unprofiled()
    seconds, kinds = steps.profiled()
    print(f"{precision}, {rows} rows of {length} tokens: {1e3 * plain:.2f} ms unprofiled, {1e3 * seconds:.2f} ms profiled")
    between = seconds - sum(kinds.values())
    for name, spent in [*sorted(kinds.items(), key=lambda item: -item[1]), ("between operators", between)]:
        print(f"  {name:<32} {1e3 * spent:7.2f} ms {spent / seconds:5.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="of int8 (1,8,16,32) and, when named, int4 too")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    cache = bench_model.cache_folder(args.cache)
    rows = [int(number) for number in (args.rows or "1,8,16,32").split(",")]
    for precision, sizes in {"int4": rows if args.rows else [1], "int8": rows}.items():
        folder = Path(str(bench_model.artifact(cache, precision).folder))
        for size in sizes:
            say(precision, size, args.length, Steps(folder, size, args.length))


if __name__ == "__main__":
    main()
