"""What is said of a body that is not taken: the field as the client wrote it, and what is wrong with it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from backends.serving.bodies import Chat
from backends.serving.feedback import Feedback
from backends.serving.reading import explained

HELLO = {"messages": [{"role": "user", "content": "Hello there"}]}


def said_of(body: type[BaseModel], **fields: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        body.model_validate(fields)
    return str(explained(refused.value))


def test_two_bounds_that_differ_are_refused_for_one_would_be_ignored() -> None:
    said = said_of(Chat, **HELLO, max_tokens=5, max_completion_tokens=9)
    assert said == "max_tokens: max_completion_tokens says 9; send one of the two"
    assert Chat.model_validate(HELLO | {"max_tokens": 5, "max_completion_tokens": 5}).most == 5
    assert Chat.model_validate(HELLO | {"max_tokens": None, "max_completion_tokens": 5}).most == 5


def test_a_text_is_spoken_of_as_a_text_not_as_a_list() -> None:
    assert said_of(Chat, **HELLO, stop="") == "stop: a text that ends the answer has 1 to 200 characters, not 0"
    assert said_of(Chat, **HELLO, stop="x" * 201).endswith("not 201")
    assert said_of(Chat, **HELLO, stop=["a", ""]) == "stop.1: String should have at least 1 character"
    assert said_of(Feedback, id="1", comment="x" * 20_001) == "comment: String should have at most 20000 characters"
    assert said_of(Feedback, id="1", comment="\ud800").startswith("comment: half a character")
    assert said_of(Chat, **HELLO, stop=["\ud800"]).startswith("stop.0: half a character")


def test_a_bias_is_of_token_ids() -> None:
    assert said_of(Chat, **HELLO, logit_bias={"abc": 1}) == "logit_bias.abc: the names in logit_bias are token ids, as '1234'"
    assert Chat.model_validate(HELLO | {"logit_bias": {"12": 1}}).logit_bias == {"12": 1.0}


def test_a_clients_own_words_are_not_all_said_back() -> None:
    assert said_of(Chat, **HELLO, logit_bias={"x" * 5000: 1}).startswith(f"logit_bias.{'x' * 200}…: the names in")


def test_what_was_sent_is_said_back_in_short() -> None:
    said = said_of(Chat, **HELLO, response_format={"type": "x" * 5000})
    assert said == f"response_format: no type '{'x' * 200}…' is known; there are 'text', 'json_object', 'json_schema'"
    assert len(said_of(Chat, **HELLO, max_tokens=3, max_completion_tokens=10**4000)) < 600


def test_a_schema_that_is_nested_too_deep_to_be_read_is_called_that() -> None:
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    said = said_of(Chat, **HELLO, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert said == "response_format.json_schema.schema: it is nested too deep"
