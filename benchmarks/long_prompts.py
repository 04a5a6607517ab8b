"""Four clients read answers while prompts of 1,500 tokens arrive: the 99th percentile of the gaps between tokens over their median,
and that median over the one of four who are alone.

python benchmarks/long_prompts.py [--rounds 3] [--precision int8] [--at-once 1]
"""

import argparse
import asyncio
import itertools
from pathlib import Path

import bench_model
from load import Client, median, percentile
from servers import Ours, Server

READERS, LONG, ANSWER = 4, 1500, 256


async def gaps(server: Server, numbers: "itertools.count[int]", at_once: int) -> list[float]:
    """What the readers saw while long prompts followed each other, so many at a time."""

    async def connect() -> Client:
        return (await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", server.port))[1]

    async def disturb() -> None:
        while True:
            client = await connect()
            await client.ask(server.request(next(numbers), LONG, 1))
            client.transport.close()

    readers = [await connect() for _ in range(READERS)]
    disturbing = [asyncio.create_task(disturb()) for _ in range(at_once)]
    seen = await asyncio.gather(*(reader.ask(server.request(next(numbers), 64, ANSWER)) for reader in readers))
    for task in disturbing:
        task.cancel()
    return [gap for answer in seen for gap in answer.gaps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--at-once", type=int, default=1, help="long prompts that arrive together")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    served = Ours(bench_model.cache_folder(args.cache), args.precision, READERS + args.at_once)
    ratios, slower, numbers = [], [], itertools.count(40_000_000)
    try:
        for _ in range(args.rounds):
            alone, found = (asyncio.run(gaps(served, numbers, at_once)) for at_once in (0, args.at_once))
            quiet, middle, late = percentile(alone, 0.5), percentile(found, 0.5), percentile(found, 0.99)
            ratios.append(late / middle)
            slower.append(middle / quiet)
            print(f"gap p50 alone {quiet * 1e3:6.1f} ms   p50 {middle * 1e3:6.1f} ms   p99 {late * 1e3:6.1f} ms", flush=True)
    finally:
        served.stop()
    print(f"{args.precision}: while prompts of {LONG} tokens arrive, {args.at_once} at a time,", end=" ")
    print(f"the p99 gap is {median(ratios):.1f} × the median, and that {median(slower):.1f} × the median of readers who are alone")


if __name__ == "__main__":
    main()
