"""What is said of a body that is not taken: the field as the client wrote it, and what is wrong with it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from backends.serving.bodies import Chat
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
