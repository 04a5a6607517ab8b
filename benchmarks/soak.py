"""The endpoint for a long time and badly treated: 10,000 requests, clients that vanish, kill -9, SIGTERM under load.

python benchmarks/soak.py [--requests 10000] [--artifact folder]     minutes with a small artifact, an hour with the bench model
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bench_model
from load import Seen, load, post
from servers import free_port

from backends.places import local_endpoint
from llmspec.home import journal_folder, run_folder
from llmspec.release import Release
from llmspec.store import open_artifact

CLIENTS, SLOTS = 24, 16
INPUT, OUTPUT = 512, 256
BACK_SECONDS = 3.0
"""So soon the next worker answers after a kill."""
PREFIXES = 32 * 2**20
"""Bytes for prompts that may be asked again: few, so that they are full after a tenth of the requests and growth has no excuse."""


class Soaked:
    """A supervised endpoint of its own home."""

    def __init__(self, release: Release):
        self.live = local_endpoint.serve(release)
        self.port = int(self.live.url.rsplit(":", 1)[1])

    @property
    def state(self) -> dict[str, object]:
        return local_endpoint.state(run_folder("bench", "local"))

    def memory(self) -> float:
        """MB resident of the worker."""
        pages = int(Path(f"/proc/{self.state['worker']}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def idle(self) -> bool:
        said = local_endpoint_text(self.live.url + "/metrics")
        gauges = dict(line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
        return float(gauges["llmspec_running"]) == float(gauges["llmspec_waiting"]) == 0


def local_endpoint_text(url: str) -> str:
    import urllib.request

    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def question(number: int, answer: int = 8, never: Iterable[int] = ()) -> bytes:
    """`never`: tokens that the answer shall not have, such as its own end."""
    body = {"messages": [{"role": "user", "content": bench_model.conversation(number, 24)}], "max_tokens": answer, "stream": True}
    body |= {"logit_bias": {str(token): -100 for token in never}}
    return post("/v1/chat/completions", body | {"stream_options": {"include_usage": True}})


def until(true: Callable[[], object], seconds: float) -> float:
    """Seconds that it took to become true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s"
        time.sleep(0.01)
    return time.monotonic() - started


