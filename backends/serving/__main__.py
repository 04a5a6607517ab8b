"""One worker: `python -m backends.serving --release release.json` loads a release, proves that it answers, and serves it.

Under a supervisor (`--control`) it gets its socket from there, and ends when the supervisor does.
"""

import argparse
import asyncio
import logging
import socket
import sys
from pathlib import Path

from backends.serving.access import Admission
from backends.serving.api import application
from backends.serving.control import Line
from backends.serving.http_server import HttpServer
from backends.serving.journal import Journal
from backends.serving.kinds import Kind, load
from backends.serving.sockets import bind, url_of
from backends.serving.tracing import tracing
from llmspec import tls
from llmspec.errors import LLMSpecError, PlaceError
from llmspec.release import Release
from llmspec.secrets import scrub
from llmspec.spec.endpoint import Endpoint

log = logging.getLogger("llmspec")


async def serve(
    release: Release, endpoint: Endpoint, kind: Kind, journal: Journal, admission: Admission, line: Line | None
) -> None:
    listener = await asyncio.to_thread(line.listener) if line else bind(endpoint.host, endpoint.port)
    service = kind.answering(release, endpoint.limits)
    door = application(service, journal, endpoint, admission)
    door.tracing = tracing(release)
    server = HttpServer(door, line, endpoint)
    if line:
        loop = asyncio.get_running_loop()

        def obey(order: str) -> None:
            loop.call_soon_threadsafe(server.order, order)

        line.on_order = obey
    log.info("release %d answers on %s", release.number, where(listener, endpoint))
    await server.serve(sockets=[listener])
    service.close()
    if door.tracing:
        await asyncio.to_thread(door.tracing.close)


def where(listener: socket.socket, endpoint: Endpoint) -> str:
    host, port = listener.getsockname()[:2]
    return url_of(host, port, secure=endpoint.tls is not None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backends.serving", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="a file with the release, as JSON")
    parser.add_argument("--journal", type=Path, help="folder of the journal; none is kept without")
    parser.add_argument("--access", type=Path, help="folder of the keys and the audit trail; this machine only without")
    parser.add_argument("--candidate", action="store_true", help="for those who may test, not for all who may use what is live")
    parser.add_argument("--control", type=int, help="file descriptor of the supervisor's line")
    args = parser.parse_args()
    when = "%(asctime)s " if args.control is None else ""  # the supervisor writes the time of every line itself
    logging.basicConfig(level=logging.INFO, format=when + "%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    line = Line(args.control) if args.control is not None else None
    try:
        release = Release.from_json(args.release.read_text(encoding="utf-8"))
        endpoint = Endpoint.model_validate(release.serving)
        if endpoint.tls and (fault := tls.fault(endpoint.tls.certificate, endpoint.tls.key)[1]):
            raise PlaceError(f"endpoint.tls: {fault}")
        kind = load(release, endpoint)
    except Exception as error:
        # Whatever it was, the supervisor shall hear it: the old release stays, and the user reads why.
        log.exception("the release could not be loaded")
        if line:
            line.say(error=scrub(str(error) if isinstance(error, LLMSpecError) else f"{type(error).__name__}: {error}"))
        return 1
    if line:
        line.say(loaded=True)
    journal = Journal(args.journal, endpoint.journal)
    admission = Admission(args.access, "test" if args.candidate else "use")
    asyncio.run(serve(release, endpoint, kind, journal, admission, line))
    journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
