"""A shared prefix of 500 tokens: the time to the first token of the tenth request as a ratio to the first one's.

python benchmarks/prefix_cache.py [--rounds 9] [--precision int8]
"""

import argparse
import itertools
from pathlib import Path

import bench_model
from load import load, median, post
from servers import Ours

SHARED, OWN = 500, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    served, ratios = Ours(bench_model.cache_folder(args.cache), args.precision, 8), []

    def first(prefix: int, own: int) -> float:
        words = bench_model.conversation(prefix, SHARED) + " " + bench_model.conversation(own, OWN)
        request = post(served.path, served.body(words, 4))
        return load(served.port, lambda _: request, 1, 1, itertools.count()).firsts[0]

    try:
        for run in range(args.rounds + 1):
            times = [first(20_000_000 + run, 30_000_000 + 10 * run + number) for number in range(10)]
            if run:
                ratios.append(times[9] / times[0])
                print(f"first {times[0] * 1e3:6.1f} ms   tenth {times[9] * 1e3:6.1f} ms   {ratios[-1]:.3f}", flush=True)
    finally:
        served.stop()
    print(f"{args.precision}: the tenth request with the same {SHARED} tokens waits {median(ratios):.2f} × as long as the first")


if __name__ == "__main__":
    main()
