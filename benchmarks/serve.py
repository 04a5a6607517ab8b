"""The endpoint against its peers, over HTTP with streaming, clients 1 to 32 at once. Rounds are interleaved: A B C A B C ….

python benchmarks/serve.py                                   everything; about an hour
python benchmarks/serve.py --clients 8 --prompts 64 --only llmspec,llama --rounds 3
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bench_model
import llama_cpp
from load import Run, load, median, percentile
from servers import Genai, LlamaCpp, Missing, Ours, Server, Tutorial

ANSWER = 64


def contestants(cache: Path, clients: int, prompt: int) -> dict[str, Callable[[], Server]]:
    """Name -> how to start it. Slots are as many as clients: that is the best setting of those that have slots."""
    room = prompt + ANSWER + 16
    return {
        "llmspec int8": lambda: Ours(cache, "int8", clients),
        "llmspec int4": lambda: Ours(cache, "int4", clients),
        "llama.cpp Q4_0": lambda: LlamaCpp(cache, "Q4_0", clients, room),
        "llama.cpp Q8_0": lambda: LlamaCpp(cache, "Q8_0", clients, room),
        "onnxruntime-genai int4": lambda: Genai(cache, clients),
        "FastAPI + generate bf16": lambda: Tutorial(cache),
    }


def started(wanted: dict[str, Callable[[], Server]]) -> dict[str, Server]:
    """All of them, stopped but for whoever is measured; a peer that cannot be had is left out, with a word."""
    found = {}
    for name, start in wanted.items():
        try:
            found[name] = start()
            found[name].freeze()
        except (Missing, llama_cpp.BuildError) as error:
            print(f"left out: {name}: {error}", flush=True)
    return found


def measure(server: Server, clients: int, prompt: int, each: int, numbers: Iterator[int]) -> tuple[Run, float]:
    """One round, and the server's CPU seconds in it."""
    server.thaw()
    cpu = server.cpu()
    run = load(server.port, lambda number: server.request(number, prompt, ANSWER), clients, each, numbers)
    cpu = server.cpu() - cpu
    server.freeze()
    short = [seen for seen in run.answers if seen.tokens != ANSWER or abs(seen.prompt - prompt) > 1]
    assert not short, f"{server.name}: an answer of {short[0].tokens} tokens to a prompt of {short[0].prompt}"
    return run, cpu


def case(cache: Path, clients: int, prompt: int, rounds: int, only: list[str]) -> list[dict[str, object]]:
    wanted = {name: start for name, start in contestants(cache, clients, prompt).items() if any(part in name for part in only)}
    servers, numbers = started(wanted), itertools.count(clients * 100_000 + prompt)
    runs: dict[str, list[tuple[Run, float]]] = {name: [] for name in servers}
    try:
        for server in servers.values():
            measure(server, clients, prompt, 1, numbers)  # the first is a warm-up
        for _, (name, server) in itertools.product(range(rounds), servers.items()):
            each = 1 if "generate" in name else 4 if clients == 1 else 2
            runs[name].append(measure(server, clients, prompt, each, numbers))
            print(f"  {clients} × {prompt} {name}: {runs[name][-1][0].rate:.1f} tok/s", file=sys.stderr, flush=True)
    finally:
        for server in servers.values():
            server.stop()
    return [row(name, clients, prompt, found) for name, found in runs.items()]


def row(name: str, clients: int, prompt: int, found: list[tuple[Run, float]]) -> dict[str, object]:
    """Medians of the rounds."""
    rates = [run.rate for run, _ in found]
    return {
        "server": name,
        "clients": clients,
        "prompt": prompt,
        "tokens_per_second": round(median(rates), 1),
        "rounds": [round(rate, 1) for rate in rates],
        "first_p50_ms": round(1e3 * median([percentile(run.firsts, 0.5) for run, _ in found])),
        "first_p95_ms": round(1e3 * median([percentile(run.firsts, 0.95) for run, _ in found])),
        "gap_p50_ms": round(1e3 * median([percentile(run.gaps, 0.5) for run, _ in found]), 1),
        "gap_p99_ms": round(1e3 * median([percentile(run.gaps, 0.99) for run, _ in found]), 1),
        "server_cores": round(median([cpu / run.seconds for run, cpu in found]), 2),
        "client_cores": round(median([run.cpu / run.seconds for run, _ in found]), 3),
    }


def say(found: dict[str, object]) -> None:
    rounds = "/".join(f"{rate:g}" for rate in found["rounds"])  # type: ignore[attr-defined]
    print(
        f"{found['clients']:>3} × {found['prompt']:<4} {found['server']:<36} {found['tokens_per_second']:>7} tok/s  "
        f"first {found['first_p50_ms']:>5}/{found['first_p95_ms']:>5} ms  "
        f"gap {found['gap_p50_ms']:>6}/{found['gap_p99_ms']:>6} ms  "
        f"cores {found['server_cores']:.2f}+{found['client_cores']:.2f}  rounds {rounds}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="1,4,8,16,32")
    parser.add_argument("--prompts", default="64,512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="llmspec,llama,genai,generate", help="parts of names")
    parser.add_argument("--cache", type=Path, help="folder of the model and of llama.cpp's build (LLMSPEC_BENCH_CACHE)")
    parser.add_argument("--json", type=Path, help="append each row to this file")
    args = parser.parse_args()
    cache = bench_model.cache_folder(args.cache)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for clients, prompt in itertools.product(map(int, args.clients.split(",")), map(int, args.prompts.split(","))):
        for found in case(cache, clients, prompt, args.rounds, args.only.split(",")):
            say(found)
            if args.json:
                with args.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
