"""Who may ask now: whose key opens which path, so many at once, so many waiting."""

import ipaddress
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.serving.keys import CALLER, EVERYTHING, Caller, Keyring, refused
from backends.serving.pace import Pace
from backends.serving.record import RECORD, Record
from backends.serving.refusals import Refusals
from backends.serving.replies import ApiError
from llmspec.spec.endpoint import Endpoint, Limits, Permission

OPEN = {"/", "/health", "/ping", "/docs", "/openapi.json"}
"""What says little, or nothing that is not public: a probe, a page and its files, what the API looks like."""
OPEN_BELOW = ("/page/", "/docs/")
NEEDS: dict[str, Permission] = {"/metrics": "read_metrics", "/v1/audit": "read_audit"}
"""What a path needs, where it is not what the whole worker needs."""

SAID_TO_PAGES = [
    "x-llmspec-release",
    "x-request-id",
    "retry-after",
    *(f"x-ratelimit-{word}-{what}" for what in ("requests", "tokens") for word in ("limit", "remaining", "reset")),
]
"""Headers that a web page from elsewhere may read."""


@dataclass(frozen=True)
class Admission:
    """What opens this worker's door."""

    folder: Path | None = None
    """Where the keys and the trail are."""
    needed: Permission = "use"
    """`test` where a candidate is tried out."""
    granted: frozenset[Permission] = frozenset()
    """What whoever comes without a key may do, because a platform in front has let them in. Only a container is told so."""


def entrance(app: ASGIApp, endpoint: Endpoint, admission: Admission) -> ASGIApp:
    """The application behind its door."""
    access = Access(app, endpoint, admission)
    if not endpoint.cors:
        return access
    return CORSMiddleware(
        access, allow_origins=endpoint.cors, allow_methods=["GET", "POST"], allow_headers=["*"], expose_headers=SAID_TO_PAGES
    )


class Access:
    """Every request has a caller, or goes no further."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint, admission: Admission):
        self._app, self._endpoint, self._needed, self._granted = app, endpoint, admission.needed, admission.granted
        self._keyring, self._refusals = Keyring(admission.folder, endpoint.access.roles), Refusals(admission.folder)
        self._pace = Pace(endpoint.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = self._enter(scope)
        except ApiError as error:
            await self._refusal(scope, error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, self._telling(caller, send) if scope["method"] == "POST" else send)
        finally:
            record: Record = scope[RECORD]
            self._pace.spend(caller.id, record.tokens)

    def _enter(self, scope: Scope) -> Caller:
        """Who comes, if they may come in."""
        public = is_public(scope)
        caller = scope[CALLER] = self._caller(Headers(scope=scope), _address(scope), public)
        scope[RECORD].key = caller.id if caller.keyed else ""
        if not public:
            allow(caller, NEEDS.get(scope["path"].rstrip("/"), self._needed))
        if scope["method"] == "POST":
            self._pace.enter(caller.id)
        return caller

    def _refusal(self, scope: Scope, error: ApiError) -> Response:
        caller: Caller | None = scope.get(CALLER)
        if error.status in (401, 403):
            self._refusals.note(caller.id if caller else _address(scope), error, scope["method"], scope["path"])
        response = error.response()
        if caller and error.status == 429:
            response.raw_headers.extend(self._pace.headers(caller.id))
        return response

    def _telling(self, caller: Caller, send: Send) -> Send:
        """What is left of the caller's minute goes with the answer."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).raw.extend(self._pace.headers(caller.id))
            await send(message)

        return told

    def _caller(self, headers: Headers, address: str, public: bool) -> Caller:
        if not self._keyring.required and self._endpoint.loopback:
            return self._neighbour(headers, address)
        kind, _, key = headers.get("authorization", "").partition(" ")
        ours = self._keyring.required or not self._granted  # else it is the platform's own, which has done its part
        if ours and kind.lower() == "bearer" and key.strip():
            try:
                return self._keyring.caller(key.strip())
            except ApiError:
                if not public:  # a monitor whose key was revoked still sees that the endpoint is up
                    raise
        if self._granted:
            return self._let_in(headers, address)
        if public:
            return Caller(address, None)
        raise refused("no API key: send `Authorization: Bearer llms_…`; `llmspec keys create` makes one")

    def _neighbour(self, headers: Headers, address: str) -> Caller:
        """Without keys only this machine may ask; and no web page from elsewhere through a browser on it."""
        host = headers.get("host", "")
        if host and not _local(host):
            raise forbidden(f"Host is {host[:80]!r}, and without a key only this machine is answered: ask localhost, or make a key")
        if not _here(address):
            raise forbidden(f"a proxy asks for {address[:80]!r}, and without a key only this machine is answered: make a key")
        if self._from_elsewhere(headers):
            return Caller(address, "user", frozenset(self._endpoint.access.roles.user))
        return Caller(address, "admin", EVERYTHING)

    def _let_in(self, headers: Headers, address: str) -> Caller:
        """By the platform; but a browser that it knows may be on the page of a stranger."""
        self._from_elsewhere(headers)
        return Caller(address, "user", self._granted)

    def _from_elsewhere(self, headers: Headers) -> bool:
        """Whether a web page of another origin asks, one that endpoint.cors names; 403 for any other."""
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if origin is None or (host and origin.lower() in (f"http://{host}", f"https://{host}")):
            return False
        if origin.lower() in self._endpoint.cors:
            return True
        raise forbidden(f"a web page of {origin[:80]!r} may not ask here: endpoint.cors does not name it")


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def is_public(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_BELOW))


