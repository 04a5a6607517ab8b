"""Clients over HTTP, as light as they can be: they share the cores with the server that is measured.

One connection per client, kept; each asks, reads its stream to the end, and asks again. What a client sees is timed:
the first text, the gaps between texts, the whole.
"""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

TEXT = re.compile(rb'"(?:content|text)": ?"[^"]')
COUNT = re.compile(rb'"completion_tokens": ?(\d+)')
READ = re.compile(rb'"prompt_tokens": ?(\d+)')


@dataclass
class Seen:
    """One answer, as its client saw it."""

    asked: float
    times: list[float] = field(default_factory=list)
    """When a piece of text came."""
    tokens: int = 0
    prompt: int = 0
    status: int = 0
    ended: float = 0.0

    @property
    def first(self) -> float:
        return self.times[0] - self.asked

    @property
    def gaps(self) -> Iterator[float]:
        return (after - before for before, after in zip(self.times, self.times[1:], strict=False))


class Client(asyncio.Protocol):
    """A connection that asks one thing after the other."""

    def __init__(self) -> None:
        self._buffer, self._done = b"", asyncio.get_running_loop().create_future()
        self._seen = Seen(0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if TEXT.search(data):
            self._seen.times.append(now)
        self._buffer += data
        tail = self._buffer[-700:]
        if (b"[DONE]" in tail and tail.endswith(b"0\r\n\r\n")) or self._whole():
            self._finish(now)

    def _whole(self) -> bool:
        """Of an answer that is no stream, an error for instance."""
        head, end, _ = self._buffer[:1000].partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return bool(end and length) and len(self._buffer) - len(head) - len(end) >= int(length[1])  # type: ignore[index]

    def _finish(self, now: float) -> None:
        seen, said = self._seen, self._buffer
        seen.ended, seen.status = now, int(said[9:12])
        counted, read = COUNT.findall(said), READ.findall(said)
        seen.tokens, seen.prompt = int(counted[-1]) if counted else 0, int(read[-1]) if read else 0
        self._buffer = b""
        if re.search(rb"(?i)\r\nconnection: close\r\n", said[:2000]):
            self.transport.close()
        if not self._done.done():
            self._done.set_result(seen)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            kind = ConnectionError if self._buffer else ConnectionAbortedError
            self._done.set_exception(kind(f"the server closed the connection in the middle of an answer: {error}"))

    async def ask(self, request: bytes) -> Seen:
        self._done = asyncio.get_running_loop().create_future()
        self._seen = Seen(time.perf_counter())
        self.transport.write(request)
        return await self._done  # type: ignore[no-any-return]


def post(path: str, body: dict[str, object]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


@dataclass
class Run:
    """What one round of load came to."""

    seconds: float
    cpu: float
    """Seconds of CPU that the clients themselves took."""
    answers: list[Seen]

    @property
    def rate(self) -> float:
        return sum(seen.tokens for seen in self.answers) / self.seconds

    @property
    def firsts(self) -> list[float]:
        return [seen.first for seen in self.answers if seen.times]

    @property
    def gaps(self) -> list[float]:
        return [gap for seen in self.answers for gap in seen.gaps]


def load(port: int, request: Callable[[int], bytes], clients: int, each: int, numbers: Iterator[int]) -> Run:
    """`clients` at once, each asks `each` times; `request(number)` makes the bytes of a request."""
    prepared = [[request(next(numbers)) for _ in range(each)] for _ in range(clients)]

    async def one(requests: list[bytes]) -> list[Seen]:
        seen, client = [], None
        for request in requests:
            if client is None or client.transport.is_closing():
                _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
            try:
                seen.append(await client.ask(request))
            except ConnectionAbortedError:  # some servers close after an answer without saying so
                _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
                seen.append(await client.ask(request))
        if client:
            client.transport.close()
        return seen

    async def everyone() -> list[list[Seen]]:
        return await asyncio.gather(*map(one, prepared))

    started, cpu = time.perf_counter(), time.process_time()
    answers = [seen for found in asyncio.run(everyone()) for seen in found]
    run = Run(time.perf_counter() - started, time.process_time() - cpu, answers)
    wrong = [seen.status for seen in answers if seen.status != 200 or not seen.times]
    assert not wrong, f"{len(wrong)} of {len(answers)} requests failed: {wrong[:3]}"
    return run


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0
