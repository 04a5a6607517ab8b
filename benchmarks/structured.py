"""What an answer that must be JSON costs: tokens per second with a schema over without, 8 clients, in turn.

python benchmarks/structured.py [--rounds 5] [--precision int8]
"""

import argparse
import itertools
from pathlib import Path

import bench_model
from load import load, median, post
from servers import Ours

CLIENTS, EACH, PROMPT, ANSWER = 8, 2, 64, 64
SCHEMA = {"type": "object", "properties": {"said": {"type": "string", "minLength": 1000}}, "required": ["said"]}
"""An answer that is still within its text at the last token: both sides make equally many."""
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    served, numbers = Ours(bench_model.cache_folder(args.cache), args.precision, CLIENTS), itertools.count(60_000_000)

    def rate(more: dict[str, object]) -> float:
        def asked(number: int) -> bytes:
            return post(served.path, served.body(bench_model.conversation(number, PROMPT), ANSWER) | more)

        return load(served.port, asked, CLIENTS, EACH, numbers).rate

    try:
        rate(FORMAT)
        ratios = []
        for _ in range(args.rounds):
            with_schema, without = rate(FORMAT), rate({})
            ratios.append(with_schema / without)
            print(f"with a schema {with_schema:7.1f} tok/s   without {without:7.1f} tok/s   {ratios[-1]:.3f}", flush=True)
    finally:
        served.stop()
    print(f"{args.precision}, {CLIENTS} clients: {median(ratios):.1%} of the throughput without a schema")


if __name__ == "__main__":
    main()
