"""POST /v1/feedback: what people say of an answer, by the answer's id. It goes into the journal, beside the answer."""

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from pydantic import AfterValidator, Field

from backends.serving.bodies import Part, Text, encodable
from backends.serving.journal import Journal
from backends.serving.reading import read
from backends.serving.record import RECORD
from backends.serving.replies import ApiError

AGAIN_SECONDS = 60
"""After so long somebody may have made room on the disk."""
_ID = re.compile(r"(?:[a-z]+-)?([0-9a-f]{32})")
Said = Annotated[str, Field(max_length=20_000), AfterValidator(encodable)]


class Feedback(Part):
    """A thumb, a comment, or how it should have been answered."""

    id: Text
    """The answer's own id, as its JSON or its x-request-id header says it."""
    rating: Literal["up", "down"] | None = None
    """A thumb; absent takes none."""
    comment: Said | None = None
    """Why."""
    correction: Said | None = None
    """The answer that should have been given: the next training may learn from it."""


_BODY = {"application/json": {"schema": Feedback.model_json_schema()}}
DOCUMENTED = {"requestBody": {"required": True, "content": _BODY}}


def routes(app: FastAPI, journal: Journal) -> None:
    @app.post("/v1/feedback", openapi_extra=DOCUMENTED)
    async def feedback(request: Request) -> dict[str, Any]:
        """Say what an answer was worth."""
        said = await read(request, lambda _: Feedback)
        known = _ID.fullmatch(said.id)
        release = await asyncio.to_thread(journal.release_of, known[1]) if known else None
        if known is None or release is None:
            raise ApiError(404, f"no answer '{said.id[:80]}' is remembered here", param="id", code="answer_not_found")
        words = {"rating": said.rating, "comment": said.comment, "correction": said.correction}
        line = journal.write(feedback=known[1], release=release, **words)
        if not await asyncio.to_thread(line.result):
            fault = "it could not be written into the journal (the endpoint's log says why): send it again later"
            raise ApiError(503, fault, code="journal_lost", retry_after=AGAIN_SECONDS)
        request.scope[RECORD].rating = said.rating or "none"
        return {"object": "feedback", "id": said.id}
