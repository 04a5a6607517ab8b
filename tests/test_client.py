"""The client of `llmspec ask`: what it makes of each way in which an answer ends, and of keys as files hold them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmspec.client import BLOCKED, KEY, Answer, Reply, ask, key_in
from llmspec.errors import CallError, PlaceError


def told(*events: Any, status: int = 200, kind: str = "text/event-stream") -> Answer:
    """The answer of an endpoint that sends these events."""
    lines = [event if isinstance(event, str) else "data: " + json.dumps(event) for event in events]
    reply = Reply(status, {"Content-Type": kind}, [line.encode() for line in lines])
    return ask("", "Hello?", call=lambda path, body: reply)


def chunk(finish: str | None = None, **delta: str) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


def test_an_answer_is_its_pieces_and_knows_how_it_ended() -> None:
    answer = told(chunk(content="Hel"), "", chunk(content="lo"), chunk("length"), {"choices": []}, "data: [DONE]")
    assert "".join(answer) == "Hello"
    assert (answer.finish, answer.refusal) == ("length", "")


def test_a_block_is_no_empty_answer() -> None:
    answer = told(chunk(refusal="It was stopped."), chunk(BLOCKED), "data: [DONE]")
    assert "".join(answer) == ""
    assert (answer.finish, answer.refusal) == (BLOCKED, "It was stopped.")
    whole = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": BLOCKED}]}
    answer = told(json.dumps(whole), kind="application/json")
    assert ("".join(answer), answer.finish, answer.refusal) == ("", BLOCKED, "No.")


def test_an_error_in_the_middle_is_said_after_what_came_before() -> None:
    def pieces() -> Iterator[str]:
        yield from told(chunk(content="Hel"), {"error": {"message": "the server is full", "code": "queue_full"}})

    came = pieces()
    assert next(came) == "Hel"
    with pytest.raises(PlaceError, match="could not answer: the server is full"):
        next(came)


def test_an_answer_without_an_end_broke_off() -> None:
    with pytest.raises(PlaceError, match="broke off"):
        list(told(chunk(content="Hel")))


@pytest.mark.parametrize("written", ["llms_1_x\n", " llms_1_x", "llms_1_x\r\n"])
def test_a_key_is_taken_as_files_hold_it(written: str) -> None:
    assert key_in({KEY: written}) == "llms_1_x"


@pytest.mark.parametrize("written", ["ключ", "llms_1\nllms_2"])
def test_what_can_be_no_key_is_refused_and_not_shown(written: str) -> None:
    with pytest.raises(CallError, match=KEY) as refused:
        key_in({KEY: written})
    assert written not in str(refused.value)
    assert key_in({}) == ""
