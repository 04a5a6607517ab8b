"""Ask an endpoint a question, as anybody's client would: OpenAI's chat, streamed. Standard library only."""

import http.client
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
BLOCKED, CUT = "content_filter", "length"
"""How an answer ends that a guard stopped, and one that reached its longest."""
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


def key_in(environment: Mapping[str, str]) -> str:
    """This user's key; empty when there is none. A file, or a pipeline's secret, often ends it with a new line."""
    key = environment.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise CallError(f"{KEY} holds signs that no key has\n  {KEY_CURE}")
    return key


class Answer:
    """Its text, piece by piece as it is made. Read to the end, it knows how it ended."""

    def __init__(self, replies: Callable[[], AbstractContextManager[Reply]], cure: str):
        self._replies, self._cure = replies, cure
        self.refusal = ""
        """What a guard says instead of an answer."""
        self.finish = ""
        """Why it ended there, in OpenAI's words."""

    def __iter__(self) -> Iterator[str]:
        with self._replies() as reply:
            said = {name.lower(): value for name, value in reply.headers.items()}
            if reply.status != 200:
                raise _refused(reply.status, said, b"".join(reply.lines), self._cure)
            if said.get("content-type", "").startswith("application/json"):  # what does not stream says it all at once
                choice = json.loads(b"".join(reply.lines))["choices"][0]
                yield self._text(choice, choice["message"])
                return
            yield from self._streamed(reply.lines)

    def _streamed(self, lines: Iterable[bytes]) -> Iterator[str]:
        for line in lines:
            data = line.decode().removeprefix("data: ").strip()
            if data == "[DONE]":
                return
            event = json.loads(data) if data else {"choices": []}
            if "error" in event:
                raise PlaceError(f"the endpoint could not answer: {event['error']['message']}")
            for choice in event["choices"]:
                yield self._text(choice, choice["delta"])
        raise PlaceError("the answer broke off: the endpoint ended while it spoke")

    def _text(self, choice: Mapping[str, Any], said: Mapping[str, Any]) -> str:
        self.refusal += said.get("refusal") or ""
        self.finish = choice.get("finish_reason") or self.finish
        return said.get("content") or ""


def ask(
    url: str,
    question: str,
    context: str | None = None,
    *,
    max_tokens: int | None = None,
    key: str = "",
    certificate: str = "",
    headers: Mapping[str, str] | None = None,
    call: Call | None = None,
    cure: str = KEY_CURE,
) -> Answer:
    """Asked when the answer is read. `certificate`: the endpoint's own; any authority's when empty. `cure`: what somebody does who
    is not known there."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "stream": True}
    body |= {"context": context} if context is not None else {}
    body |= {"max_tokens": max_tokens} if max_tokens is not None else {}
    content = json.dumps(body).encode()
    if call is not None:
        return Answer(lambda: nullcontext(call(PATH, content)), cure)
    told = {"content-type": "application/json", **(headers or {})} | ({"authorization": f"Bearer {key}"} if key else {})
    return Answer(lambda: _over_http(url, certificate, content, told), cure)


@contextmanager
def _over_http(url: str, certificate: str, content: bytes, headers: Mapping[str, str]) -> Iterator[Reply]:
    connection = connection_to(url, certificate)
    try:
        connection.request("POST", urlsplit(url).path + PATH, content, dict(headers))
        response = connection.getresponse()
        yield Reply(response.status, dict(response.headers), response)
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
