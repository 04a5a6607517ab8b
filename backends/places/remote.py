"""What every job elsewhere shares: what is handed to it and what comes back, below `<store>/<name>/jobs/<stage>/<key>/`.

The job's paper, the files of a data job and what else its role could not read are sent there, nothing twice. What was made comes
back beside it, in no order and by a service that knows no manifest: it is compared with its hashes and copied into the store
inside S3, the manifest last. Then all that was handed over goes away.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llmspec import container, copies, s3_files
from llmspec.errors import DamagedError, PlaceError
from llmspec.job import ROLES, Job, digest_of
from llmspec.shelf import MANIFEST, S3, File, Folder, sha256_of
from llmspec.shelf_s3 import S3Shelf
from llmspec.site import Site
from llmspec.store import Artifact, open_artifact

PAPER = "job"
"""The channel of the job itself."""


@dataclass(frozen=True)
class Errand:
    """A job that is done elsewhere."""

    site: Site
    job: Job

    @cached_property
    def store(self) -> S3Shelf:
        """The store, which must be where the foundation's roles may reach it."""
        store, bucket = self.site.store, self.ground["bucket"]
        if not isinstance(store, S3Shelf):
            raise PlaceError(
                f"{self.job.stage}: {store.uri} is on this machine, and the job is elsewhere\n  name a bucket: `store: s3://…`"
            )
        if store.bucket.name != bucket:
            raise PlaceError(f"the store is {store.uri}, and the foundation was built for s3://{bucket}\n  {self.site.apply_again}")
        return store

    @cached_property
    def ground(self) -> Mapping[str, Any]:
        return self.site.ground

    @property
    def shelf(self) -> S3Shelf:
        """What is handed over, and what comes back."""
        return self.store.below(f"{self.site.name}/jobs/{self.job.stage}/{self.job.key}")

    @property
    def checkpoints(self) -> S3Shelf:
        """What grows: a job that was cut off goes on from here, whoever starts it again."""
        return self.store.below(f"{self.site.name}/checkpoints/{self.job.key}")

    @property
    def output(self) -> S3Shelf:
        return S3Shelf.at(self.job.output)

    @property
    def role(self) -> str:
        return str(self.ground["roles"][ROLES[self.job.stage]])

    @property
    def network(self) -> dict[str, list[str]] | None:
        """The foundation's network, where there is one."""
        if "private_subnets" not in self.ground:
            return None
        return {"Subnets": list(self.ground["private_subnets"]), "SecurityGroupIds": [self.ground["work_security_group"]]}

    @property
    def tags(self) -> dict[str, str]:
        """By which a sweep finds it, as all that the foundation makes."""
        site, job = self.site, self.job
        known = {"name": site.name, "target": site.target, "stage": job.stage, "key": job.key}
        return site.spec.tags | {f"llmspec:{name}": value for name, value in known.items()}

    def name(self, attempt: int) -> str:
        """`bot-prod-model-1a2b3c4d5e9f8e-1`, at most 63 letters: the same for whoever asks, and another in another store. It
        begins as the foundation's policies expect it."""
        end = f"-{self.job.key[:10]}{digest_of(self.job.output)[:4]}-{attempt}"
        return f"{self.site.name}-{self.site.target}-{self.job.stage}"[: 63 - len(end)].rstrip("-") + end

    def channels(self) -> dict[str, str]:
        """Channel -> where its files lie in S3."""
        inputs = {
            name: item.uri if self._reached(item.uri) else self.shelf.below(name).uri for name, item in self.job.inputs.items()
        }
        handed = [PAPER, container.SOURCES] if self.job.files else [PAPER]
        return {name: f"{uri}/" for name, uri in inputs.items()} | {name: f"{self.shelf.below(name).uri}/" for name in handed}

    def hand_over(self, bootstrap: Mapping[str, str]) -> None:
        """Send what is not there yet. S3 refuses what is not as it was when the job was planned."""
        bucket = self.store.bucket
        for name, item in self.job.inputs.items():
            if not self._reached(item.uri):
                _send_folder(self.shelf.below(name), copies.at_hand(item.uri))

        def send(item: tuple[str, str, str]) -> None:
            source, path, place = item
            file = Path(path)
            prefix = self.shelf.below(container.SOURCES).prefix + place.removesuffix(file.name)
            s3_files.send(bucket, prefix, file.parent, {file.name: File(self.job.files[source][path], file.stat().st_size)})

        bucket.abreast(send, container.source_files(self.job))
        with TemporaryDirectory() as folder:
            Path(folder, "job.json").write_text(self.job.to_json(), encoding="utf-8")
            Path(folder, container.PIPES).write_text(json.dumps(dict(bootstrap)), encoding="utf-8")
            _send_folder(self.shelf.below(PAPER), Path(folder))

    def made(self, at: S3Shelf) -> Artifact | None:
        """What a job left there, if that is all of it and is not in the store already."""
        found = open_artifact(at)
        if found is None or found.manifest.key != self.job.key or not found.whole():
            return None
        return found if self.output.read(MANIFEST) != found.manifest.to_json() else None

    def take(self, made: Artifact) -> None:
        """Into the store. What was for this job only is removed after that."""
        assert isinstance(made.at, S3Shelf)
        self.output.take(made.at, made.manifest.files, made.manifest.to_json())
        self.clear()

    def blame(self) -> None:
        """A job found an input damaged: DamagedError, once it is set aside, when it is the store's copy that is."""
        for item in self.job.inputs.values():
            artifact = open_artifact(S3Shelf.at(item.uri)) if item.uri.startswith(S3) else None
            if artifact is None:
                continue
            with TemporaryDirectory() as folder:
                artifact.at.fetch(artifact.manifest.files, Path(folder))
                wrong = Folder(Path(folder)).damaged(artifact.manifest.files)
            if wrong:
                artifact.at.set_aside()
                raise DamagedError(f"{item.uri}/{wrong[0]}: not as its manifest says; apply again to rebuild it")

    def clear(self) -> None:
        self.shelf.clear()
        self.checkpoints.clear()

    def _reached(self, uri: str) -> bool:
        """Whether the job's role may read it: what is this product's, in this store."""
        return uri.startswith(f"{self.store.below(self.site.name).uri}/")


def _send_folder(to: S3Shelf, folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {name: File(sha256_of(folder / name), (folder / name).stat().st_size) for name in names}
    s3_files.send(to.bucket, to.prefix, folder, files)
