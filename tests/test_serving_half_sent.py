"""Requests that never come whole, and answers that are never read: their connections are closed in time, and nobody else's."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from test_serving_tls import certificate

from backends.serving import http_server
from backends.serving.heads import HEAD_BYTES
from backends.serving.http_server import Closing, HttpServer
from backends.serving.sockets import allow_files, bind
from llmspec.spec.endpoint import Endpoint

LIMIT = 0.4
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]


class Full(http_server.Door):
    """A door for which no file is left."""

    def accept(self) -> tuple[socket.socket, object]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class Slow:
    """Takes longer to answer than a head may take to arrive."""

    closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2 * LIMIT)
        await PlainTextResponse("well")(scope, receive, send)


class Long:
    """Answers with more than a connection holds by itself."""

    closing = False
    words = b"x" * 2**24

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(self.words)(scope, receive, send)


@contextlib.asynccontextmanager
async def serving(app: Closing | None = None, **asked: object) -> AsyncIterator[Connect]:
    listener: socket.socket = bind("127.0.0.1", 0)
    server = HttpServer(app or Slow(), None, Endpoint.model_validate(asked))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield partial(asyncio.open_connection, *listener.getsockname())
    finally:
        server.order("stop")
        await task


async def answer(connection: Connection) -> bytes:
    return await asyncio.wait_for(connection[0].readuntil(b"well"), 20)


async def closed(connection: Connection) -> bool:
    """Whether the other side hangs up within a time in which it should have."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(connection[0].read(1), 5 * LIMIT) == b""
    return False


