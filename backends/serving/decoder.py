"""One ONNX decoder and its key-value memory: a fixed number of slots, appended to in place.

The graph takes each row's length from the attention mask, so rows of different lengths share a step without padding. Past
and present are bound to the same memory: nothing is copied from step to step. Facts of the op that shape the callers:
rows of one step are neighbouring slots, and after what was read before, more than one token at a time goes to one slot only.

Attention has one kernel for a single token and another for several, and they round differently; everything else gives a row
the same bits in any company. So a prompt is always read by even numbers of tokens (an odd one would leave a tile of one token):
however it is cut, and whoever is read beside it, its memory and its logits are the same to the last bit.
"""

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

from backends.serving import sums
from backends.serving.room import Room
from llmspec.errors import PlaceError

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
QUANTIZED = (b"MatMulNBits", b"MatMulInteger")
"""Products that round what comes in: a last bit of difference before them may be a large one after."""
SPINNING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "20",
    "session.force_spinning_stop": "1",
}
"""A thread looks out for the next operator for a moment before it sleeps: waking it costs more than most operators take. It
never spins between two steps, and no longer than that moment, for the sake of cores that are shared."""
LOGITS_BYTES = 64 * 2**20
"""The most that one chunk's logits may take: it bounds the chunk for models with large vocabularies."""


