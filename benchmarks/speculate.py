"""What guessing ahead brings to one who is answered alone: tokens per second with it over without, in turn.

python benchmarks/speculate.py [--rounds 5]

An answer that repeats what stood before it is guessed well. Random weights repeat nothing, so the answer of a first run is put
where the guesser looks, whole or with every nth token another one: all else, the guesses' price included, is what a repetitive
answer meets. Answers with and without are compared token by token.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import bench_model
from load import median

from backends.serving.drafts import Drafts
from backends.serving.engine import Engine, Generation
from backends.serving.sampling import Sampling

PROMPT, ANSWER = 64, 128
CASES = {
    "the whole answer came before": 0,
    "all but every 16th token": 16,
    "all but every 8th token": 8,
    "all but every 4th token": 4,
    "all but every 3rd token": 3,
    "nothing of it came before": 1,
}
"""Which token is another one; each is, and none."""


class Plain(Engine):
    """Never guesses."""

    def _guess(self, item: Generation) -> list[int]:
        return []


def altered(answer: Sequence[int], each: int) -> list[int]:
    return [token + 1 if each and number % each == each - 1 else token for number, token in enumerate(answer)]


def answer(engine: Engine, prompt: list[int], before: list[int]) -> tuple[list[int], float]:
    """Its tokens, and how many a second; `before` is what the guesser remembers."""
    item = engine.submit(prompt, Sampling(ANSWER))
    item._drafts = Drafts([*before, *prompt])  # as if it had stood in a longer prompt
    while not item.answering:
        engine.step()
    begun, started = len(item.ids), time.perf_counter()
    while item.finish is None:
        engine.step()
    return list(item.ids), (len(item.ids) - begun) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    folder = Path(str(bench_model.artifact(bench_model.cache_folder(args.cache), "fp32").folder))
    guessing, plain = (kind(folder, slots=1, max_len=512, prefix_cache=False) for kind in (Engine, Plain))
    assert guessing.decoder.guessable
    text = guessing.contract.render([{"role": "user", "content": bench_model.conversation(7, PROMPT)}])
    prompt = guessing.encode(text)
    known, _ = answer(plain, prompt, [])
    for name, each in CASES.items():
        before, ratios, stats = altered(known, each), [], guessing.stats
        for _ in range(args.rounds):
            said, rate = answer(guessing, prompt, before)
            _, base = answer(plain, prompt, before)
            assert said == known, "guessing changed the answer"
            ratios.append(rate / base)
        drafted = guessing.stats.tokens_drafted - stats.tokens_drafted
        right = (guessing.stats.tokens_accepted - stats.tokens_accepted) / drafted if drafted else 0.0
        print(
            f"{name:<32} {median(ratios):5.2f} ×   guessed {drafted / args.rounds:5.0f} of {ANSWER}, right {right:4.0%}", flush=True
        )


if __name__ == "__main__":
    main()
