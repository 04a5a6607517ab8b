"""Who asks: a key becomes a caller. The file of keys is looked at with every request, so a revoked key is refused at once."""

import hmac
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from backends.serving.replies import ApiError
from llmspec.errors import StoreError
from llmspec.keys import Key, Keys, hashed, id_of
from llmspec.spec.endpoint import Permission, Role, Roles

log = logging.getLogger(__name__)

CALLER = "llmspec.caller"
"""Where an ASGI scope holds its caller."""
NOBODY = hashed("")
"""Compared with when there is no such key, so that the time of an answer does not tell which ids exist."""
EVERYTHING: frozenset[Permission] = frozenset(("use", "test", "read_metrics", "read_audit"))


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    id: str
    """The public part of a key; the address when no key was ever made."""
    role: Role | None
    """None: somebody without a key, at a path that is open to all."""
    permissions: frozenset[Permission] = field(default=frozenset(), repr=False)
    keyed: bool = False
    """Whether the id is a key's."""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions


class Keyring:
    """The keys as they are now. Where keys were made once, a file that is gone or torn lets nobody in."""

    def __init__(self, folder: Path | None, roles: Roles):
        self._keys = Keys(folder) if folder else None
        self._roles = roles
        self._known: dict[str, Key] = {}
        self._seen: tuple[int, int, int] | None = None
        self._configured = False

    @property
    def required(self) -> bool:
        """Whether keys were ever made; once they were, this worker does not forget it."""
        if self._keys and not self._configured:
            self._configured = self._keys.configured()
        return self._configured

    def caller(self, text: str) -> Caller:
        """Whose key this is, or 401."""
        self._look()
        key = self._known.get(id_of(text))
        if not hmac.compare_digest(hashed(text), key.sha256 if key else NOBODY) or key is None:
            raise refused("the API key is not known here; `llmspec keys list` shows those that are")
        state = key.state(time.time())
        if state != "good":
            raise refused(f"the API key {key.id} is {state}; `llmspec keys create` makes another")
        return Caller(key.id, key.role, frozenset(getattr(self._roles, key.role)), keyed=True)  # type: ignore[arg-type]

    def _look(self) -> None:
        """Read the file again when it is another one than last time."""
        if self._keys is None:
            return
        try:
            found = self._keys.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            self._known, self._seen = {}, None
            return
        if seen == self._seen:
            return
        self._known, self._seen = {}, seen
        try:
            self._known = {key.id: key for key in self._keys.all() if key.role in Roles.model_fields}
        except StoreError as error:
            log.error("%s", error)


def refused(why: str) -> ApiError:
    return ApiError(401, why, code="invalid_api_key")
