"""What is asked of the wrong kind of product is told where to go."""

from fastapi import FastAPI
from starlette.responses import Response

from backends.serving.replies import ApiError

GENERATING = ("/v1/chat/completions", "/v1/completions")


def no_classes(app: FastAPI, product: str) -> None:
    """What a product that generates says to those who want it to classify."""
    elsewhere(app, ("/v1/classify",), f"'{product}' generates and does not classify: POST /v1/chat/completions")


def elsewhere(app: FastAPI, wrong: tuple[str, ...], said: str) -> None:
    async def refuse() -> Response:
        raise ApiError(404, said, code="wrong_task")

    for path in wrong:
        app.post(path, include_in_schema=False)(refuse)
