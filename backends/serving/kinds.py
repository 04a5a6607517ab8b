"""What a release is made of decides who answers: a hosted model, a classifier, or ours. Each imports its own tools only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.serving.answering import Answering
from backends.serving.hosted.contract import MODEL
from llmspec.release import Release
from llmspec.spec.endpoint import Endpoint, Limits

if TYPE_CHECKING:
    from backends.serving.classify_api import Classification

CLASSES = "classifier.json"
Services = Callable[[Release, Limits], "Answering | Classification"]


@dataclass(frozen=True)
class Kind:
    """An artifact that has been opened."""

    contract: str
    """The hash of what it was made, evaluated and is served under."""
    prove: Callable[[], object]
    """Has it answer once."""
    answering: Services
    """Who answers, on the event loop. It has threads of its own from there on, which `close` ends."""


def opened(folder: Path, endpoint: Endpoint) -> Kind:
    """By the file that only this kind has."""
    if (folder / MODEL).exists():
        return hosted(folder, endpoint)
    return classifying(folder, endpoint) if (folder / CLASSES).exists() else generating(folder, endpoint)


def hosted(folder: Path, endpoint: Endpoint) -> Kind:
    from backends.serving.hosted.engine import HostedEngine
    from backends.serving.hosted.service import Hosting

    engine = HostedEngine(folder, endpoint.limits.concurrency, endpoint.limits.timeout)
    return Kind(engine.contract.hash, engine.prove, lambda release, limits: Hosting(release, limits, engine))


def classifying(folder: Path, endpoint: Endpoint) -> Kind:
    from backends.serving.classifier import Classifier
    from backends.serving.classify_api import Classification

    engine = Classifier(folder, endpoint.limits.input_tokens)

    def prove() -> None:
        engine.scores([engine.encode("Hello")])

    return Kind(engine.contract.hash, prove, lambda release, limits: Classification(release, limits, engine))


def generating(folder: Path, endpoint: Endpoint) -> Kind:
    from backends.serving.engine import Engine
    from backends.serving.pump import Pump
    from backends.serving.service import Service

    limits = endpoint.limits
    engine = Engine(
        folder,
        slots=limits.concurrency,
        max_len=limits.input_tokens + limits.output_tokens,
        memory=limits.memory,
        prefix_cache=endpoint.prefix_cache,
    )
    return Kind(engine.contract.hash, engine.warm_up, lambda release, limits: Service(release, limits, Pump(engine)))
