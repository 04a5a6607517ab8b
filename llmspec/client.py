"""Ask an endpoint a question, as anybody's client would: OpenAI's chat, streamed. Standard library only."""

import http.client
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmspec import tls
from llmspec.errors import CallError, PlaceError

PATH = "/v1/chat/completions"
KEY = "LLMSPEC_API_KEY"
"""The variable that holds this user's key, where keys were made, or token, where people sign in."""
KEY_CURE = f"put your key into {KEY}; `llmspec keys create` makes one"
SIGN_IN_CURE = (
    f"sign in to the product's user pool, and put the ID token that Cognito gives into {KEY}"
    "\n  whoever is not in it yet is let in by: aws cognito-idp admin-create-user"
)
PATIENCE = 120.0
"""Seconds without a sign of life after which the endpoint is given up."""


@dataclass(frozen=True)
class Reply:
    """What an endpoint answers."""

    status: int
    headers: Mapping[str, str]
    lines: Iterable[bytes]


Call = Callable[[str, bytes], Reply]
"""A path and a body -> the reply: how an endpoint is asked where a platform lets nobody in by HTTP alone."""


def ask(
    url: str,
    question: str,
    context: str | None = None,
    *,
    max_tokens: int | None = None,
    key: str | None = None,
    certificate: str = "",
    headers: Mapping[str, str] | None = None,
    call: Call | None = None,
    cure: str = KEY_CURE,
) -> Iterator[str]:
    """The answer's text, piece by piece as it is made. `certificate`: the endpoint's own; any authority's when empty. `cure`: what
    somebody does who is not known there."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "stream": True}
    body |= {"context": context} if context is not None else {}
    body |= {"max_tokens": max_tokens} if max_tokens is not None else {}
    content = json.dumps(body).encode()
    if call is not None:
        yield from _told(call(PATH, content), cure)
        return
    told = {"content-type": "application/json", **(headers or {})} | ({"authorization": f"Bearer {key}"} if key else {})
    address, connection = urlsplit(url), connection_to(url, certificate)
    try:
        connection.request("POST", address.path + PATH, content, told)
        response = connection.getresponse()
        yield from _told(Reply(response.status, dict(response.headers), response), cure)
    except (OSError, http.client.HTTPException) as error:
        raise PlaceError(f"the endpoint at {url} broke off: {error or type(error).__name__}") from error
    finally:
        connection.close()


def _told(reply: Reply, cure: str) -> Iterator[str]:
    said = {name.lower(): value for name, value in reply.headers.items()}
    if reply.status != 200:
        raise _refused(reply.status, said, b"".join(reply.lines), cure)
    if said.get("content-type", "").startswith("application/json"):  # what does not stream says it all at once
        yield json.loads(b"".join(reply.lines))["choices"][0]["message"]["content"]
        return
    yield from _pieces(reply.lines)


def connection_to(url: str, certificate: str = "", patience: float = PATIENCE) -> http.client.HTTPConnection:
    """Not connected yet. `certificate`: the endpoint's own; any authority's when empty."""
    address = urlsplit(url)
    if address.scheme != "https":
        return http.client.HTTPConnection(address.netloc, timeout=patience)
    context = tls.client(certificate) if certificate else None
    return http.client.HTTPSConnection(address.netloc, timeout=patience, context=context)


def _pieces(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        data = line.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            return
        if data:
            for choice in json.loads(data)["choices"]:
                yield choice["delta"].get("content") or ""
    raise PlaceError("the answer broke off: the endpoint ended while it spoke")


def _refused(status: int, headers: Mapping[str, str], content: bytes, cure: str) -> CallError | PlaceError:
    try:
        found = json.loads(content)
        said = str(found.get("error", found)["message"])  # the API before a function says it without `error`
    except (ValueError, KeyError, TypeError, AttributeError):
        said = http.client.responses.get(status, "it does not say why")
    wait = headers.get("retry-after")
    if status == 401:
        said += f"\n  {cure}"
    if 400 <= status < 500 and status != 429:
        return CallError(f"the endpoint refused ({status}): {said}")
    return PlaceError(f"the endpoint cannot answer now ({status}): {said}" + (f"; try again in {wait} s" if wait else ""))
