"""Where requests stand until the model can answer: 503, which a load balancer reads as `not yet`. Then the door opens."""

from starlette.types import Receive, Scope, Send

from backends.serving.door import Door
from backends.serving.replies import ApiError

AGAIN_SECONDS = 5


class Hall:
    """The outermost ASGI application of a container."""

    def __init__(self) -> None:
        self._door: Door | None = None
        self._closing = False

    def open(self, door: Door) -> None:
        """From now on the release answers, on connections that are already there too."""
        door.closing = self._closing
        self._door = door

    @property
    def closing(self) -> bool:
        return self._closing

    @closing.setter
    def closing(self, closing: bool) -> None:
        self._closing = closing
        if self._door:
            self._door.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._door:
            await self._door(scope, receive, send)
        elif scope["type"] == "http":
            not_yet = ApiError(503, "the model is being loaded", code="loading", retry_after=AGAIN_SECONDS)
            await not_yet.response()(scope, receive, send)
