"""Four clients read answers while prompts of 1,500 tokens arrive: the 99th percentile of the gaps between tokens over their median.

python benchmarks/long_prompts.py [--rounds 3] [--precision int8]
"""

import argparse
import asyncio
import itertools
from pathlib import Path

import bench_model
from load import Client, median, percentile
from servers import Ours, Server

READERS, LONG, ANSWER = 4, 1500, 256


async def gaps(server: Server, numbers: "itertools.count[int]") -> list[float]:
    """What the readers saw while one long prompt followed the other."""

    async def connect() -> Client:
        return (await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", server.port))[1]

    async def disturb() -> None:
        while True:
            client = await connect()
            await client.ask(server.request(next(numbers), LONG, 1))
            client.transport.close()

    readers = [await connect() for _ in range(READERS)]
    disturbing = asyncio.create_task(disturb())
    seen = await asyncio.gather(*(reader.ask(server.request(next(numbers), 64, ANSWER)) for reader in readers))
    disturbing.cancel()
    return [gap for answer in seen for gap in answer.gaps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    served, ratios, numbers = (
        Ours(bench_model.cache_folder(args.cache), args.precision, READERS + 1),
        [],
        itertools.count(40_000_000),
    )
    try:
        for _ in range(args.rounds):
            found = asyncio.run(gaps(served, numbers))
            middle, late = percentile(found, 0.5), percentile(found, 0.99)
            ratios.append(late / middle)
            print(f"gap p50 {middle * 1e3:6.1f} ms   p99 {late * 1e3:6.1f} ms   {ratios[-1]:.2f}", flush=True)
    finally:
        served.stop()
    print(f"{args.precision}: while prompts of {LONG} tokens arrive, the p99 gap is {median(ratios):.1f} × the median")


if __name__ == "__main__":
    main()
