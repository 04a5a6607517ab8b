"""A file of requests becomes a file of answers, line for line, in OpenAI's batch format. Standard library only.

Answers are written in the order of the requests, each with one write: a batch that was killed goes on where its answers end.
The files may be larger than the memory: a few hundred lines are held at a time.
"""

import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.batch_client import Asker, Line
from llmspec.errors import CallError, LockedError, PlaceError, Problem, SpecError

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/classify")
AHEAD_LINES, AHEAD_BYTES = 256, 64 * 2**20
"""What may be asked or answered before the first line that is not written yet: a slow one must not stop the others."""
MOST_PROBLEMS = 1000
SYNC_SECONDS = 5.0


@dataclass
class Tally:
    """How far it is."""

    total: int = 0
    done: int = 0
    found: int = 0
    """Of those done, the ones that an earlier run had answered."""
    failed: int = 0
    tokens: int = 0
    """Read and written in this run."""

    def count(self, answer: dict[str, Any]) -> None:
        self.done += 1
        response = answer["response"]
        self.failed += response is None or response["status_code"] != 200


def parse(number: int, raw: bytes) -> Line:
    """One line; ValueError says what is wrong with it."""
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if not isinstance(value.get("custom_id"), str) or not value["custom_id"]:
        raise ValueError("custom_id is missing: a text that names the line")
    if any("\ud800" <= sign <= "\udfff" for sign in value["custom_id"]):
        raise ValueError("custom_id holds half a character (a lone surrogate), which no file can hold")
    if value.get("method", "POST") != "POST":
        raise ValueError(f"method is {value['method']!r}, and only POST is there")
    if value.get("url") not in URLS:
        raise ValueError(f"url is {value.get('url')!r}; known: {', '.join(URLS)}")
    if not isinstance(value.get("body"), dict):
        raise ValueError("body is missing: the request as a JSON object")
    if value["body"].get("stream"):
        raise ValueError("body.stream: a batch is not streamed; leave it out")
    return Line(number, value["custom_id"], value["url"], json.dumps(value["body"]).encode())


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                yield number, raw


def _regular(path: Path) -> None:
    """Both files are read from their beginning, more than once: a pipe can be read once, and a device may have no end."""
    if path.exists() and not path.is_file():
        raise CallError(f"{path}: not a file; name one, since a batch that was stopped goes on where its file ends")


def check(path: Path) -> int:
    """How many requests there are; all that is wrong with any of them is said at once, before the first is asked."""
    total, problems = 0, []
    _regular(path)
    try:
        for number, raw in numbered(path):
            total += 1
            try:
                parse(number, raw)
            except ValueError as error:
                problems.append(Problem(str(path), number, 1, "", str(error)))
                if len(problems) == MOST_PROBLEMS:
                    break
    except OSError as error:
        raise CallError(f"{path}: cannot be read: {error.strerror}") from error
    if problems:
        raise SpecError(*problems)
    return total


class Batch:
    """One run over one pair of files."""

    def __init__(self, asked: Path, answers: Path, at_once: int, seen: Callable[[Tally], None]):
        self._asked, self._answers = asked, answers
        self._at_once, self._seen = at_once, seen
        self.tally = Tally()

    def run(self, answering: Callable[[], AbstractContextManager[Asker]]) -> Tally:
        """Ask whatever has no answer yet; `answering` says whom, and is called when there is something to ask.

        What is written stays written, however this ends.
        """
        self.tally.total = check(self._asked)
        with self._opened() as out:
            lines = numbered(self._asked)
            self._go_on(out, lines)
            if self.tally.done < self.tally.total:
                with answering() as asker:
                    self._ask_all(asker, (parse(*line) for line in lines), out)
        return self.tally

    # the file of answers

    @contextmanager
    def _opened(self) -> Iterator[int]:
        _regular(self._answers)
        try:
            out = os.open(self._answers, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CallError(f"{self._answers}: cannot be written: {error.strerror}") from error
        try:
            if self._answers.samefile(self._asked):
                raise CallError(f"{self._answers}: the requests are in this file; name another one for the answers")
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield out
        except BlockingIOError as error:
            raise LockedError(f"{self._answers}: another batch is writing it; wait for it, or end it") from error
        finally:
            os.close(out)

    def _go_on(self, out: int, lines: Iterator[tuple[int, bytes]]) -> None:
        """Pass over what an earlier run has answered, and cut off a line in whose middle it was killed."""
        whole = 0
        with self._answers.open("rb") as answers:
            for row, answer in enumerate(answers, start=1):
                if not answer.endswith(b"\n"):
                    os.ftruncate(out, whole)
                    break
                self._match(row, answer, next(lines, None))
                whole += len(answer)
        self.tally.found = self.tally.done

    def _match(self, row: int, answer: bytes, line: tuple[int, bytes] | None) -> None:
        try:
            found = json.loads(answer)
            answered = found["custom_id"]
            self.tally.count(found)
        except (ValueError, KeyError, TypeError) as error:
            raise CallError(f"{self._answers}:{row}: not an answer of a batch; name another file, or cut it off here") from error
        asked = parse(*line).custom_id if line else None
        if asked != answered:
            says = f"line {line[0]} of {self._asked} is {asked!r}" if line else f"{self._asked} has no line for it"
            raise CallError(f"{self._answers}:{row}: answers {answered!r}, but {says}: name another file for these answers")

    def _write(self, out: int, answer: dict[str, Any]) -> None:
        line = json.dumps(answer, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"
        try:
            if os.write(out, line) < len(line):
                raise OSError(28, "the disk took only part of a line")
        except OSError as error:
            raise PlaceError(f"{self._answers}: {error.strerror}; make room, then run it again: it goes on from here") from error
        self.tally.count(answer)
        self.tally.tokens += _tokens(answer)

    # asking

    def _ask_all(self, asker: Asker, lines: Iterator[Line], out: int) -> None:
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="batch")
        try:
            self._in_order(lambda line: pool.submit(asker.answer, line), lines, out)
            os.fsync(out)
        finally:
            asker.close()
            pool.shutdown(cancel_futures=True)

    def _in_order(self, ask: Callable[[Line], "Future[dict[str, Any]]"], lines: Iterator[Line], out: int) -> None:
        """Several are asked at once; each is written as soon as all before it are."""
        ahead: deque[tuple[Future[dict[str, Any]], int]] = deque()
        held, synced = 0, time.monotonic()
        for line in lines:
            ahead.append((ask(line), len(line.body)))
            held += len(line.body)
            while ahead and (len(ahead) >= AHEAD_LINES + self._at_once or held > AHEAD_BYTES or ahead[0][0].done()):
                held -= self._settle(*ahead.popleft(), out)
                if time.monotonic() - synced > SYNC_SECONDS:
                    os.fsync(out)
                    synced = time.monotonic()
        while ahead:
            self._settle(*ahead.popleft(), out)

    def _settle(self, answer: "Future[dict[str, Any]]", size: int, out: int) -> int:
        while True:
            try:
                found = answer.result(timeout=0.2)
                break
            except NotYet:
                self._seen(self.tally)
        self._write(out, found)
        self._seen(self.tally)
        return size


def _tokens(answer: dict[str, Any]) -> int:
    with suppress(KeyError, TypeError):
        return int(answer["response"]["body"]["usage"]["total_tokens"])
    return 0
