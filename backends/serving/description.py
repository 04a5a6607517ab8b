"""The API's description at /openapi.json, and as a page at /docs."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, JSONResponse

from backends.serving.bodies import Chat, Completion
from backends.serving.docs_page import page_of
from backends.serving.shapes import ANSWERS, STREAMS, Error

REFERENCE = "#/components/schemas/{model}"
FAULTS = {
    "400": "The request makes no sense here; `param` names the field.",
    "401": "No key, or none that is good any more.",
    "403": "The key may not do this; without keys, a web page from elsewhere.",
    "404": "No such model, or no such path.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "429": "Too many requests; the header retry-after says when to come back.",
    "500": "The endpoint failed; its log says more.",
}
READING = ("401", "403", "404", "429", "500")
"""What can go wrong where nothing is sent."""


def body_of(*bodies: type[Chat] | type[Completion]) -> dict[str, Any]:
    """For a route's `openapi_extra`: which bodies it takes."""
    found = [{"$ref": REFERENCE.format(model=body.__name__)} for body in bodies]
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": found[0] if len(found) == 1 else {"anyOf": found}}},
        }
    }


def describe(app: FastAPI) -> None:
    """Made when somebody first asks, off the event loop: it takes half a second, and most workers are never asked."""
    described = cache(lambda: description_of(app))
    page = cache(lambda: "".join(page_of(described())))

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(described())

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(), headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})


def description_of(app: FastAPI) -> dict[str, Any]:
    """What its routes take, answer and refuse."""
    found = get_openapi(title=app.title, version=app.version, routes=app.routes, description=app.description)
    parts = found.setdefault("components", {}).setdefault("schemas", {})
    parts |= models_json_schema([(Chat, "validation"), (Completion, "validation")], ref_template=REFERENCE)[1]["$defs"]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _answers(path, operation["responses"], parts)
            _faults(method, operation["responses"], parts)
    for unused in ("HTTPValidationError", "ValidationError"):
        parts.pop(unused, None)
    return found


def _answers(path: str, responses: dict[str, Any], parts: dict[str, Any]) -> None:
    if path in ANSWERS:
        content = {"application/json": {"schema": _schema(ANSWERS[path], parts)}}
        if path in STREAMS:
            content["text/event-stream"] = {"schema": {"type": "string"}, "x-event": _schema(STREAMS[path], parts)}
        responses["200"] = {
            "description": "The answer, or with `stream: true` its events." if path in STREAMS else "It.",
            "content": content,
        }


def _faults(method: str, responses: dict[str, Any], parts: dict[str, Any]) -> None:
    responses.pop("422", None)
    content = {"application/json": {"schema": _schema(Error, parts)}}
    for status in FAULTS if method == "post" else READING:
        responses.setdefault(status, {"description": FAULTS[status], "content": content})


def _schema(shape: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """The shape's schema, as a reference; its parts go where the references point."""
    schema = TypeAdapter(shape).json_schema(ref_template=REFERENCE)
    parts |= schema.pop("$defs", {})
    if "title" not in schema:
        return schema
    parts[schema["title"]] = schema
    return {"$ref": REFERENCE.format(model=schema["title"])}
