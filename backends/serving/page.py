"""The page for people at `/`: a few static files, and what they must know of the product. No build, no other host."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from backends.serving.answering import Answering
from backends.serving.bodies import Part

FOLDER = Path(__file__).with_name("page")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "; ".join(
    [
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "require-trusted-types-for 'script'",  # text can become an element only by name, never by being parsed
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # kept, and asked about each time: after an upgrade no old module meets a new one
}


def address(file: Path) -> str:
    return "/" if file.name == "index.html" else f"/page/{file.name}"


FILES = {address(file): file for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}
"""Address -> file. They hold nothing of the product, so whoever reaches the endpoint may read them: also without a key."""


class Lengths(Part):
    """The most that one request takes."""

    input_tokens: int
    output_tokens: int


class Product(Part):
    """What is served, in a few words."""

    id: str
    """Its name."""
    object: Literal["product"] = "product"
    release: int
    reads_context: bool
    """Whether its template has a place for a chat request's `context`."""
    limits: Lengths


def router(service: Answering) -> APIRouter:
    made = APIRouter()
    for path, file in FILES.items():
        made.add_api_route(path, _giving(file), methods=["GET", "HEAD"], include_in_schema=False)

    @made.get("/v1/product")
    async def product() -> Product:
        """What a page must know before it asks."""
        release, limits = service.release, service.limits
        taken = Lengths(input_tokens=limits.input_tokens, output_tokens=limits.output_tokens)
        return Product(id=release.spec, release=release.number, reads_context=service.reads_context, limits=taken)

    return made


def _giving(file: Path) -> Any:
    """An endpoint that answers with this file, or with 304 when the browser has it."""
    content = file.read_bytes()
    headers = HEADERS | {"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def give(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[file.suffix])

    return give
