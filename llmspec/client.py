"""Ask an endpoint a question, as anybody's client would: OpenAI's chat, streamed. Standard library only."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from llmspec import tls
from llmspec.errors import CallError, PlaceError

PATIENCE = 120.0
"""Seconds without a sign of life after which the endpoint is given up."""


def ask(
    url: str,
    question: str,
    context: str | None = None,
    *,
    max_tokens: int | None = None,
    key: str | None = None,
    certificate: str = "",
) -> Iterator[str]:
    """The answer's text, piece by piece as it is made. `certificate`: the endpoint's own; any authority's when empty."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "stream": True}
    body |= {"context": context} if context is not None else {}
    body |= {"max_tokens": max_tokens} if max_tokens is not None else {}
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    address, connection = urlsplit(url), connection_to(url, certificate)
    try:
        connection.request("POST", f"{address.path}/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refused(response)
        yield from _pieces(response)
    except (OSError, http.client.HTTPException) as error:
        raise PlaceError(f"the endpoint at {url} broke off: {error or type(error).__name__}") from error
    finally:
        connection.close()


def connection_to(url: str, certificate: str = "", patience: float = PATIENCE) -> http.client.HTTPConnection:
    """Not connected yet. `certificate`: the endpoint's own; any authority's when empty."""
    address = urlsplit(url)
    if address.scheme != "https":
        return http.client.HTTPConnection(address.netloc, timeout=patience)
    context = tls.client(certificate) if certificate else None
    return http.client.HTTPSConnection(address.netloc, timeout=patience, context=context)


def _pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    for line in response:
        data = line.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            return
        if data:
            for choice in json.loads(data)["choices"]:
                yield choice["delta"].get("content") or ""
    raise PlaceError("the answer broke off: the endpoint ended while it spoke")


def _refused(response: http.client.HTTPResponse) -> CallError | PlaceError:
    try:
        said = json.loads(response.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.reason
    wait = response.headers["retry-after"]
    if response.status == 401:
        said += "\n  put your key into LLMSPEC_API_KEY; `llmspec keys create` makes one"
    if 400 <= response.status < 500 and response.status != 429:
        return CallError(f"the endpoint refused ({response.status}): {said}")
    return PlaceError(f"the endpoint cannot answer now ({response.status}): {said}" + (f"; try again in {wait} s" if wait else ""))
