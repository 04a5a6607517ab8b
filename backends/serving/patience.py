"""Work that is waited for as long as its client stays, and as its time lasts."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from backends.serving.replies import ApiError

Made = TypeVar("Made")


async def waited(request: Request, work: Coroutine[Any, Any, Made], seconds: float) -> Made:
    """What it comes to. When the client leaves (499) or time is up (TimeoutError), the work is cancelled."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, gone}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if gone.done():
            raise ApiError(499, "the client left")
        raise TimeoutError
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
