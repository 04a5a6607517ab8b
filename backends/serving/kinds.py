"""What a release is made of decides who answers: a hosted model, a classifier, or ours. Each imports its own tools only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.serving.answering import Answering
from backends.serving.classes import Classes
from backends.serving.hosted.contract import MODEL
from llmspec.errors import PlaceError
from llmspec.release import Release
from llmspec.spec.endpoint import Endpoint, Limits
from llmspec.store import open_artifact

if TYPE_CHECKING:
    from backends.serving.classify_api import Classification

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


def load(release: Release, endpoint: Endpoint) -> Kind:
    """What answers, on an artifact whose every byte is the one that was evaluated, after a first answer."""
    artifact = open_artifact(Path(release.artifact))
    if artifact is None:
        raise PlaceError(f"{release.artifact}: no complete artifact; apply again to rebuild it")
    if artifact.verify().manifest.digest != release.artifact_digest:
        raise PlaceError(f"{release.artifact}: another artifact than the one of release {release.number}; apply again")
    found = opened(artifact.folder, endpoint)
    if found.contract != release.contract:
        raise PlaceError(
            f"{release.artifact}: its contract is not the one release {release.number} was evaluated with; apply again"
        )
    found.prove()
    return found


def opened(folder: Path, endpoint: Endpoint) -> Kind:
    """By the file that only this kind has."""
    if (folder / MODEL).exists():
        return hosted(folder, endpoint)
    return classifying(folder, endpoint) if (folder / Classes.file).exists() else generating(folder, endpoint)


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
