"""An endpoint's address over HTTPS, knocked at as users do: which release answers, and does it answer a question?"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.places import cloud
from backends.places.cloud import Watch
from backends.places.smoke import PATH, answered, question
from llmspec.client import KEY, key_in
from llmspec.errors import PlaceError
from llmspec.release import Release

PATIENCE_SECONDS = 300.0
"""A new name has to spread, and a balancer to hear of its copies."""
PRIVATE_SECONDS = 15.0
"""From outside a private network nothing answers, however long one waits."""
_NOT_YET = (429, 502, 503, 504)
"""A copy starts, or a balancer has not heard of it."""
_NOT_MINE = (401, 403)


class UnreachableError(PlaceError):
    """Nobody answers there, as seen from here."""


class LockedOutError(PlaceError):
    """Somebody in front of it wants to know who asks."""


@dataclass(frozen=True)
class Door:
    """Where it is, and what it wants to be told."""

    url: str
    """Before `/v1`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    server_name: str = ""
    """Whose certificate it shows, where that is another name than the address's own."""

    def get(self, path: str) -> tuple[int, bytes]:
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """urllib3 comes with botocore."""
        import urllib3

        key = key_in(os.environ)
        told = {**({"authorization": f"Bearer {key}"} if key else {}), "content-type": "application/json", **self.headers}
        how: dict[str, Any] = {"server_hostname": self.server_name} if self.server_name else {}
        with urllib3.PoolManager(timeout=urllib3.Timeout(connect=10, read=130), retries=False, **how) as pool:
            try:
                said = pool.request(method, self.url + path, body=body, headers=told)
            except urllib3.exceptions.HTTPError as error:
                raise UnreachableError(f"{self.url} cannot be reached from here: {error}") from error
            return said.status, said.data


def knock(door: Door, wanted: Mapping[int, Release], watch: Watch, private: bool) -> None:
    """Until one of the wanted releases answers. Where the network lets nobody in from here, that is said, and the platform's word
    is taken: its own health check asked the same question of `/health`."""
    try:
        _as_wanted(door, wanted, PRIVATE_SECONDS if private else PATIENCE_SECONDS)
    except UnreachableError:
        if not private:
            raise
        watch.see("it is private and was not asked from here: the platform says that its copies are healthy")
        return
    except LockedOutError:
        watch.see(f"it was read back, and not asked: it wants somebody who signed in (set {KEY} to their token)")
        return
    for stream in (False, True):
        status, content = _patiently(lambda stream=stream: door.post(PATH, question(stream)), PATIENCE_SECONDS)  # type: ignore[misc]
        if status in _NOT_MINE:
            watch.see(f"it answers, and was not asked a question: it wants a key (set {KEY})")
            return
        answered(status, [content], stream, door.url)


def _as_wanted(door: Door, wanted: Mapping[int, Release], patience: float) -> None:
    """Copies of the release before may answer a moment longer."""
    until = time.monotonic() + patience
    while True:
        status, content = _patiently(lambda: door.get("/health"), patience)
        if status == 401:
            raise LockedOutError(f"{door.url}/health says {status}")
        if status != 200:
            raise PlaceError(f"{door.url}/health says {status}: {content[:300].decode(errors='replace')}")
        health = _health(door, content)
        release = wanted.get(health["release"])
        if release and health.get("content", release.content) == release.content:
            return
        if time.monotonic() > until:
            other = " with other content" if release else ""
            raise PlaceError(f"release {health['release']}{other} answers at {door.url}, and not {', '.join(map(str, wanted))}")
        time.sleep(cloud.EVERY_SECONDS)


def _health(door: Door, content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
        return {**said, "release": int(said["release"])}
    except (ValueError, KeyError, TypeError) as error:
        raise PlaceError(f"{door.url}/health is none of ours: {content[:300].decode(errors='replace')}") from error


def _patiently(ask: Callable[[], tuple[int, bytes]], patience: float) -> tuple[int, bytes]:
    """What only needs time is asked again; the last word counts."""
    until = time.monotonic() + patience
    while True:
        try:
            status, content = ask()
            if status not in _NOT_YET or time.monotonic() > until:
                return status, content
        except UnreachableError:
            if time.monotonic() > until:
                raise
        time.sleep(cloud.EVERY_SECONDS)
