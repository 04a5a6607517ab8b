"""One ONNX decoder and its key-value memory: a fixed number of slots, appended to in place.

The graph takes each row's length from the attention mask, so rows of different lengths share a step without padding. Past
and present are bound to the same memory: nothing is copied from step to step. Facts of the op that shape the callers:
rows of one step are neighbouring slots, and more than one token at a time goes to one slot only.
"""

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

from llmspec.errors import PlaceError

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
LOGITS_BYTES = 64 * 2**20
"""The most that one chunk's logits may take: it bounds the chunk for models with large vocabularies."""


def cores() -> int:
    """How many this process may really use: its affinity, and the container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return usable if quota == "max" else max(1, min(usable, int(quota) // int(period)))
    except (OSError, ValueError):
        return usable


def free_memory() -> int | None:
    """Bytes that may still be taken, as the kernel and the container see it; None where nobody says."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cache = int(used["inactive_file"]) + int(used["active_file"])  # counted as used, and given back when needed
        found += [int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + cache]
    except (OSError, ValueError, KeyError):  # no Linux, or no limit ("max")
        pass
    return min(found, default=None)


class Decoder:
    """The session, the slots' memory, and one `forward`."""

    def __init__(self, folder: Path, slots: int, max_len: int, threads: int):
        model = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        shape = model["decoder"]
        self.context_length: int = model["context_length"]
        self.slots, self.max_len, self.vocab_size = slots, min(max_len, self.context_length), model["vocab_size"]
        self.layers, self.heads, self.head_size = shape["num_hidden_layers"], shape["num_key_value_heads"], shape["head_size"]
        self.session = session(folder / shape.get("filename", "model.onnx"), threads)
        self._learn_graph(folder)
        self._reserve()
        self._bindings: dict[int, tuple[Any, Any]] = {}

    def _learn_graph(self, folder: Path) -> None:
        inputs = {item.name: item for item in self.session.get_inputs()}
        expected = {
            "input_ids",
            "attention_mask",
            "logit_rows",
            *(f"past_key_values.{i}.{s}" for i in range(self.layers) for s in ("key", "value")),
        }
        if set(inputs) != expected:
            odd = ", ".join(sorted(set(inputs) ^ expected))
            raise PlaceError(f"{folder}: not a decoder this engine can run (its inputs differ: {odd}); export it with export_onnx")
        self.type = TYPES[inputs["past_key_values.0.key"].type]
        logits = next(item for item in self.session.get_outputs() if item.name == "logits")
        self.logits_type = TYPES[logits.type]
        self.chunk = max(16, min(256, LOGITS_BYTES // (4 * self.vocab_size)))

    @property
    def memory(self) -> int:
        """Bytes that all slots take when full."""
        return int(self.slots * self.max_len * self.layers * 2 * self.heads * self.head_size * np.dtype(self.type).itemsize)

    def _reserve(self) -> None:
        free = free_memory()
        if free is not None and self.memory > free:
            raise PlaceError(
                f"{self.slots} requests of {self.max_len:,} tokens need {self.memory / 1e9:.1f} GB beside the model, and "
                f"{free / 1e9:.1f} GB are free: lower endpoint.limits.concurrency, input_tokens or output_tokens"
            )
        one = (self.slots, self.heads, self.max_len, self.head_size)
        self.memories = [tuple(np.zeros(one, self.type) for _ in range(2)) for _ in range(self.layers)]
        self._logits = np.empty(max(self.slots, self.chunk) * self.vocab_size, self.logits_type)
        self._mask = np.empty(self.slots * self.max_len, np.int64)

    def forward(
        self,
        slot: int,
        tokens: "np.ndarray[Any, Any]",
        lengths: "np.ndarray[Any, Any]",
        wanted: "np.ndarray[Any, Any] | None" = None,
    ) -> "np.ndarray[Any, Any]":
        """tokens [rows, new] for slots [slot, slot + rows); lengths [rows] with the new ones. Logits [len(wanted), vocab].

        `wanted` are places in the flattened [rows * new], one at least; None is all. The logits are good until the next call.
        """
        rows, new = tokens.shape
        binding, ids = self._decode_binding(rows) if slot == 0 and new == 1 else self._binding(slot, rows, new)
        ids[:] = tokens
        total = int(lengths.max())
        mask = self._mask[: rows * total].reshape(rows, total)
        np.less(np.arange(total)[None, :], lengths[:, None], out=mask, casting="unsafe")
        binding.bind_input("attention_mask", "cpu", 0, np.int64, mask.shape, mask.ctypes.data)
        wanted = np.arange(rows * new) if wanted is None else wanted.astype(np.int64)
        logits = self._logits[: len(wanted) * self.vocab_size].reshape(-1, self.vocab_size)
        binding.bind_input("logit_rows", "cpu", 0, np.int64, wanted.shape, wanted.ctypes.data)
        binding.bind_output("logits", "cpu", 0, self.logits_type, logits.shape, logits.ctypes.data)
        self.session.run_with_iobinding(binding)
        return logits

    def _decode_binding(self, rows: int) -> tuple[Any, Any]:
        """Made once per batch size: it is asked for at every step."""
        if rows not in self._bindings:
            self._bindings[rows] = self._binding(0, rows, 1)
        return self._bindings[rows]

    def _binding(self, slot: int, rows: int, new: int) -> tuple[Any, Any]:
        binding = self.session.io_binding()
        ids = np.empty((rows, new), np.int64)
        binding.bind_input("input_ids", "cpu", 0, np.int64, ids.shape, ids.ctypes.data)
        shape = (rows, self.heads, self.max_len, self.head_size)
        for layer, pair in enumerate(self.memories):
            for side, memory in zip(("key", "value"), pair, strict=True):
                start = memory[slot:].ctypes.data
                binding.bind_input(f"past_key_values.{layer}.{side}", "cpu", 0, self.type, shape, start)
                binding.bind_output(f"present.{layer}.{side}", "cpu", 0, self.type, shape, start)
        return binding, ids

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one slot's memory into another, so that the rows of a step stay neighbours."""
        for pair in self.memories:
            for memory in pair:
                memory[target, :, :length] = memory[source, :, :length]


def session(path: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning halves the step when cores are shared
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
