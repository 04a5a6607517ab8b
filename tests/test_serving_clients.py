"""The clients that people have already: openai's and LangChain's, against a real endpoint."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field
from serving_parts import checkpoint, endpoint, exported, release

from backends.serving.engine import Engine

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
COUNTED: Any = {"include_usage": True}


class Pet(BaseModel):
    """What the model is made to say."""

    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)
    tags: list[str] = Field(max_length=2, json_schema_extra={"items": {"enum": ["wild", "tame"]}})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("clients") / ".llmspec", release(concurrency=8, queue=8)) as found:
        yield found


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(exported(), slots=1, max_len=1956, threads=1)


def prompt_of(engine: Engine, text: str = "Hello there") -> list[int]:
    return engine.encode(engine.contract.render([{"role": "user", "content": text}]))


def test_greedy_over_http_is_what_transformers_generates(client: openai.OpenAI, engine: Engine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prompt = prompt_of(engine)
    model = AutoModelForCausalLM.from_pretrained(checkpoint())
    made = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :].tolist()
    answer = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=24, logprobs=True)
    assert answer.choices[0].message.content == engine.tokenizer.decode(made)
    listed = answer.choices[0].logprobs
    assert listed
    assert b"".join(bytes(item.bytes or []) for item in listed.content or []).decode() == engine.tokenizer.decode(made)


def test_a_raw_response_has_its_headers_and_the_same_answer(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="bot", messages=HELLO, max_tokens=4)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().id.endswith(raw.headers["x-request-id"])


def test_an_answers_message_may_be_sent_back_as_it_came(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=4)
    again: list[Any] = [*HELLO, made.choices[0].message, {"role": "user", "content": "And then?"}]
    assert client.chat.completions.create(model="bot", messages=again, max_tokens=4).choices[0].message.content


def test_choices_are_drawn_each_by_itself_and_all_again_by_the_same_seed(client: openai.OpenAI) -> None:
    def ask(n: int) -> list[str | None]:
        made = client.chat.completions.create(model="bot", messages=HELLO, n=n, temperature=1.3, seed=-5, max_tokens=12)
        assert made.usage
        assert made.usage.completion_tokens == 12 * n
        assert [choice.index for choice in made.choices] == list(range(n))
        return [choice.message.content for choice in made.choices]

    three = ask(3)
    assert len(set(three)) == 3
    assert ask(3) == three
    assert ask(1) == three[:1]


def by_choice(chunks: list[ChatCompletionChunk]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            found.setdefault(choice.index, []).append(choice)
    return found


def test_several_choices_are_streamed_side_by_side(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "bot", "messages": HELLO, "n": 3, "temperature": 1.3, "seed": 5, "max_tokens": 300}
    asked["logit_bias"] = {str(token): -100 for token in (*range(6), 319)}  # text only: no control token, no unused one
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=COUNTED, logprobs=True))
    whole = client.chat.completions.create(**asked)
    order = [choice.index for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert order != sorted(order), "one did not wait for another"
    for index, pieces in by_choice(chunks).items():
        assert pieces[0].delta.role == "assistant"
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
        said = "".join(piece.delta.content or "" for piece in pieces)
        assert said == whole.choices[index].message.content
        listed = [item for piece in pieces if piece.logprobs for item in piece.logprobs.content]
        assert len(listed) == 300
        assert b"".join(bytes(item.bytes) for item in listed).decode(errors="replace") == said
    assert [chunk.usage.completion_tokens if chunk.usage else None for chunk in chunks] == [None] * (len(chunks) - 1) + [900]


def test_asyncs_streams_run_together_and_one_that_is_left_disturbs_nobody(url: str, engine: Engine) -> None:
    async def listen(client: openai.AsyncOpenAI, number: int) -> str:
        asked: list[Any] = [{"role": "user", "content": f"Question {number}"}]
        stream = await client.chat.completions.create(model="bot", messages=asked, max_tokens=40, stream=True)
        said = ""
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
            if number == 2 and said:
                await stream.close()
                break
        return said

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(listen(client, number) for number in range(5)))

    said = asyncio.run(ask_all())
    expected = [engine.generate([prompt_of(engine, f"Question {number}")], 40)[0].text for number in range(5)]
    assert expected[2].startswith(said.pop(2))
    assert said == expected[:2] + expected[3:]


def test_the_clients_own_way_to_typed_answers_works_and_says_when_one_is_cut(client: openai.OpenAI) -> None:
    made = client.chat.completions.parse(model="bot", messages=HELLO, response_format=Pet, max_tokens=200, temperature=1)
    assert isinstance(made.choices[0].message.parsed, Pet)
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="bot", messages=HELLO, response_format=Pet, max_tokens=5)
    with client.chat.completions.stream(model="bot", messages=HELLO, response_format=Pet, max_tokens=200) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Pet)


def test_a_faulty_schema_is_a_bad_request_that_names_the_place(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "sting"}}}
    asked: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="sting") as refused:
        client.chat.completions.create(model="bot", messages=HELLO, response_format=asked)
    assert (refused.value.param, refused.value.code) == ("response_format.json_schema.schema.properties.a", "invalid_schema")


def test_a_long_name_in_a_faulty_schema_is_not_said_back_whole(client: openai.OpenAI) -> None:
    asked: Any = {"name": "x", "schema": {"properties": {"a\n" * 5000: {"type": "sting"}}}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="bot", messages=HELLO, response_format={"type": "json_schema", "json_schema": asked})
    assert str(refused.value.param).startswith("response_format.json_schema.schema.properties.a\ufffda")
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize(
    "field",
    [
        {"tools": [{"type": "function", "function": {"name": "x"}}]},
        {"reasoning_effort": "low"},
        {"modalities": ["audio"]},
        {"store": True},
        {"logit_bias": {"99999": 1}},
        {"top_logprobs": 2},
        {"n": 100},
        {"stop": ["x"], "response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True}},
        {"response_format": {"type": "json_schema"}},
        {"temperature": 3},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, field: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="bot", messages=HELLO, **field)
    assert str(refused.value.param).startswith(next(iter(field)))
    assert next(iter(field)) in refused.value.message


@pytest.mark.parametrize("prompt", [[[]], [[2**40, 1]], [400], [-1], [[5], "x"], [True], {"a": 1}, "half \ud800 "], ids=repr)
def test_a_prompt_of_no_known_form_or_outside_the_vocabulary_is_refused(url: str, prompt: Any) -> None:
    body = json.dumps({"prompt": prompt, "echo": True, "logprobs": 1})
    response = httpx.post(f"{url}/v1/completions", content=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


def test_models_are_listed_and_found_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["bot"]
    assert client.models.retrieve("bot").owned_by == "llmspec"
    with pytest.raises(openai.NotFoundError, match="this is 'bot'"):
        client.models.retrieve("other/model")
    with pytest.raises(openai.NotFoundError) as long:
        client.chat.completions.create(model="x\n" * 5000, messages=HELLO)
    assert "no model 'x\ufffdx" in long.value.message
    assert len(long.value.message) < 500


def test_completions_echo_the_prompt_with_log_probabilities(client: openai.OpenAI, engine: Engine) -> None:
    text = "Where is my örder?"
    ids = engine.encode(f"<|bos|>{text}")
    made = client.completions.create(model="bot", prompt=text, max_tokens=4, echo=True, logprobs=2).choices[0]
    assert made.text.startswith(text)
    assert made.logprobs
    found, places = made.logprobs.token_logprobs or [], made.logprobs.text_offset or []
    assert len(found) == len(made.logprobs.tokens or []) == len(made.logprobs.top_logprobs or []) == len(ids) + 4
    assert found[0] is None
    np.testing.assert_allclose(found[1 : len(ids)], engine.logprobs([ids])[0])  # type: ignore[arg-type]
    spelled = [(place, token) for place, token in zip(places, made.logprobs.tokens or [], strict=True) if "\\x" not in token]
    assert all(made.text.startswith(token, place) for place, token in spelled[1:])
    scored = client.completions.create(model="bot", prompt=ids, max_tokens=0, echo=True, logprobs=0)
    assert scored.usage
    assert (scored.usage.completion_tokens, scored.usage.prompt_tokens) == (0, len(ids))
    assert scored.choices[0].logprobs
    assert scored.choices[0].logprobs.token_logprobs == found[: len(ids)]
    streamed = list(client.completions.create(model="bot", prompt=text, max_tokens=4, echo=True, logprobs=2, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == made.text
    offsets = [place for chunk in streamed if chunk.choices[0].logprobs for place in chunk.choices[0].logprobs.text_offset or []]
    assert offsets == places


def test_several_prompts_with_several_choices_come_in_openais_order(client: openai.OpenAI, engine: Engine) -> None:
    made = client.completions.create(model="bot", prompt=["Where is", "my order"], n=2, max_tokens=5, temperature=1, seed=1)
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    second = client.completions.create(model="bot", prompt="my order", n=2, max_tokens=5, temperature=1, seed=1)
    assert [choice.text for choice in made.choices[2:]] == [choice.text for choice in second.choices]
    assert made.usage
    assert made.usage.prompt_tokens == sum(len(engine.encode(f"<|bos|>{text}")) for text in ("Where is", "my order"))


def test_langchain_invokes_streams_and_gets_typed_answers(url: str, engine: Engine) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="bot", base_url=f"{url}/v1", api_key="none", max_retries=0, max_completion_tokens=200)  # type: ignore[arg-type]
    expected = engine.generate([prompt_of(engine)], 20)[0].text
    answer = chat.invoke("Hello there", max_tokens=20)
    assert answer.content == expected
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] == 20
    assert "".join(str(chunk.content) for chunk in chat.stream("Hello there", max_tokens=20)) == expected
    assert isinstance(chat.with_structured_output(Pet, method="json_schema").invoke("A pet, please"), Pet)
    assert chat.invoke("Hello there", stop=[expected[3:6]]).content == expected[: expected.index(expected[3:6])]


def test_errors_while_streaming_are_errors_before_the_stream(url: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "stream": True, "model": "gpt"})
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
