"""The endpoint in a container: `python -m backends.serving.container serve`, as SageMaker, ECS, EKS and Lambda start the image.

One process, without a supervisor: the platform is that. It listens at once and says 503 until its release is verified, loaded
and has answered once; engine, guards and limits are those of the local endpoint. docs/container.md tells what the environment says.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace

from backends.serving.access import Admission
from backends.serving.answering import Answering
from backends.serving.api import application
from backends.serving.hall import Hall
from backends.serving.http_server import HttpServer
from backends.serving.journal import Journal
from backends.serving.kinds import Kind, load
from backends.serving.lines import JsonLog, Lines, PrintedJournal
from backends.serving.product import Product
from backends.serving.sockets import bind
from backends.serving.surroundings import Surroundings
from backends.serving.tracing import Tracing, tracing
from llmspec import copies
from llmspec.errors import LLMSpecError

log = logging.getLogger("llmspec")

LAST_SECONDS = 5
"""Of what the platform gives, for what comes after the last answer: journal, spans, goodbye."""
HURRY_SECONDS = 3
"""Before that, answers under way end with what they have, and are still sent."""


class Draining(HttpServer):
    """Told to stop, it lets answers end as long as the platform's patience lasts."""

    def __init__(self, hall: Hall, around: Surroundings):
        self.seconds = around.stop_seconds - LAST_SECONDS
        super().__init__(hall, None, around.endpoint, patience=self.seconds)
        self.service: Product | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("asked to stop: answers under way have %d seconds", self.seconds)
        if isinstance(self.service, Answering):
            asyncio.get_running_loop().call_later(self.seconds - HURRY_SECONDS, self.service.hurry)
        await super().shutdown(sockets)


async def serve(around: Surroundings, lines: Lines) -> int:
    """Until told to stop: 0. 1 when the release does not come up."""
    hall = Hall()
    server = Draining(hall, around)
    listener = bind(around.endpoint.host, around.endpoint.port)
    log.info("listening on %s:%d", *listener.getsockname()[:2])
    journal = Journal(around.journal, around.endpoint.journal) if around.journal else PrintedJournal(around.endpoint.journal, lines)
    opening = asyncio.create_task(open_door(hall, server, around, journal))
    opening.add_done_callback(lambda task: None if task.cancelled() or not task.exception() else server.order("stop"))
    await server.serve(sockets=[listener])
    if not opening.done():
        opening.cancel()  # stopped while it loaded: there is nothing to end
    elif fault := opening.exception():
        known = isinstance(fault, LLMSpecError)
        reason = str(fault) if known else f"{type(fault).__name__}: {fault}"
        log.error("release %d does not come up: %s", around.release.number, reason, exc_info=None if known else fault)
    else:
        await _end(server, opening.result())
    journal.close()
    return 1 if opening.done() and not opening.cancelled() and opening.exception() else 0


async def open_door(hall: Hall, server: Draining, around: Surroundings, journal: Journal) -> Tracing | None:
    """Verify, load and try the release in a thread, while the hall answers; then let people in."""
    started, release = time.monotonic(), around.release
    kind = await asyncio.wrap_future(_loaded(around))
    service = server.service = kind.answering(release, around.endpoint.limits)
    admission = Admission(around.keys, granted=around.grants)
    door = application(service, journal, around.endpoint, admission)
    door.tracing = tracing(release)
    hall.open(door)
    log.info("release %d of %s answers, after %.1f s", release.number, release.spec, time.monotonic() - started)
    return door.tracing


def _loaded(around: Surroundings) -> "Future[Kind]":
    """In a thread that nobody waits for: a stop while it loads must not take as long as loading."""
    future: Future[Kind] = Future()

    def run() -> None:
        try:
            here = copies.at_hand(around.release.artifact, mends=False)
            kind = load(replace(around.release, artifact=str(here)), around.endpoint)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the future is awaited
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(kind)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future


async def _end(server: Draining, spans: Tracing | None) -> None:
    assert server.service
    server.service.close()
    if spans:
        await asyncio.to_thread(spans.close)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backends.serving.container", description=__doc__)
    parser.add_argument("command", choices=["serve"], help="what `docker run IMAGE serve` says")
    parser.parse_args()
    lines = Lines()
    logging.basicConfig(level=logging.INFO, handlers=[JsonLog(lines)])
    logging.captureWarnings(True)
    try:
        return asyncio.run(serve(Surroundings.of(os.environ), lines))
    except LLMSpecError as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # All is answered, written and said: a thread that still loads is not waited for.
    os._exit(code)
