"""Five stages of a product whose model Amazon Bedrock serves: nothing is trained, so the prompt is what is made and judged."""

from typing import ClassVar

from llmspec.card import Engine

INSTALL = "pip install 'llmspec[bedrock]'"


class PromptBedrock(Engine):
    """Write down how the model is asked: template, system prompt, examples, sampling."""

    stage: ClassVar[str] = "features"
    work: ClassVar[str] = "backends.work.prompt_bedrock:prompt"
    tool: ClassVar[str] = "bedrock"
    hosted: ClassVar[bool] = True
    makes: ClassVar[str] = "The contract: how the hosted model is asked."
    requires: ClassVar[tuple[str, ...]] = ("pyarrow",)
    install: ClassVar[str] = INSTALL


class AskBedrock(Engine):
    """Ask Bedrock which model that is."""

    stage: ClassVar[str] = "model"
    work: ClassVar[str] = "backends.work.ask_bedrock:ask"
    tool: ClassVar[str] = "bedrock"
    hosted: ClassVar[bool] = True
    makes: ClassVar[str] = "What Bedrock says of the model that it serves. Nothing is trained."
    requires: ClassVar[tuple[str, ...]] = ("boto3",)
    install: ClassVar[str] = INSTALL


class BindBedrock(Engine):
    """Bind model and contract into what is evaluated and served; no weights, so nothing is exported."""

    stage: ClassVar[str] = "onnx"
    work: ClassVar[str] = "backends.work.bind_bedrock:bind"
    tool: ClassVar[str] = "bedrock"
    hosted: ClassVar[bool] = True
    makes: ClassVar[str] = "Model and contract, as they are evaluated and served. Nothing is exported: the weights are Bedrock's."


class ScoreBedrock(Engine):
    """Ask Bedrock held-out questions, as the endpoint will; an interrupted evaluation pays for no answer twice."""

    stage: ClassVar[str] = "evaluation"
    work: ClassVar[str] = "backends.work.score_bedrock:score"
    tool: ClassVar[str] = "bedrock"
    hosted: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("boto3", "pyarrow")
    install: ClassVar[str] = INSTALL


class ServeBedrock(Engine):
    """Pass questions on to Bedrock, behind the same API, guards, limits and journal."""

    stage: ClassVar[str] = "endpoint"
    work: ClassVar[str] = "backends.serving"
    tool: ClassVar[str] = "fastapi"
    hosted: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("boto3", "fastapi", "uvicorn")
    install: ClassVar[str] = INSTALL
