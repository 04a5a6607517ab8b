"""What people say of an answer reaches the journal, whichever worker gave the answer."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving_parts import endpoint, eventually, processes, release

from backends.places import local_endpoint
from llmspec.cli.status import lines
from llmspec.home import journal_folder
from llmspec.journal import feedback

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / ".llmspec"


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with endpoint(home, release()) as found:
        yield found


def answered(url: str) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    return client.chat.completions.create(model="bot", messages=HELLO, max_tokens=3).id


def say(url: str, **words: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/feedback", content=json.dumps(words))


def kept(id: str) -> list[dict[str, Any]]:
    return [entry for entry in feedback(journal_folder("bot", "local")) if f"chatcmpl-{entry['feedback']}" == id]


def test_a_thumb_and_a_correction_reach_the_journal_without_addresses(url: str) -> None:
    id = answered(url)
    said = say(url, id=id, rating="down", comment="ask ana@shop.example", correction="On shelf 7.")
    assert (said.status_code, said.json()) == (200, {"object": "feedback", "id": id})
    eventually(lambda: kept(id))
    (line,) = kept(id)
    assert {name: line[name] for name in line if name != "time"} == {
        "feedback": id.removeprefix("chatcmpl-"),
        "release": 1,
        "rating": "down",
        "comment": "ask [EMAIL]",
        "correction": "On shelf 7.",
    }


WRONG = [
    ({"id": "chatcmpl-" + "0" * 32, "rating": "up"}, 404, "id"),
    ({"id": "../../etc/passwd", "rating": "up"}, 404, "id"),
    ({"id": '.*"', "rating": "up"}, 404, "id"),
    ({"rating": "up"}, 400, "id"),
    ({"id": 7}, 400, "id"),
    ({"id": "x", "rating": "maybe"}, 400, "rating"),
    ({"id": "x", "stars": 5}, 400, "stars"),
    ({"id": "x", "comment": "\ud800"}, 400, "comment"),
    ({"id": "x", "comment": "x" * 20_001}, 400, "comment"),
]


@pytest.mark.parametrize(("words", "status", "param"), WRONG, ids=range(len(WRONG)))
def test_feedback_on_nothing_is_refused_by_the_field_that_is_wrong(
    url: str, words: dict[str, Any], status: int, param: str
) -> None:
    refused = say(url, **words)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)


def test_a_request_that_was_refused_has_no_answer_to_speak_of(url: str) -> None:
    refused = httpx.post(f"{url}/v1/chat/completions", json={"messages": []})
    said = say(url, id=refused.headers["x-request-id"], rating="up")
    assert (refused.status_code, said.status_code, said.json()["error"]["param"]) == (400, 404, "id")


def test_an_answer_of_a_worker_that_was_killed_or_swapped_is_still_known(url: str, home: Path) -> None:
    before = answered(url)
    eventually(lambda: before.removeprefix("chatcmpl-") in (home / "journal" / "bot-local" / "journal.jsonl").read_text())
    os.kill(local_endpoint.state(home / "run" / "bot-local")["worker"], signal.SIGKILL)
    assert say(url, id=before, rating="up").status_code == 200
    local_endpoint.serve(release(2, seed=1))
    assert say(url, id=before, rating="down").status_code == 200
    eventually(lambda: [entry["rating"] for entry in kept(before)] == ["up", "down"])
    assert {entry["release"] for entry in kept(before)} == {1}, "the release that answered, not the one that listens"
    assert len(processes(home)) >= 2


def test_what_cannot_be_written_down_is_not_taken_and_is_counted(url: str, home: Path) -> None:
    id, folder = answered(url), home / "journal" / "bot-local"
    eventually(lambda: id.removeprefix("chatcmpl-") in (folder / "journal.jsonl").read_text())
    folder.rename(home / "kept")
    folder.write_text("no folder: whatever is written there fails, as on a full disk")
    try:
        refused = say(url, id=id, rating="up")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "journal_lost")
        assert int(refused.headers["retry-after"]) > 0
        assert answered(url), "answers go on"
        eventually(lambda: "llmspec_journal_lost_total 2\n" in httpx.get(f"{url}/metrics").text)
        live = local_endpoint.live("bot", "local")
        assert live
        assert live.journal_lost == 2
    finally:
        folder.unlink()
        (home / "kept").rename(folder)
    assert say(url, id=id, rating="up").status_code == 200


def test_status_says_what_the_journal_lost() -> None:
    facts: dict[str, Any] = {"name": "bot", "target": "local", "state": "live", "window_seconds": 900.0, "alarms": []}
    facts |= {"recent": {"requests": 2, "errors": 0}, "feedback": {"up": 0, "down": 0, "corrections": 0}}
    assert "22 lines could not be written" in "\n".join(lines(facts | {"journal_lost": 22}))
    assert "could not be written" not in "\n".join(lines(facts))


def test_status_shows_what_people_said() -> None:
    facts: dict[str, Any] = {"name": "bot", "target": "local", "state": "live", "window_seconds": 900.0, "alarms": []}
    facts |= {"recent": {"requests": 2, "errors": 0}, "feedback": {"up": 3, "down": 1, "corrections": 0}}
    assert "  feedback     3 up · 1 down" in lines(facts)
    silent = facts | {"feedback": {"up": 0, "down": 0, "corrections": 0}}
    assert not [line for line in lines(silent) if "feedback" in line]
