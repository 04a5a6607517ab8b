"""GET /v1/audit: the audit trail, for those who may read it."""

import asyncio
import math
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

from backends.serving.replies import ApiError
from llmspec.audit import Trail

MOST = 1000
"""Entries in one answer; the newest are told."""
DOCUMENTED = {
    "parameters": [{"name": "since", "in": "query", "required": False, "schema": {"type": "number", "default": 0}}],
    "responses": {"400": {"description": "`since` is no number."}},
}


def routes(app: FastAPI, folder: Path | None) -> None:
    @app.get("/v1/audit", openapi_extra=DOCUMENTED)
    async def audit(request: Request) -> dict[str, Any]:
        """What was done since a Unix time: keys made and revoked, releases deployed, requests refused."""
        try:
            since = _finite(request.query_params.get("since", "0"))
        except ValueError as error:
            raise ApiError(400, "since is no number of seconds since 1970", param="since") from error
        entries, broken = await asyncio.to_thread(_read, Trail(folder), since) if folder else ([], 0)
        return {"object": "list", "data": entries[-MOST:], "has_more": len(entries) > MOST, "intact": not broken}


def _finite(text: str) -> float:
    """A number that others can be compared with. ValueError for what is none."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _read(trail: Trail, since: float) -> tuple[list[dict[str, Any]], int]:
    return list(trail.entries(since)), trail.broken()