@pytest.mark.parametrize("first", [b"", b"POST /v1/chat", b"GET / HTTP/1.1\r\nHost: x\r\nx-more: "])
def test_a_connection_whose_first_request_does_not_come_whole_is_closed(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    async def check() -> None:
        async with serving() as connect:
            half = await connect()
            half[1].write(first)
            assert await closed(half)

    monkeypatch.setattr(http_server, "HEAD_SECONDS", LIMIT)
    asyncio.run(check())


def test_so_is_one_that_sends_byte_after_byte_or_begins_a_second_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection[1].write(b"x")
                await connection[1].drain()
                await asyncio.sleep(LIMIT / 5)

    async def check() -> None:
        async with serving() as connect:
            dripping, second = await connect(), await connect()
            second[1].write(WHOLE)
            dripping[1].write(WHOLE[:20])
            task = asyncio.create_task(drip(dripping))
            assert await closed(dripping)
            await answer(second)
            second[1].write(WHOLE[:20])
            assert await closed(second)
            task.cancel()

    monkeypatch.setattr(http_server, "HEAD_SECONDS", LIMIT)
    asyncio.run(check())


@pytest.mark.parametrize(
    "begun", [WHOLE[:-2], b"GET / HTTP/1.1\r\nx-long: ", b"GET /", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"]
)
@pytest.mark.parametrize("more", [b"x: y\r\n" * 2**10, b"z" * 2**12])
def test_a_head_without_end_is_cut_off_before_it_fills_the_memory(begun: bytes, more: bytes) -> None:
    async def check() -> None:
        async with serving() as connect:
            writer = (await connect())[1]
            writer.write(begun)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 2**24:
                    writer.write(more)
                    await writer.drain()
                    sent += len(more)
            assert sent < 2**24
            another = await connect()
            another[1].write(WHOLE)
            assert b" 200 " in await answer(another)

    asyncio.run(check())


def test_a_head_that_is_too_long_is_refused_in_words_and_a_long_one_is_read() -> None:
    async def check() -> None:
        async with serving() as connect:
            reader, writer = await connect()
            writer.write(WHOLE[:-2] + b"x-long: " + b"z" * (HEAD_BYTES // 2) + b"\r\n\r\n")
            assert b" 200 " in await answer((reader, writer))
            writer.write((WHOLE[:-2] + b"x-long: ").ljust(HEAD_BYTES + 1, b"z"))  # all is read: nothing cuts the words off
            said = await asyncio.wait_for(reader.read(), 20)
            assert said.startswith(b"HTTP/1.1 431 ")
            assert b"larger than 64 kB" in said

    asyncio.run(check())


def test_long_answers_and_rests_between_requests_are_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with serving() as connect:
            connection = await connect()
            for _ in range(2):
                connection[1].write(WHOLE)
                assert b" 200 " in await answer(connection)
                assert not await closed(connection)

    monkeypatch.setattr(http_server, "HEAD_SECONDS", LIMIT)
    asyncio.run(check())


def test_in_a_crowd_nobody_rests_for_long_and_who_is_being_answered_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with serving() as connect:
            resting = await connect()
            resting[1].write(WHOLE)
            await answer(resting)
            half = [await connect() for _ in range(8)]
            assert await closed(resting)
            assert all([await closed(each) for each in half])
            asking = [await connect() for _ in range(8)]
            for each in asking:
                each[1].write(WHOLE)
            for each in asking:
                assert b" 200 " in await answer(each)

    monkeypatch.setattr(http_server, "CROWDED_SECONDS", LIMIT)
    monkeypatch.setattr(http_server, "allow_files", lambda: 0)  # any number is a crowd
    asyncio.run(check())


def test_who_reads_nothing_of_an_answer_is_dropped_and_who_reads_slowly_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with serving(Long()) as connect:
            deaf, slow = await connect(), await connect()
            for each in (deaf, slow):
                each[1].write(WHOLE)
                await each[0].readuntil(b"xxx")
            read = 0
            for _ in range(20):
                await asyncio.sleep(LIMIT / 4)
                read += len(await slow[0].read(2**18))
            while read < len(Long.words) - 3:
                read += len(await asyncio.wait_for(slow[0].readexactly(min(2**16, len(Long.words) - 3 - read)), 20))
            with contextlib.suppress(ConnectionError):
                assert len(await deaf[0].read()) < len(Long.words) - 3

    monkeypatch.setattr(http_server, "UNREAD_SECONDS", LIMIT)
    monkeypatch.setattr(http_server, "allow_files", lambda: 0)
    asyncio.run(check())


def test_without_a_crowd_who_reads_nothing_has_the_time_of_an_answer() -> None:
    async def check() -> None:
        async with serving(Long(), limits={"timeout": f"{LIMIT}s"}) as connect:
            deaf = await connect()
            deaf[1].write(WHOLE)
            await asyncio.sleep(3 * LIMIT)
            with contextlib.suppress(ConnectionError):
                assert len(await deaf[0].read()) < len(Long.words)

    asyncio.run(check())


def test_who_does_not_agree_on_encryption_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tls=certificate(tmp_path, "live")) as connect:
            assert await closed(await connect())

    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", LIMIT)
    asyncio.run(check())


def test_where_no_file_is_left_others_have_their_turn_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        async with serving() as connect:
            await connect()
            await asyncio.sleep(LIMIT)
            assert len(errors) == 1, "asyncio tries once a second, and each time as often as it is told that may queue"

    monkeypatch.setattr(http_server, "Door", Full)
    asyncio.run(check())


def test_who_falls_silent_within_a_request_over_tls_ends_no_other_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is asked to end the encryption too, and does not answer that either."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def begun(address: tuple[str, int]) -> ssl.SSLSocket:
        client = trusting.wrap_socket(socket.create_connection(address))
        client.send(WHOLE[:10])
        return client

    async def check() -> None:
        async with serving(tls=certificate(tmp_path, "live")) as connect:
            silent = await asyncio.to_thread(begun, connect.args)  # type: ignore[attr-defined]
            await asyncio.sleep(5 * LIMIT)
            another = await asyncio.open_connection(*connect.args, ssl=trusting)  # type: ignore[attr-defined]
            another[1].write(WHOLE)
            assert await answer(another)
            silent.close()

    monkeypatch.setattr(http_server, "HEAD_SECONDS", LIMIT)
    asyncio.run(check())


@pytest.mark.parametrize(
    ("soft", "hard", "found"), [(1024, 4096, 4096), (1024, 1 << 20, 10_240), (60_000, 1 << 20, 60_000), (512, 512, 512)]
)
def test_a_process_may_open_as_many_files_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, found: int
) -> None:
    limit = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limit.append(wanted))
    assert allow_files() == found
    assert limit[-1] == (found, hard)
