"""POST /v1/classify: texts in, the chance of each label out. What is asked of the wrong kind of product is told so."""

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse, Response

from backends.serving.answering import client_of
from backends.serving.batcher import Batcher
from backends.serving.bodies import Part, Text, one_or_many
from backends.serving.classifier import Classifier, TextError
from backends.serving.elsewhere import GENERATING, elsewhere
from backends.serving.guards import CONTENT_FILTER, LONG_TEXT, refusal
from backends.serving.patience import waited
from backends.serving.product import Product
from backends.serving.reading import read
from backends.serving.record import RECORD, Record
from backends.serving.replies import ApiError
from llmspec.release import Release
from llmspec.spec.endpoint import Limits

HALF = 0.5
"""A label of several holds from this chance on."""


class Classify(Part):
    """POST /v1/classify"""

    input: Annotated[list[Text], BeforeValidator(one_or_many), Field(min_length=1)]
    """A text, or several."""
    model: Text | None = None
    """The product's name, as /v1/models lists it; the one that is served when absent."""


class Classification(Product):
    """One release that classifies, answering."""

    def __init__(self, release: Release, limits: Limits, classifier: Classifier):
        super().__init__(release, limits, None)
        self.classifier = classifier
        self.engine: Batcher = Batcher(classifier, limits.concurrency)

    def close(self) -> None:
        self.engine.close()

    async def classify(self, request: Request, body: Classify) -> Response:
        record: Record = request.scope[RECORD]
        self.expect(body.model)
        rows = await self._tokens(body.input)
        record.question, record.body = "\n".join(body.input), body
        record.prompt_tokens = sum(map(len, rows))
        await self._guarded(body.input, record)
        client = client_of(request)
        self.turnstile.admit(len(rows), self.engine.expected_wait(rows, client), client)
        try:
            found = await self._attended(request, rows, client, self.limits.timeout - record.seconds)
        finally:
            self.turnstile.leave(len(rows), client)
        data = [self._said(index, scores) for index, scores in enumerate(found)]
        record.answer, record.finish = "\n".join(str(item["label"]) for item in data), "stop"
        usage = {"prompt_tokens": record.prompt_tokens, "total_tokens": record.prompt_tokens}
        return JSONResponse({"object": "list", "model": self.release.spec, "data": data, "usage": usage})

    async def _tokens(self, texts: list[str]) -> list[list[int]]:
        if sum(map(len, texts)) > LONG_TEXT:
            return await asyncio.to_thread(self._encoded, texts)
        return self._encoded(texts)

    async def _guarded(self, texts: list[str], record: Record) -> None:
        """Of the guards those that read what callers write; an answer is made of the labels alone."""
        if not (verdict := await self.guards.check_texts(texts)):
            return
        if verdict.blocked:
            record.guard, record.finish = verdict.guard, CONTENT_FILTER
            raise ApiError(400, refusal(verdict.guard), param="input", code=CONTENT_FILTER)
        record.found = [verdict.guard]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        rows = []
        for index, text in enumerate(texts):
            try:
                rows.append(self.classifier.encode(text))
                self.classifier.check(rows[-1])
            except TextError as error:
                raise ApiError(400, str(error), param=f"input.{index}", code=error.code) from error
        return rows

    async def _attended(self, request: Request, rows: list[list[int]], client: str, seconds: float) -> "list[np.ndarray[Any, Any]]":
        """The scores; a client that leaves, or time that is up, takes what has not begun out of the queue."""
        try:
            return await waited(request, self.engine.scores(rows, client), seconds)
        except TimeoutError as error:
            raise ApiError(504, f"not classified within {self.limits.timeout:g} s (limits.timeout)") from error

    def _said(self, index: int, scores: "np.ndarray[Any, Any]") -> dict[str, Any]:
        labels = self.classifier.contract.labels
        found = {label: float(f"{score:.9g}") for label, score in zip(labels, scores, strict=True)}
        said: dict[str, Any] = {"index": index, "label": max(found, key=found.__getitem__), "scores": found}
        if self.classifier.contract.multi_label:
            said["labels"] = [label for label, score in found.items() if score >= HALF]
        return said


def paths(app: FastAPI, service: Classification) -> None:
    """What a product that classifies answers, and what it does not."""

    def to_classify(body: dict[str, Any]) -> type[Classify]:
        service.expect_few(body)
        return Classify

    documented = {"requestBody": {"required": True, "content": {"application/json": {"schema": Classify.model_json_schema()}}}}

    @app.post("/v1/classify", openapi_extra=documented)
    async def classify(request: Request) -> Response:
        """Each text gets the chance of each label."""
        return await service.classify(request, await read(request, to_classify))

    @app.post("/invocations", include_in_schema=False)
    async def invoke(request: Request) -> Response:
        """SageMaker's one path."""
        return await service.classify(request, await read(request, to_classify))

    elsewhere(app, GENERATING, f"'{service.release.spec}' classifies and does not generate: POST /v1/classify")