def many(endpoint: Soaked, requests: int, numbers: Iterator[int]) -> None:
    """No growth over all the requests: memory after each tenth of them."""
    each = -(-requests // (10 * CLIENTS))
    seen = []
    for _ in range(10):
        load(endpoint.port, question, CLIENTS, each, numbers)
        seen.append(endpoint.memory())
    print(f"{10 * each * CLIENTS:,} requests: memory after each tenth {' '.join(f'{size:.0f}' for size in seen)} MB")
    assert seen[-1] - seen[1] < 24, "it grows with the number of requests"


def vanishing(endpoint: Soaked, numbers: Iterator[int]) -> None:
    """Clients that are cut off in the middle give back their slots."""
    before = endpoint.memory()
    for _ in range(200):
        client = socket.create_connection(("127.0.0.1", endpoint.port))
        client.sendall(question(next(numbers), 200))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    took = until(endpoint.idle, 30)
    print(f"200 vanished clients: every slot free after {took:.2f} s, {endpoint.memory() - before:+.0f} MB")


@contextlib.contextmanager
def pressed(port: int) -> Iterator[None]:
    """Under load, whatever becomes of the endpoint."""
    children = [subprocess.Popen([sys.executable, __file__, "--press", str(port)]) for _ in range(2)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def killed(endpoint: Soaked) -> None:
    """kill -9 of the worker under load: back soon, journal whole."""
    with pressed(endpoint.port):
        until(lambda: not endpoint.idle(), 30)
        for _ in range(3):
            worker = endpoint.state["worker"]
            os.kill(int(str(worker)), signal.SIGKILL)
            took = until(lambda worker=worker: endpoint.state["worker"] != worker and local_endpoint.live("bench", "local"), 60)  # type: ignore[misc]
            print(f"kill -9 under load: the next worker answers after {took:.2f} s")
            assert took <= BACK_SECONDS, f"not back within {BACK_SECONDS:g} s"
            time.sleep(1.5)
    until(endpoint.idle, 60)
    lines = [line for path in journal_folder("bench", "local").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    torn = sum(not whole(line) for line in lines)
    print(f"the journal has {len(lines):,} lines, {torn} torn by 3 kills")
    assert torn <= 3


def whole(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(json.loads(line), dict)
    return False


def press(port: int) -> None:
    """Load for ever, whatever becomes of it."""
    numbers = itertools.count(os.getpid() * 1000)
    while True:
        with contextlib.suppress(OSError, AssertionError):
            load(port, lambda number: question(number, 60), 8, 4, numbers)


def drained(endpoint: Soaked, artifact: Path, numbers: Iterator[int]) -> None:
    """SIGTERM under load: what was begun is finished, and it ends."""
    ends = json.loads((artifact / "contract.json").read_text(encoding="utf-8"))["stop_ids"]

    async def ask() -> tuple[float, list[Seen | BaseException]]:
        from load import Client

        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(Client, "127.0.0.1", endpoint.port))[1] for _ in range(SLOTS)]
        asked = [asyncio.ensure_future(client.ask(question(next(numbers), OUTPUT, ends))) for client in clients]
        await asyncio.sleep(0.1)
        os.kill(int(str(endpoint.state["pid"])), signal.SIGTERM)
        return time.perf_counter(), await asyncio.gather(*asked, return_exceptions=True)

    at, found = asyncio.run(ask())
    answered = [item for item in found if not isinstance(item, BaseException) and item.tokens == OUTPUT]
    began = SLOTS - sum(item.ended < at for item in answered)
    took = until(lambda: not local_endpoint.supervised(run_folder("bench", "local")), 90)
    print(f"SIGTERM with {began} answers under way: {SLOTS - len(answered)} lost, ended {took:.2f} s after the last")
    assert len(answered) == SLOTS
    assert began, "all had ended before"


def budget(artifact: Path) -> int:
    """Bytes for the slots' keys and values, and a few prefixes."""
    shape = json.loads((artifact / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]
    token = shape["num_hidden_layers"] * 2 * shape["num_key_value_heads"] * shape["head_size"] * 4
    return -(-(SLOTS * token * (INPUT + OUTPUT) + PREFIXES) // 10**6) * 10**6


def weights_once(endpoint: Soaked, artifact: Path) -> None:
    """What is resident beside keys and values, and what the weights take on the disk."""
    rest, disk = endpoint.memory() - budget(artifact) / 1e6, sum(path.stat().st_size for path in artifact.iterdir()) / 1e6
    print(f"memory without keys and values {rest:.0f} MB; the artifact on the disk {disk:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--artifact", type=Path, help="an onnx artifact; the bench model's int8 when absent")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--press", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.press:
        press(args.press)
    made = open_artifact(args.artifact) if args.artifact else bench_model.artifact(bench_model.cache_folder(args.cache), "int8")
    assert made, f"{args.artifact}: no complete artifact"
    memory = f"{budget(made.folder) // 10**6}MB"
    limits = {"input_tokens": INPUT, "output_tokens": OUTPUT, "concurrency": SLOTS, "queue": 256, "memory": memory}
    numbers = itertools.count(50_000_000)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLMSPEC_HOME"] = str(Path(home) / ".llmspec")
        try:
            endpoint = Soaked(bench_model.release(made, free_port(), limits=limits))
            many(endpoint, args.requests, numbers)
            weights_once(endpoint, made.folder)
            vanishing(endpoint, numbers)
            killed(endpoint)
            drained(endpoint, made.folder, numbers)
        finally:
            local_endpoint.stop("bench", "local")
    print("well")


if __name__ == "__main__":
    main()