def allow(caller: Caller, needed: Permission) -> None:
    """Or 403, with what is lacking."""
    if not caller.may(needed):
        who = f"the key {caller.id} ({caller.role})" if caller.keyed else "a page from elsewhere"
        raise forbidden(f"{who} may not do this: it needs '{needed}' (endpoint.access.roles)")


def forbidden(why: str) -> ApiError:
    return ApiError(403, why, code="permission_denied")


def _local(host: str) -> bool:
    """Whether a Host header names this machine. A name that an attacker's own server resolves to 127.0.0.1 does not."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _here(address: str) -> bool:
    """Whether a client is on this machine. One that a proxy brings has the address that the proxy says."""
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Turnstile:
    """Refuses with 429 and says when to come back."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._most = limits.concurrency + limits.queue
        self._reserve = math.ceil(limits.queue / 4)
        """Places beyond those, so that one client cannot take them all."""
        self._held: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        return self._held.total()

    def expect(self, number: int, what: str, param: str) -> None:
        """Refuse what has no room in an empty queue either, before anything is done for it."""
        if number > self._most:
            said = f"{number:,} {what} in one request, and at most {self._most:,} are taken (limits.concurrency + limits.queue)"
            raise ApiError(400, said, param=param)

    def admit(self, number: int, wait: float = 0.0, client: str = "") -> None:
        """Let so many answers in, or none of them; `wait`: the seconds until it would be this client's turn."""
        if not self._fits(number, client):
            raise ApiError(429, "all places are taken, and so is the queue", code="queue_full", retry_after=max(1, math.ceil(wait)))
        if wait > self._limits.timeout:  # its time would be up before its turn came
            raise too_slow("the queue", wait, self._limits)
        self._held[client] += number

    def leave(self, number: int, client: str = "") -> None:
        self._held[client] -= number
        if not self._held[client]:
            del self._held[client]

    def _fits(self, number: int, client: str) -> bool:
        """In the reserve a client may hold no more than it leaves to others; a single place, if there is one."""
        inside = self.inside + number
        left = self._most + self._reserve - inside
        return inside <= self._most or (left >= 0 and self._held[client] + number <= max(1, left))


def too_slow(what: str, wait: float, limits: Limits) -> ApiError:
    said = f"{what} takes {wait:.0f} s now, longer than an answer may take (limits.timeout)"
    return ApiError(429, said, code="queue_full", retry_after=math.ceil(wait - limits.timeout))
