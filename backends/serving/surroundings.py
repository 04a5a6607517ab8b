"""What a container's platform says through the environment, read once, every fault at once."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from llmspec import container, tls
from llmspec.errors import LLMSpecError, PlaceError
from llmspec.keys import Keys
from llmspec.release import Release
from llmspec.shelf import S3
from llmspec.spec.endpoint import Endpoint, Permission

MODEL = "/opt/ml/model"
PORT = 8080
GRANTABLE = tuple(word for word in get_args(Permission) if word != "read_audit")
"""What a platform can let people do. The trail names those who hold keys, and is read with one."""
STOP_SECONDS, SHORTEST_STOP = 30, 10


@dataclass(frozen=True)
class Surroundings:
    """Where this copy stands."""

    release: Release
    endpoint: Endpoint
    """The release's own section, listening on every address of this container."""
    grants: frozenset[Permission]
    keys: Path | None
    journal: Path | None
    """None: lines on stdout."""
    stop_seconds: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Surroundings":
        """PlaceError with all that is wrong: a container that was told nonsense must not answer."""
        read = _Reading(environment)
        release, endpoint = read.release()
        grants, keys, journal = read.grants(), read.folder(container.KEYS), read.journal()
        port, stop_seconds = read.port(), read.number(container.STOP_SECONDS, STOP_SECONDS, SHORTEST_STOP, 3600)
        read.somebody_may_use(grants, keys)
        read.faults.extend(container.unknown(environment, container.SERVING))
        if read.faults or release is None or endpoint is None:
            raise PlaceError("\n".join(read.faults))
        here = endpoint.model_copy(update={"host": "0.0.0.0", "port": port})
        return cls(release, here, grants, keys, journal, stop_seconds)


class _Reading:
    """One look at the environment; faults are kept, not raised."""

    def __init__(self, environment: Mapping[str, str]):
        self._environment = environment
        self.faults: list[str] = []

    def _said(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def release(self) -> tuple[Release | None, Endpoint | None]:
        try:
            release = container.unpacked(self._environment)
            release = replace(release, artifact=self._model())
            endpoint = Endpoint.model_validate(release.serving)
        except LLMSpecError as error:
            self.faults.append(str(error))
            return None, None
        except ValidationError as error:
            self.faults.append(f"{container.RELEASE}: this image cannot serve it as it asks: {error}")
            return None, None
        if endpoint.tls and (fault := tls.fault(endpoint.tls.certificate, endpoint.tls.key)[1]):
            cure = (
                "mount the files there; or, where HTTPS is made by what stands in front, set `endpoint: {tls: null}` in this target"
            )
            self.faults.append(f"endpoint.tls: {fault}: {cure}")
        return release, endpoint

    def _model(self) -> str:
        """Where the artifact lies: a folder, or an address that it is fetched from once the hall is open."""
        said = self._said(container.MODEL) or MODEL
        if "://" in said and not said.startswith(S3):
            raise PlaceError(f"{container.MODEL}: {said[:200]} cannot be fetched: write a folder, or s3://bucket/prefix")
        return said.rstrip("/")

    def port(self) -> int:
        name = next((name for name in container.PORTS if self._said(name)), "")
        return self.number(name, PORT, 1, 65_535) if name else PORT

    def number(self, name: str, default: int, least: int, most: int) -> int:
        said = self._said(name)
        if not said:
            return default
        if said.isdecimal() and least <= int(said) <= most:
            return int(said)
        self.faults.append(f"{name} is {said[:40]!r}: write a whole number from {least} to {most:,}")
        return default

    def grants(self) -> frozenset[Permission]:
        words = [word for word in re.split(r"[,\s]+", self._said(container.GRANTS)) if word]
        known: list[Permission] = [word for word in GRANTABLE if word in words]
        for word in sorted(set(words) - set(known)):
            self.faults.append(f"{container.GRANTS}: {word[:40]!r} cannot be granted to all comers (known: {', '.join(GRANTABLE)})")
        return frozenset(known)

    def folder(self, name: str) -> Path | None:
        said = self._said(name)
        if said and not Path(said).is_dir():
            self.faults.append(f"{name}: {said[:200]} is no folder here: mount it")
        return Path(said) if said else None

    def journal(self) -> Path | None:
        return None if self._said(container.JOURNAL) in ("", "stdout") else self.folder(container.JOURNAL)

    def somebody_may_use(self, grants: frozenset[Permission], keys: Path | None) -> None:
        """The rule of `llmspec apply`: an address that others reach is opened by a key; here, or by the platform's word."""
        if "use" in grants:
            return
        try:
            now = time.time()
            if keys and any(key.state(now) == "good" for key in Keys(keys).all()):
                return
        except LLMSpecError as error:
            self.faults.append(str(error))
            return
        fault = f"there is no key, and {container.GRANTS} grants no 'use': nobody could ask"
        cure = f"set {container.GRANTS}=use where the platform decides who comes in, or {container.KEYS} to a folder with keys"
        self.faults.append(f"{fault}\n  {cure}")
