"""Who is next: clients take turns, and each client's requests keep their order."""

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """One line per client. Whoever was served goes behind the others; a client with one request waits for one of each at most.

    May be touched from any thread.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._lock = Lock()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, client: str, item: Item) -> None:
        with self._lock:
            self._lines.setdefault(client, deque()).append(item)
            self._length += 1

    def peek(self) -> Item | None:
        with self._lock:
            return next(iter(self._lines.values()))[0] if self._lines else None

    def pop(self) -> Item:
        with self._lock:
            client, line = next(iter(self._lines.items()))
            return self._served(client, line[0])

    def pop_like(self, like: Callable[[Item], bool]) -> Item | None:
        """The next of those that are like this, if any is."""
        with self._lock:
            for client, line in self._lines.items():
                for item in line:
                    if like(item):
                        return self._served(client, item)
        return None

    def remove(self, item: Item) -> None:
        """Its client keeps its turn."""
        with self._lock:
            self._drop(next(client for client, line in self._lines.items() if item in line), item)

    def items(self) -> list[Item]:
        with self._lock:
            return [item for line in self._lines.values() for item in line]

    def ahead(self, client: str, number: int = 1) -> list[Item]:
        """Who goes before the last of so many that this client would bring now, without what it brings."""
        with self._lock:
            rounds, found = len(self._lines.get(client, ())) + number, list[Item]()
            for name, line in self._lines.items():
                found += islice(line, rounds)
                if name == client:
                    rounds -= 1  # those behind it in the round have had one turn less when its own comes
            return found

    def _served(self, client: str, item: Item) -> Item:
        self._drop(client, item)
        if client in self._lines:
            self._lines.move_to_end(client)
        return item

    def _drop(self, client: str, item: Item) -> None:
        self._lines[client].remove(item)
        self._length -= 1
        if not self._lines[client]:
            del self._lines[client]
