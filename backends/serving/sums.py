"""Whether onnxruntime's quick product of int8 is exact on this processor: tried, in three milliseconds, before a graph is loaded.

Without VNNI it adds two products in 16 bits, and clips what does not fit: answers would be others than on a machine that has it,
and far from the model's. Where it is exact, asking for the exact product would cost a quarter of a step, and nearly half of the
speed in prompts.
"""

import base64
from functools import cache

import numpy as np
import onnxruntime as ort

EXACT = {"session.x64quantprecision": "1"}
PRODUCT = base64.b64decode(
    "CAQ6YgoYCgFhCgFiEgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWhUKAWESEAoOCAISCgoDEgFtCgMSAWtaFQoBYhIQCg4IAxIKCgMSAWsKAxIBbmIVCgF5EhAKDggGEgoKAxIBbQoDEgFuQgQKABAK"
)
"""A graph of one MatMulInteger, uint8 [m, k] and int8 [k, n]. A test makes it anew."""
DEEP, WIDE = 66, 17
"""Of the matrix that is tried: neither fills a processor's registers."""


@cache
def quick_is_exact() -> bool:
    """For a lone row, which may have a kernel of its own, and for several; with the largest numbers that there are."""
    product = ort.InferenceSession(PRODUCT, providers=["CPUExecutionProvider"])
    columns, sums = np.full((DEEP, WIDE), 127, np.int8), DEEP * 255 * 127
    return all((product.run(None, {"a": np.full((rows, DEEP), 255, np.uint8), "b": columns})[0] == sums).all() for rows in (1, 8))


def settings() -> dict[str, str]:
    """What a session is told, so that its sums are exact."""
    return {} if quick_is_exact() else EXACT
