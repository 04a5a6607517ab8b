"""The HTTP of the endpoint: OpenAI's paths, SageMaker's two, and what operators look at."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.serving import feedback, page, trail
from backends.serving.access import Admission, entrance
from backends.serving.answering import Answering
from backends.serving.bodies import Chat, Completion
from backends.serving.description import body_of, describe
from backends.serving.door import Door
from backends.serving.elsewhere import no_classes
from backends.serving.journal import Journal
from backends.serving.keys import CALLER
from backends.serving.metrics import MEDIA_TYPE, Metrics
from backends.serving.product import Product
from backends.serving.reading import read
from backends.serving.replies import ApiError
from llmspec.spec.endpoint import Endpoint

if TYPE_CHECKING:
    from backends.serving.classify_api import Classification


def application(service: "Answering | Classification", journal: Journal, endpoint: Endpoint, admission: Admission) -> Door:
    """The ASGI application of one release."""
    metrics = Metrics(service.release)
    app = FastAPI(title=service.release.spec, version=f"release {service.release.number}", openapi_url=None)
    app.add_exception_handler(ApiError, _said)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    if isinstance(service, Answering):
        _asking(app, service)
        no_classes(app, service.release.spec)
    else:
        from backends.serving import classify_api  # with what computes, which a hosted model does without

        classify_api.paths(app, service)
    _looking(app, service, metrics, journal)
    feedback.routes(app, journal)
    trail.routes(app, admission.folder)
    describe(app)
    return Door(entrance(with_heads(app), endpoint, admission), journal, metrics, service.release)


def with_heads(app: ASGIApp) -> ASGIApp:
    """Every path that takes GET takes HEAD, as monitors ask it: the server leaves the body out and says how long it would be."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)

    return asked


def _asking(app: FastAPI, service: Answering) -> None:
    """The paths that make the model speak."""
    app.include_router(page.router(service))

    def to_chat(body: dict[str, Any]) -> type[Chat]:
        service.expect_few(body)
        return Chat

    def to_complete(body: dict[str, Any]) -> type[Completion]:
        service.expect_few(body)
        return Completion

    @app.post("/v1/chat/completions", openapi_extra=body_of(Chat))
    async def chat(request: Request) -> Response:
        """A conversation is answered in the product's own form."""
        return await service.chat(request, await read(request, to_chat))

    @app.post("/v1/completions", openapi_extra=body_of(Completion))
    async def complete(request: Request) -> Response:
        """A text is continued as it is, without the chat's form."""
        return await service.complete(request, await read(request, to_complete))

    @app.post("/invocations", openapi_extra=body_of(Chat, Completion))
    async def invoke(request: Request) -> Response:
        """SageMaker's one path: a chat body, or a completion body when it has a prompt."""
        body: Chat | Completion = await read(request, lambda body: to_complete(body) if "prompt" in body else to_chat(body))
        if isinstance(body, Completion):
            return await service.complete(request, body)
        return await service.chat(request, body)


def _looking(app: FastAPI, service: Product, metrics: Metrics, journal: Journal) -> None:
    """The paths that only say how it is."""
    release = service.release

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served."""
        return {"object": "list", "data": [service.model()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """The same by its name; 404 for any other."""
        service.expect(name)
        return service.model()

    @app.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        """To everybody that it is up and what it is called; which bytes they are, only to those who may ask."""
        facts = {"spec": release.spec, "target": release.target, "release": release.number, "since": service.since}
        facts |= {"journal_lost": journal.lost} if journal.lost else {}
        if request.scope[CALLER].may("use"):
            facts |= {"content": release.content, "artifact": release.artifact_key}
            facts |= {"digest": release.artifact_digest, "contract": release.contract}
        return {"ready": True, **facts}

    @app.get("/ping", response_class=Response)
    async def ping() -> Response:
        """200 when it is up: SageMaker asks."""
        return Response()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        """Counters for Prometheus."""
        return PlainTextResponse(metrics.text(service.engine.stats, journal.lost), media_type=MEDIA_TYPE)


async def _said(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = ApiError(error.status_code, f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}").response()
    said.headers.update(error.headers or {})  # which methods a path allows
    return said


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return ApiError(500, f"the endpoint failed ({type(error).__name__}); its log says more").response()
