"""An ONNX encoder that gives each text its labels: one matrix of token ids in, one row of scores per text out.

A text is padded to a length that only it decides, and shares a batch only with texts of that length. So the shapes of every
product it is part of are its own, whoever else is in the batch; only the number of rows differs.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
from tokenizers import Tokenizer

from backends.serving.classes import Classes
from backends.serving.decoder import cores, session
from backends.serving.guards.control_tokens import UNKNOWN
from llmspec.errors import CallError, PlaceError
from llmspec.shelf import sha256_of

BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths that texts are padded to: at most half as much again as they have, from 32 tokens on."""
MOST_TOKENS = 16_384
"""Of one batch: it bounds the memory that a run takes."""


class TextError(CallError):
    """A text that cannot be classified, and OpenAI's code for why."""

    def __init__(self, message: str, code: str = "context_length_exceeded"):
        super().__init__(message)
        self.code = code


class Classifier:
    """An artifact, ready to classify."""

    def __init__(self, folder: Path, max_tokens: int | None = None, threads: int | None = None):
        self.contract = Classes.load(folder)
        if sha256_of(folder / "tokenizer.json") != self.contract.tokenizer:
            raise PlaceError(f"{folder / 'tokenizer.json'}: not the tokenizer that {Classes.file} names; export it again")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()  # the file may say to cut long texts off: they are refused instead
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True  # `[SEP]` in a text is five signs, never the token between two texts
        added = self.tokenizer.get_added_tokens_decoder().items()
        self._control = {number: token.content for number, token in added if token.special and not UNKNOWN.fullmatch(token.content)}
        self.max_tokens = min(max_tokens or self.contract.max_tokens, self.contract.max_tokens)
        self.session = session(folder / "model.onnx", threads or cores())
        self._inputs = self._learn_graph(folder)

    def _learn_graph(self, folder: Path) -> set[str]:
        inputs = {item.name for item in self.session.get_inputs()}
        outputs = [item.name for item in self.session.get_outputs()]
        if not {"input_ids", "attention_mask"} <= inputs <= {"input_ids", "attention_mask", "token_type_ids"} or outputs != [
            "logits"
        ]:
            names = ", ".join([*sorted(inputs), *outputs])
            raise PlaceError(f"{folder}: not a classifier this endpoint can run ({names}); export it with export_encoder")
        return inputs

    def encode(self, text: str) -> list[int]:
        """With the special tokens that the tokenizer puts around a text; none of them comes from the text itself."""
        (read,) = self.tokenizer.encode_batch([text])  # `encode` holds the interpreter's lock for as long as it takes
        for token, ours in zip(read.ids, read.special_tokens_mask, strict=True):
            if not ours and token in self._control:  # the model of some tokenizers knows them as words
                raise TextError(f"the text holds the control token {self._control[token]!r}: write it otherwise", "control_token")
        return list(read.ids)

    def check(self, tokens: list[int]) -> None:
        if not tokens:
            raise TextError("the text is empty")
        if len(tokens) > self.max_tokens:
            raise TextError(
                f"the text has {len(tokens):,} tokens; at most {self.max_tokens:,} are taken, and none are cut off: shorten it"
            )

    def bucket(self, tokens: list[int]) -> int:
        """The length that it is padded to."""
        return min(next((size for size in BUCKETS if size >= len(tokens)), self.contract.max_tokens), self.contract.max_tokens)

    def scores(self, rows: list[list[int]]) -> "np.ndarray[Any, Any]":
        """Rows of one bucket -> [rows, labels], the chance of each label."""
        length = self.bucket(rows[0])
        assert {self.bucket(row) for row in rows} == {length}, "a batch has one length"
        ids = np.full((len(rows), length), self.contract.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (logits,) = self.session.run(None, {name: feeds[name] for name in self._inputs})
        return chances(logits, self.contract.multi_label)


def chances(logits: "np.ndarray[Any, Any]", multi_label: bool) -> "np.ndarray[Any, Any]":
    """logits [rows, labels] -> each label's own chance, or chances that add up to 1."""
    logits = logits.astype(np.float64)
    if multi_label:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
