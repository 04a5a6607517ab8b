"""The journal of an endpoint in AWS: lines in its log group, brought into the folder that monitors and `status` read."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmspec.aws import Aws, RefusedError
from llmspec.journal import CURRENT, MOST_BYTES
from llmspec.shelf import write_atomically

WRAPPED = "log_processed"
"""The agent of EKS puts a line that is JSON below this key."""
PLAIN, DEEP = '{ $.line = "journal" }', f'{{ $.{WRAPPED}.line = "journal" }}'


def bring(aws: Aws, group: str, folder: Path, since: float) -> None:
    """All since then, and of a very busy endpoint as much of the newest as one look reads. What was brought before is replaced:
    the log group keeps it, and nothing here is the only copy."""
    kept: deque[bytes] = deque()
    size = 0
    for line in _lines(aws, group, since):
        kept.append(line)
        size += len(line)
        while size > MOST_BYTES:
            size -= len(kept.popleft())
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CURRENT, b"".join(kept).decode())


def _lines(aws: Aws, group: str, since: float) -> Iterator[bytes]:
    """As the endpoint wrote them, in the order of their time. No log group is no line yet."""
    what: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000)}
    pattern = DEEP if group.startswith("/aws/containerinsights/") else PLAIN
    try:
        for event in aws.pages("logs", "filter_log_events", "events", **what, filterPattern=pattern):
            if line := _journal(event["message"]):
                yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
    except RefusedError as error:
        if not error.gone:
            raise


def _journal(message: str) -> dict[str, Any] | None:
    """The line without what only a collector needs; None for what is none."""
    try:
        said = json.loads(message)
    except ValueError:
        return None
    said = said.get(WRAPPED, said) if isinstance(said, dict) else {}
    if not isinstance(said, dict) or said.get("line") != "journal" or "time" not in said:
        return None
    return {"time": said.pop("time"), **{name: value for name, value in said.items() if name != "line"}}
