"""The port: taken once, by the supervisor, and named clearly when somebody else has it. Light: no import but the floor."""

import errno
import re
import resource
import socket
import time
from pathlib import Path

from llmspec.errors import PlaceError

MOST_FILES = 10_240
"""As many as every system lets a process open that may open more."""
BACKLOG = 512
"""Connections that wait in the kernel while a worker is restarted."""


def bind(host: str, port: int, patience: float = 1.0) -> socket.socket:
    """A listening socket. A predecessor that is just going may keep the port for a moment: it is waited for."""
    until = time.monotonic() + patience
    while True:
        try:
            return _bound(host, port)
        except UnicodeError as error:  # a name that no name server could be asked for
            raise PlaceError(_fault(host, port, OSError(errno.EINVAL, "it is no name of a host"))) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise PlaceError(_fault(host, port, error)) from error
            time.sleep(0.1)


def taken(error: PlaceError) -> bool:
    """Whether the host is this machine's, and only the port was taken."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _fault(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        who = holder(port)
        return f"port {port} is taken{f' by {who}' if who else ''}: stop that, or set endpoint.port to another (0 takes a free one)"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has: set endpoint.port to one above 1023"
    return f"cannot listen on {host}:{port} ({error.strerror or error}): set endpoint.host to an address of this machine"


def holder(port: int) -> str:
    """'python -m http.server (process 4211)', where the kernel lets us see it; else empty."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
            inodes |= {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                command = re.sub(r"\s+", " ", (process / "cmdline").read_text().replace("\0", " ")).strip()
                return f"{command[:80]} (process {process.name})"
        except OSError:  # not ours to look into, or gone meanwhile
            continue
    return ""


def allow_files() -> int:
    """Lets this process open as many files and connections as the system allows it; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def url_of(host: str, port: int, secure: bool = False) -> str:
    """Where a client on this machine finds it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    scheme = "https" if secure else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
