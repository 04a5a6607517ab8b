"""The work door, opened ahead: `python -m backends.work.ahead SOCKET MODULE …` loads tools that take seconds to load, and
becomes, by a fork, the process of each job that it is asked for. So jobs that need the same tools load them once, and while
others work.

Over its socket it is handed a job's paper and environment with the two ends that the job's process speaks through. It says that
process's number, and when that has ended, how. One job at a time; when nobody holds the socket's other end, it ends.
"""

import gc
import importlib
import json
import os
import socket
import struct
import sys

from backends.work.door import main as open_door

NUMBER = struct.Struct("q")


def load(modules: list[str]) -> None:
    """A module that cannot be loaded is the job's to report: it meets it again."""
    gc.disable()
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - whatever it is, the job that needs the module says it
            break
    gc.freeze()
    gc.enable()


def serve(asker: socket.socket) -> None:
    while True:
        size, ends, _, _ = socket.recv_fds(asker, NUMBER.size, 2)
        if not size:
            return
        paper, env = json.loads(_all(asker, NUMBER.unpack(size)[0]))
        child = os.fork()
        if not child:
            asker.close()
            become(paper, env, *ends)
        for end in ends:
            os.close(end)
        asker.sendall(NUMBER.pack(child))
        _, status = os.waitpid(child, 0)
        asker.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _all(asker: socket.socket, size: int) -> bytes:
    with asker.makefile("rb", buffering=0) as file:
        found = b""
        while len(found) < size and (more := file.read(size - len(found))):
            found += more
    return found


def become(paper: str, env: dict[str, str], stdin: int, stdout: int) -> None:
    """The job's process: nothing of what it sees tells it from one of its own."""
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stdout, 2)
    os.closerange(3, max(stdin, stdout) + 1)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [sys.argv[0], paper]
    open_door()


if __name__ == "__main__":
    asker = socket.socket(fileno=int(sys.argv[1]))
    load(sys.argv[2:])
    serve(asker)
