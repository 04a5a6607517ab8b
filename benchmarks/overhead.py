"""What HTTP, guards and journal cost: the endpoint's throughput as a share of the bare engine's, in turn, 16 clients.

python benchmarks/overhead.py [--rounds 7] [--precision int8]
"""

import argparse
import itertools
import subprocess
import sys
from pathlib import Path

import bench_model
from load import load, median
from servers import ENV, HERE, Ours

CLIENTS, EACH, PROMPT, ANSWER = 16, 2, 64, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    cache = bench_model.cache_folder(args.cache)
    artifact = bench_model.artifact(cache, args.precision).folder
    command = [sys.executable, str(HERE / "bare_engine.py"), str(artifact), str(CLIENTS)]
    numbers = itertools.count(10_000_000, CLIENTS * EACH)
    served, ratios = Ours(cache, args.precision, CLIENTS), []
    bare = subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert bare.stdin
    assert bare.stdout
    bare.stdout.readline()
    try:
        for run in range(args.rounds + 1):
            served.thaw()
            over = load(served.port, lambda k: served.request(k, PROMPT, ANSWER), CLIENTS, EACH, itertools.count(next(numbers)))
            served.freeze()
            print(next(numbers), CLIENTS, EACH, PROMPT, ANSWER, file=bare.stdin, flush=True)
            alone = float(bare.stdout.readline())
            if run:  # the first is a warm-up
                ratios.append(over.rate / alone)
                print(f"over HTTP {over.rate:7.1f} tok/s   bare {alone:7.1f} tok/s   {ratios[-1]:.3f}", flush=True)
    finally:
        served.stop()
        bare.stdin.close()
        bare.wait()
    print(f"{args.precision}, {CLIENTS} clients: over HTTP, with guards and journal, {median(ratios):.1%} of the bare engine")


if __name__ == "__main__":
    main()