SPARE_BINDINGS = 64
"""Kept beside those of single slots and of whole steps."""
Numbers = np.ndarray[Any, Any]


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
    """The session, the slots' memory, and what can be done with them."""

    def __init__(self, folder: Path, slots: int, max_len: int, threads: int, budget: int | None = None, prefix_cache: bool = False):
        model = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        shape = model["decoder"]
        self.context_length: int = model["context_length"]
        self.max_len, self.vocab_size = min(max_len, self.context_length), model["vocab_size"]
        self.capacity = max(self.max_len, (shape.get("sliding_window") or {}).get("window_size", 0))
        """Tokens that a slot's memory is made for: attention with a window wants room for it, however short the answers."""
        self.layers, self.heads, self.head_size = shape["num_hidden_layers"], shape["num_key_value_heads"], shape["head_size"]
        graph = folder / shape.get("filename", "model.onnx")
        self.quantized = any(product in graph.read_bytes() for product in QUANTIZED)
        self.device = "cuda" if not self.quantized and "CUDAExecutionProvider" in ort.get_available_providers() else "cpu"
        self.session = session(graph, threads, self.device)
        self._learn_graph(folder)
        free = free_memory() if self.movable else None  # a device's own memory nobody tells: there the spec's word is taken
        self.room = Room.of(self.token_bytes * self.capacity, slots, self.max_len, budget, free, prefix_cache)
        self.slots = self.room.slots
        self._reserve()
        self._bindings: dict[tuple[int, int], Any] = {}
        self.paired = False
        self.paired = self.quantized and not self._alone_as_of_two()
        """Rows are computed two at a time here: on some processors onnxruntime's int4 product rounds a lone row otherwise."""

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
        self.chunk = max(16, min(256, LOGITS_BYTES // (4 * self.vocab_size))) // 2 * 2

    @property
    def token_bytes(self) -> int:
        """Memory of one token in all layers."""
        return int(self.layers * 2 * self.heads * self.head_size * np.dtype(self.type).itemsize)

    @property
    def movable(self) -> bool:
        """Can slots be copied? Not in a device's memory: onnxruntime alone has no copy within it."""
        return self.device == "cpu"

    @property
    def guessable(self) -> bool:
        """Is the likeliest token the same, read alone or with guesses after it? In fp32 only the last bits differ; where a
        product rounds what comes in, that may grow to a percent."""
        return not self.quantized and self.type is np.float32 and self.device == "cpu"

    def _reserve(self) -> None:
        """With weights in int8 or int4 one slot more than are given: the last row may need one beside it."""
        shape = (self.slots + self.quantized, self.heads, self.capacity, self.head_size)
        names = [f"{layer}.{side}" for layer in range(self.layers) for side in ("key", "value")]
        self._names = [(f"past_key_values.{name}", f"present.{name}") for name in names]
        if self.movable:
            self.memories = [np.zeros(shape, self.type) for _ in names]
            self._starts = [memory.ctypes.data for memory in self.memories]
        else:
            self._on_device = [ort.OrtValue.ortvalue_from_shape_and_type(shape, self.type, self.device, 0) for _ in names]
            self._starts = [value.data_ptr() for value in self._on_device]
        self._logits = np.empty((max(self.slots, self.chunk) + 1) * self.vocab_size, self.logits_type)
        self._mask = np.empty((self.slots + 1) * self.max_len, np.int64)

    def _alone_as_of_two(self) -> bool:
        """Has a row the same logits alone as beside another?"""
        tokens, lengths = np.array([[1], [2]]), np.array([1, 1])
        of_two = self.forward(0, tokens, lengths)[0].copy()
        return np.array_equal(of_two, self.forward(0, tokens[:1], lengths[:1])[0], equal_nan=True)

    def forward(self, slot: int, tokens: Numbers, lengths: Numbers, wanted: Numbers | None = None) -> Numbers:
        """tokens [rows, new] for slots [slot, slot + rows); lengths [rows] with the new ones. Logits [len(wanted), vocab].

        `wanted` are places in the flattened [rows * new]; all of them, where nothing is said. The logits are good until the
        next call. Rows that begin may be shorter than the others: what is behind their length is not seen by anyone.
        """
        rows, new = tokens.shape
        tokens = np.ascontiguousarray(tokens, np.int64)
        wanted = np.arange(rows * new) if wanted is None else np.ascontiguousarray(wanted, np.int64)
        if self.paired and new == 1 and rows % 2:
            return self._with_another(slot, tokens, lengths, wanted)
        if self.paired and len(wanted) % 2:
            return self.forward(slot, tokens, lengths, np.append(wanted, wanted[-1]))[:-1]
        total = max(int(lengths.max()), new)
        mask = self._mask[: rows * total].reshape(rows, total)
        np.less(np.arange(total)[None, :], lengths[:, None], out=mask, casting="unsafe")
        logits = self._logits[: len(wanted) * self.vocab_size].reshape(-1, self.vocab_size)
        binding = self._binding(slot, rows)
        for name, array in (("input_ids", tokens), ("attention_mask", mask), ("logit_rows", wanted)):
            binding.bind_input(name, "cpu", 0, np.int64, array.shape, array.ctypes.data)
        binding.bind_output("logits", "cpu", 0, self.logits_type, logits.shape, logits.ctypes.data)
        self.session.run_with_iobinding(binding)
        return logits

    def _with_another(self, slot: int, tokens: Numbers, lengths: Numbers, wanted: Numbers) -> Numbers:
        """With one row more, which is nobody's: what it writes over is put back."""
        beside = slot + len(tokens)
        kept = self.get(beside, 0, 1)
        more = np.append(lengths, 1)
        logits = self.forward(slot, np.concatenate([tokens, tokens[-1:]]), more, wanted)
        self.put(beside, 0, kept)
        return logits

    def _binding(self, slot: int, rows: int) -> Any:
        """The memory of these slots, bound once: it is asked for at every step."""
        if (slot, rows) not in self._bindings:
            if len(self._bindings) > 2 * self.slots + SPARE_BINDINGS:  # groups are of any size and at any place
                self._bindings.clear()
            binding = self._bindings[slot, rows] = self.session.io_binding()
            shape = (rows, self.heads, self.capacity, self.head_size)
            offset = slot * self.token_bytes * self.capacity // len(self._names)
            for (past, present), start in zip(self._names, self._starts, strict=True):
                binding.bind_input(past, self.device, 0, self.type, shape, start + offset)
                binding.bind_output(present, self.device, 0, self.type, shape, start + offset)
        return self._bindings[slot, rows]

    def read(self, slot: int, prompt: list[int], start: int, end: int, every: bool = False) -> Numbers:
        """Read prompt[start:end] into a slot that holds what is before. The last token's logits, or every one's."""
        first = start - (end - start) % 2 if start else 0  # what is read twice is written again as it was
        tokens = [*prompt[first:end], *prompt[:1]][: end - first + (end - first) % 2]  # at the beginning there is only behind
        wanted = np.arange(start if every else end - 1, end) - first
        return self.forward(slot, np.array([tokens]), np.array([end]), wanted)

    def read_together(self, slot: int, prompts: list[list[int]]) -> Numbers:
        """Whole prompts into neighbouring slots, in one go. The logits of their last tokens."""
        lengths = np.array([len(prompt) for prompt in prompts])
        width = int(lengths.max()) + int(lengths.max()) % 2
        tokens = np.zeros((len(prompts), width), np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        return self.forward(slot, tokens, lengths, np.arange(len(prompts)) * width + lengths - 1)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one slot's memory into another, so that the rows of a step stay neighbours."""
        for memory in self.memories:
            memory[target, :, :length] = memory[source, :, :length]

    def get(self, slot: int, start: int, num: int, block: Numbers | None = None) -> Numbers:
        """A copy of some tokens' memory [layer and side, heads, num, head size], in `block` if there is one."""
        if block is None:
            block = np.empty((len(self.memories), self.heads, num, self.head_size), self.type)
        for part, memory in zip(block, self.memories, strict=True):
            part[:] = memory[slot, :, start : start + num]
        return block

    def put(self, slot: int, start: int, block: Numbers) -> None:
        """The opposite of `get`."""
        for part, memory in zip(block, self.memories, strict=True):
            memory[slot, :, start : start + block.shape[2]] = part


def options(threads: int) -> Any:
    """How every graph is run."""
    found = ort.SessionOptions()
    found.intra_op_num_threads, found.inter_op_num_threads = threads, 1
    found.log_severity_level = 3
    for name, value in (sums.settings() | SPINNING).items():
        found.add_session_config_entry(name, value)
    return found


def session(path: Path, threads: int, device: str = "cpu") -> Any:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    return ort.InferenceSession(str(path), options(threads), providers=providers)
