"""A request's body, checked: every fault is a 400 that names its field."""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from backends.serving.replies import ApiError, named
from backends.serving.text import HALF_SENT

BODY_BYTES = 4 * 2**20
BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for."""
DEEPEST = len(("response_format", "json_schema", "schema"))
"""Below that pydantic only says in which of its own types it was when it gave up."""
LONGEST_SAID = 500
"""Characters of what is said of a field: what somebody sent may be part of it."""
Body = TypeVar("Body", bound=BaseModel)


async def read(request: Request, choose: Callable[[dict[str, Any]], type[Body]]) -> Body:
    """The body as the model that `choose` names for it."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await _bounded(request)
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} s") from error
    except ClientDisconnect as error:
        raise ApiError(499, "the client left") from error
    value = _json(raw)
    if not isinstance(value, dict):
        raise ApiError(400, "the body is not a JSON object")
    try:
        return choose(value).model_validate(value)
    except ValidationError as error:
        raise explained(error) from error


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deep") from error
    except ValueError as error:  # all that is left of what Python does not take
        most = sys.get_int_max_str_digits()
        raise ApiError(400, f"the body has a whole number of more than {most:,} digits: no field takes one") from error


async def _bounded(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > BODY_BYTES:
            raise ApiError(413, f"the body is larger than {BODY_BYTES // 2**20} MB")
        pieces.append(piece)
    return b"".join(pieces)


def explained(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "extra_forbidden":
        *outside, name = first["loc"]
        param = ".".join([*_way(tuple(outside)), named(name)])
        said = f"unsupported field '{param}': this endpoint would not act on it"
        return ApiError(400, said, param=param, code="unsupported_field")
    half = HALF_SENT if first["loc"] else f"a field's name: {HALF_SENT}"
    ours = {"string_unicode": half, "recursion_depth_exceeded": "it is nested too deep"}
    if first["type"] == "union_tag_invalid":
        ours[first["type"]] = f"no type '{named(first['ctx']['tag'])}' is known; there are {first['ctx']['expected_tags']}"
    said = named(ours.get(first["type"], first["msg"].removeprefix("Value error, ")), LONGEST_SAID)
    param = ".".join(_way(first["loc"])) or said.partition(":")[0]
    return ApiError(400, said if said.startswith(f"{param}:") else f"{param}: {said}", param=param)


def _way(location: tuple[int | str, ...]) -> list[str]:
    """The way to the field as the client wrote it: without pydantic's names for which of several types was tried."""
    if location[:1] == ("response_format",):
        location = (location[:1] + location[2:])[:DEEPEST]
    return [named(part) for part in location if re.fullmatch(r"[\w$-]+", str(part))]
