"""Who is next: clients take turns, and each client's requests keep their order."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """One line per client. Whoever was served goes behind the others; a client with one request waits for one of each at most.

    Touched by the engine's thread alone, but for `push` and `len`.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._arrived: deque[tuple[str, Item]] = deque()
        """Pushed by other threads, not yet in a line: a deque's ends may be used from two threads, a dict may not."""
        self._in_lines = 0

    def __len__(self) -> int:
        return len(self._arrived) + self._in_lines

    def push(self, client: str, item: Item) -> None:
        self._arrived.append((client, item))

    def _settle(self) -> None:
        while self._arrived:
            client, item = self._arrived[0]
            self._lines.setdefault(client, deque()).append(item)
            self._in_lines += 1
            self._arrived.popleft()  # last: meanwhile it is counted twice rather than not at all

    def peek(self) -> Item | None:
        self._settle()
        return next(iter(self._lines.values()))[0] if self._lines else None

    def pop(self) -> Item:
        self._settle()
        client, line = next(iter(self._lines.items()))
        item = line.popleft()
        self._in_lines -= 1
        del self._lines[client]
        if line:
            self._lines[client] = line
        return item

    def remove(self, item: Item) -> None:
        self._settle()
        client = next(client for client, line in self._lines.items() if item in line)
        self._lines[client].remove(item)
        self._in_lines -= 1
        if not self._lines[client]:
            del self._lines[client]

    def items(self) -> list[Item]:
        self._settle()
        return [item for line in self._lines.values() for item in line]
