"""What HTTP, guards and journal cost, at 16 clients, in two ways. Whose cores are not its own should believe the first.

1. Their share of the endpoint's CPU: threads that do not compute the graph. Neighbours slow all threads alike, so the share stays.
2. The endpoint's throughput as a share of the bare engine's, each in turn: what it comes to, and with neighbours mostly noise.

python benchmarks/overhead.py [--rounds 7] [--precision int8] [--guards all]
"""

import argparse
import itertools
import subprocess
import sys
from pathlib import Path

import bench_model
from load import load, median
from servers import CPUS, ENV, HERE, Ours

from llmspec.spec.guards import Guard

CLIENTS, EACH, PROMPT, ANSWER = 16, 2, 64, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--guards", choices=["default", "all"], default="default", help="those that are on unasked, or every one")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    cache = bench_model.cache_folder(args.cache)
    artifact = bench_model.artifact(cache, args.precision).folder
    command = [sys.executable, str(HERE / "bare_engine.py"), str(artifact), str(CLIENTS)]
    numbers = itertools.count(10_000_000, CLIENTS * EACH)
    guards = {"guards": [{name: {}} for name in Guard.model_fields]} if args.guards == "all" else {}
    served, ratios, shares = Ours(cache, args.precision, CLIENTS, **guards), [], []
    bare = subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert bare.stdin
    assert bare.stdout
    bare.stdout.readline()
    try:
        for run in range(args.rounds + 1):
            served.thaw()
            before = served.threads()
            over = load(served.port, lambda k: served.request(k, PROMPT, ANSWER), CLIENTS, EACH, itertools.count(next(numbers)))
            spent = sorted(used - before.get(thread, 0) for thread, used in served.threads().items())
            served.freeze()
            print(next(numbers), CLIENTS, EACH, PROMPT, ANSWER, file=bare.stdin, flush=True)
            alone = float(bare.stdout.readline())
            if run:  # the first is a warm-up
                ratios.append(over.rate / alone)
                shares.append(sum(spent[:-CPUS]) / sum(spent))  # the graph is computed by as many threads as there are cores
                print(
                    f"beside the graph {shares[-1]:.1%} of the CPU   "
                    f"over HTTP {over.rate:7.1f} tok/s   bare {alone:7.1f} tok/s   {ratios[-1]:.3f}",
                    flush=True,
                )
    finally:
        served.stop()
        bare.stdin.close()
        bare.wait()
    print(f"{args.precision}, {CLIENTS} clients: HTTP, guards and journal take {median(shares):.1%} of the endpoint's CPU")
    print(f"{args.precision}, {CLIENTS} clients: over HTTP, with guards and journal, {median(ratios):.1%} of the bare engine")


if __name__ == "__main__":
    main()
