"""What /metrics says, read as strictly as the format is written, and compared with what was really asked."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_text import Family, families
from serving_parts import endpoint, eventually, release

from backends.serving.engine import Stats
from backends.serving.metrics import Metrics
from backends.serving.record import Record

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
MODEL = {"model_name": "bot", "engine": "0"}


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("metrics") / ".llmspec", release()) as found:
        yield found


def scraped(url: str) -> dict[str, Family]:
    response = httpx.get(f"{url}/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return families(response.text)


def test_an_idle_worker_has_every_series_that_a_dashboard_asks_for(url: str) -> None:
    page = scraped(url)
    gauges = {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"}
    counters = {"prefix_cache_hits", "prompt_tokens", "generation_tokens"}
    assert {page[f"vllm:{name}"].value(**MODEL) for name in gauges} == {0.0}
    assert {page[f"vllm:{name}_total"].value(**MODEL) for name in counters} == {0.0}
    assert page["vllm:prefix_cache_queries_total"].value(**MODEL) < 20  # of the question with which it was warmed up
    assert {page["vllm:request_success_total"].value(finished_reason=reason) for reason in ("stop", "length", "abort")} == {0.0}
    histograms = {name for name, family in page.items() if family.kind == "histogram"}
    expected = {"time_to_first_token", "inter_token_latency", "e2e_request_latency", "request_queue_time"}
    assert {f"vllm:{name}_seconds" for name in expected} <= histograms
    assert page["llmspec_release_info"].value(spec="bot", target="local", release="1") == 1
    assert page["llmspec_slots"].value() == 4
    assert page["process_resident_memory_bytes"].value() > 1e6


def test_what_was_asked_is_counted_to_the_token(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    made = [client.chat.completions.create(model="bot", messages=HELLO, max_tokens=number) for number in (5, 7)]
    streamed = client.completions.create(model="bot", prompt=["Where is", "my"], max_tokens=4, stream=True)
    assert len(list(streamed)) > 2
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="bot", messages=[], max_tokens=5)
    httpx.get(f"{url}/v1/strange/{'x' * 50}")
    eventually(lambda: scraped(url)["vllm:num_requests_running"].value() == 0)
    page = scraped(url)
    assert all(answer.usage for answer in made)
    prompts = sum(answer.usage.prompt_tokens for answer in made if answer.usage)
    assert page["vllm:generation_tokens_total"].value() == 5 + 7 + 2 * 4
    assert prompts < page["vllm:prompt_tokens_total"].value() < prompts + 20
    assert page["vllm:request_success_total"].value(finished_reason="length") == 4
    assert page["vllm:e2e_request_latency_seconds"].value("_count") == 3
    assert page["vllm:time_to_first_token_seconds"].value("_count") == 3
    assert page["vllm:request_queue_time_seconds"].value("_count") == 4
    assert page["vllm:inter_token_latency_seconds"].value("_count") == 4 + 6 + 3 + 3
    first, whole = (page[f"vllm:{name}_seconds"].value("_sum") for name in ("time_to_first_token", "e2e_request_latency"))
    assert 0 < page["vllm:inter_token_latency_seconds"].value("_sum") + first < 2 * whole
    assert page["llmspec_requests_total"].value(path="/v1/chat/completions", status="200") == 2
    assert page["llmspec_requests_total"].value(path="/v1/chat/completions", status="400") == 1
    assert page["llmspec_requests_total"].value(path="other", status="404") == 1
    assert page["llmspec_steps_total"].value() >= 12


def test_tokens_are_counted_while_they_are_made_and_who_leaves_is_an_abort(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 1700, "n": 4, "stream": True}
    under_way: list[dict[str, Family]] = []

    def leaves_early() -> float:
        """A slow scraper may come after the end: then it is asked again."""
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            lines = response.iter_lines()  # kept: an iterator that is dropped closes its connection
            assert next(lines).startswith("data: ")
            page = scraped(url)
        under_way.extend([page] if page["vllm:num_requests_running"].value() else [])
        return scraped(url)["vllm:request_success_total"].value(finished_reason="abort")

    eventually(lambda: leaves_early() and under_way, seconds=60)
    assert under_way[0]["vllm:generation_tokens_total"].value() > 0
    assert 0 < under_way[0]["vllm:kv_cache_usage_perc"].value() <= 1
    eventually(lambda: scraped(url)["vllm:num_requests_running"].value() == 0)
    assert scraped(url)["vllm:generation_tokens_total"].value() >= under_way[-1]["vllm:generation_tokens_total"].value()


def test_blocks_and_ratings_are_counted_by_name_and_odd_names_are_escaped() -> None:
    metrics = Metrics(release())
    for guard, rating in (("injection", ""), ('a "quoted"\\name\n', ""), ("", "up"), ("", "up")):
        path, found = ("/v1/feedback", []) if rating else ("/v1/chat/completions", ["pii"])
        record = Record(path, status=200, guard=guard, found=found, rating=rating)
        metrics.begin(record)
        metrics.end(record, record.path)
    page = families(metrics.text(Stats(running=1, waiting=0, slots=4, kv_tokens_used=30, kv_tokens_total=120)))
    assert page["llmspec_guard_blocks_total"].value(guard="injection") == 1
    assert page["llmspec_guard_blocks_total"].value(guard='a \\"quoted\\"\\\\name\\n') == 1
    assert page["llmspec_guard_found_total"].value(guard="pii") == 2
    assert page["llmspec_feedback_total"].value(rating="up") == 2
    assert page["vllm:request_success_total"].value(finished_reason="content_filter") == 2
    assert page["vllm:kv_cache_usage_perc"].value() == 0.25


def test_a_prompt_that_a_guard_stopped_was_read_by_no_model_and_costs_no_tokens() -> None:
    metrics = Metrics(release())
    blocked = Record("/v1/chat/completions", status=200, guard="prompt_injection", finish="content_filter", prompt_tokens=40)
    classified = Record("/v1/classify", status=200, finish="stop", prompt_tokens=7)
    for record in (blocked, classified):
        metrics.begin(record)
        metrics.end(record, record.path)
    page = families(metrics.text(Stats()))
    assert page["vllm:prompt_tokens_total"].value() == 7
    assert page["vllm:request_prompt_tokens"].value("_count") == 1
    assert page["vllm:request_success_total"].value(finished_reason="content_filter") == 1
    assert (blocked.tokens, classified.tokens) == (0, 7)


def test_what_people_say_of_answers_is_counted(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    made = client.chat.completions.create(model="bot", messages=HELLO, max_tokens=2)
    eventually(lambda: httpx.post(f"{url}/v1/feedback", json={"id": made.id, "rating": "up"}).status_code == 200)
    assert httpx.post(f"{url}/v1/feedback", json={"id": made.id, "comment": "fine"}).status_code == 200
    assert httpx.post(f"{url}/v1/feedback", json={"id": "chatcmpl-none", "rating": "up"}).status_code == 404
    counted = scraped(url)["llmspec_feedback_total"]
    assert (counted.value(rating="up"), counted.value(rating="none")) == (1, 1)


def test_a_stranger_cannot_make_more_series_than_there_are_paths(url: str) -> None:
    for number in range(20):
        httpx.get(f"{url}/{number}")
    paths = {dict(labels)["path"] for _, labels in scraped(url)["llmspec_requests_total"].samples}
    assert paths <= {"other", "/metrics", "/health"}
