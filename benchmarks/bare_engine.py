"""The engine without HTTP, guards and journal: what the endpoint's overhead is measured against.

python benchmarks/bare_engine.py <artifact> <slots>     reads lines `first clients each prompt answer`, says tokens per second
"""

import sys
import time
from pathlib import Path

import bench_model

from backends.serving.engine import Engine
from backends.serving.sampling import Sampling


def rate(engine: Engine, first: int, clients: int, each: int, prompt: int, answer: int) -> float:
    """Every client asks its next question when its last one has been answered."""
    started = time.perf_counter()
    waiting = list(range(first, first + clients * each))
    active, tokens = [ask(engine, waiting.pop(), prompt, answer) for _ in range(clients)], 0
    while active:
        engine.step()
        for done in [item for item in active if item.finish]:
            active.remove(done)
            tokens += len(done.ids)
            if waiting:
                active.append(ask(engine, waiting.pop(), prompt, answer))
    return tokens / (time.perf_counter() - started)


def ask(engine: Engine, number: int, prompt: int, answer: int):  # type: ignore[no-untyped-def]
    text = engine.contract.render([{"role": "user", "content": bench_model.conversation(number, prompt)}])
    return engine.submit(engine.encode(text), Sampling(answer))


def main() -> None:
    engine = Engine(Path(sys.argv[1]), slots=int(sys.argv[2]), max_len=2560)
    print("ready", flush=True)
    for line in sys.stdin:
        print(rate(engine, *map(int, line.split())), flush=True)


if __name__ == "__main__":
    main()
