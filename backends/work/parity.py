"""parity: does the artifact say what the model says? Both read the same held-out rows, and each next token is compared."""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from backends.serving.decoder import Decoder, cores
from backends.work.token_rows import Row, TokenRows

MOST_ROWS, MOST_TOKENS = 64, 8192
"""Enough for a share that is good to a percent, and seconds rather than minutes."""
Logits = NDArray[np.floating]


@dataclass(frozen=True)
class Heard:
    """What one of the two said of one row, at the tokens that training taught."""

    likeliest: NDArray[np.int64]
    surprise: NDArray[np.float64]
    """-log p of the token that really came."""


def held_out(features: Path) -> list[Row]:
    """Some validation rows that have something to compare, always the same; packing has put the longest first."""
    every = TokenRows.load(features / "validation.safetensors")
    order = list(range(every.num_rows))
    random.Random(7).shuffle(order)
    rows: list[Row] = []
    tokens = 0
    for row in map(every.row, order):
        if row.loss[1:].any():
            rows.append(row)
            tokens += len(row)
        if len(rows) == MOST_ROWS or tokens >= MOST_TOKENS:
            break
    return rows


def hear(logits: Logits, row: Row) -> Heard:
    """logits [tokens, vocab] -> what they say of the tokens with loss."""
    at = np.flatnonzero(row.loss[1:])  # the token at place n + 1 is foretold at place n
    said, came = logits[at].astype(np.float64), row.tokens[at + 1].astype(np.int64)
    top = said.max(axis=-1, keepdims=True)
    whole = np.log(np.exp(said - top).sum(axis=-1)) + top[:, 0]
    return Heard(said.argmax(axis=-1), whole - np.take_along_axis(said, came[:, None], axis=-1)[:, 0])


def hear_model(folder: Path, rows: Iterable[Row], seen: Callable[[], None]) -> list[Heard]:
    """The trained model, in torch and fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for row in rows:
            logits = model(torch.from_numpy(row.tokens.astype(np.int64))[None], use_cache=False).logits[0]
            found.append(hear(logits.numpy(), row))
            seen()
    return found


def hear_artifact(folder: Path, rows: list[Row], seen: Callable[[], None]) -> list[Heard]:
    """The artifact, through the decoder that will serve it."""
    decoder = Decoder(folder, slots=1, max_len=max(len(row) for row in rows), threads=cores())
    found = []
    for row in rows:
        found.append(hear(_logits(decoder, row.tokens.astype(np.int64)), row))
        seen()
    return found


def _logits(decoder: Decoder, tokens: NDArray[np.int64]) -> Logits:
    parts = []
    for start in range(0, len(tokens), decoder.chunk):
        chunk = tokens[None, start : start + decoder.chunk]
        parts.append(decoder.forward(0, chunk, np.array([start + chunk.shape[1]])).copy())
    return np.concatenate(parts)


def perplexity(heard: Iterable[Heard]) -> float:
    return float(math.exp(np.concatenate([item.surprise for item in heard]).mean()))


def agreement(model: list[Heard], artifact: list[Heard]) -> dict[str, float]:
    """The numbers that the onnx stage is judged by."""
    same = np.concatenate([a.likeliest == b.likeliest for a, b in zip(model, artifact, strict=True)])
    of_model, of_artifact = perplexity(model), perplexity(artifact)
    return {
        "parity_tokens": round(float(same.mean()), 6),
        "parity_perplexity": round(of_artifact / of_model, 6),
        "model_perplexity": round(of_model, 6),
        "artifact_perplexity": round(of_artifact, 6),
        "compared_rows": len(model),
        "compared_tokens": len(same),
    }
