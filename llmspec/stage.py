"""A spec at a target, stage by stage: what each reads, its job, its artifact. Plan and apply both look here, so they agree."""

import json
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llmspec import checks, copies, files, tls
from llmspec.card import Engine, Place
from llmspec.digests import Digests
from llmspec.errors import CallError, DamagedError, LLMSpecError, SpecError
from llmspec.expressions import Verdict
from llmspec.home import journal_folder
from llmspec.job import Input, Job, digest_of
from llmspec.load import Loaded, load
from llmspec.lock import Waiting
from llmspec.reads import HOSTED_READS, NEEDS, READS, keyed, picked, secret_paths, upstream
from llmspec.registry import name_of
from llmspec.release import Release, Releases
from llmspec.section import KEPT, STAGES
from llmspec.spec import Spec
from llmspec.spec.model import BedrockBase, HubBase, PathBase, ScratchBase, SpecBase
from llmspec.store import DEPLOYED, MONITORED, Artifact, Store, elders, remember_store


class NotReadyError(LLMSpecError):
    """A stage's turn has not come: something that it reads does not exist."""

    def __init__(self, stage: str, needs: str, cure: str = ""):
        self.fault = f"{needs} has not been made" + (f": {cure}" if cure else "")
        super().__init__(f"{stage} needs {needs}, which has not been made" + (f"\n  {cure}" if cure else ""))


@dataclass(frozen=True)
class Product:
    """What one llm.yaml makes, at one target."""

    loaded: Loaded
    store: Store
    digests: Digests = field(default_factory=Digests)
    above: tuple[Path, ...] = ()
    """The specs that asked for this one as their base."""

    @classmethod
    def open(
        cls, path: Path | str, target: str | None = None, *, above: tuple[Path, ...] = (), digests: Digests | None = None
    ) -> "Product":
        loaded = load(Path(path), target)
        store = loaded.site.store
        return cls(loaded, Store(store, elders(loaded.spec.name, store)), digests or Digests(), above)

    def fresh(self) -> "Product":
        """The same product with nothing remembered: what is in the store may have changed."""
        return Product(self.loaded, self.store, Digests(), self.above)

    @property
    def spec(self) -> Spec:
        return self.loaded.spec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def target(self) -> str:
        return self.loaded.target

    @cached_property
    def stages(self) -> dict[str, "Stage"]:
        return {name: Stage(self, name) for name in STAGES}

    def stage(self, name: str) -> "Stage":
        return self.stages[name]

    def place(self, stage: str) -> Place:
        """Where a stage is done."""
        return self.loaded.place(stage)

    @cached_property
    def everything(self) -> dict[str, Any]:
        """The whole spec as JSON, with what it leaves open decided."""
        found = self.spec.model_dump(mode="json")
        if not self.spec.hosted:
            found["onnx"]["precision"], _ = self.precision
        return found

    @property
    def precision(self) -> tuple[str, str]:
        """What onnx makes, and why, where the spec leaves that open. The key holds the first: what decided it may change."""
        return self.spec.onnx.precision_for(self.spec.endpoint.limits.concurrency)

    @cached_property
    def keyed(self) -> dict[str, Any]:
        found = keyed(self.spec)
        assert isinstance(found, dict)
        found["onnx"]["precision"], _ = self.precision
        for source, said in zip(self.spec.data.sources, found["data"]["sources"], strict=True):
            said["name"] = source.called
        return found

    @cached_property
    def sources(self) -> dict[str, dict[str, str]]:
        """Source -> file -> digest. All files that are missing are one error."""
        found = files.find(self.loaded)
        return {name: {str(path): self.digests.file(path) for path in paths} for name, paths in found.items()}

    @cached_property
    def base_product(self) -> "Product | None":
        """The product whose model this one starts from."""
        base = self.spec.model.base
        if not isinstance(base, SpecBase):
            return None
        path = self.loaded.path.parent / base.spec
        above = (*self.above, self.loaded.path.resolve())
        if path.resolve() in above:
            raise CallError(f"{self.loaded.path}: model.base goes round in a circle: {' → '.join(p.name for p in (*above, path))}")
        found = Product.open(path, self.target if self.target in load(path).targets else None, above=above, digests=self.digests)
        self._within_reach(found)
        product = Product(found.loaded, self.store, self.digests, above)
        _ = product.base_product  # a circle further down is told here: it would be a model that can never be made
        return product

    def _within_reach(self, base: "Product") -> None:
        """A base's model is looked for in this product's store: one that is kept elsewhere would be missing for ever."""
        if base.loaded.site.store.uri == self.loaded.site.store.uri:
            return
        fault = f"its model is kept in {base.spec.store}, and what is made here in {self.spec.store}"
        apart = "in AWS each product has a bucket of its own: start from a folder or from the hub"
        cure = apart if base.spec.in_a_cloud or self.spec.in_a_cloud else f"name the same `store:` in {base.loaded.path}"
        raise SpecError(self.loaded.problem("model.base.spec", fault, cure))

    @property
    def apply_model(self) -> str:
        """What makes the model that another product starts from, as a person types it."""
        return f"llmspec apply {self.loaded.as_typed} --select +model"

    def base(self) -> Input | None:
        """The checkpoint that training starts from, when it is one on disk."""
        match self.spec.model.base:
            case ScratchBase() | HubBase() | BedrockBase():
                return None
            case PathBase(path=path):
                folder = files.base_folder(self.loaded, path)
                return Input(str(folder), self.digests.folder(folder))
            case SpecBase(spec=spec):
                assert self.base_product
                artifact = self.base_product.stage("model").artifact
                if artifact is None:
                    raise NotReadyError("features", f"the model of {spec}", self.base_product.apply_model)
                return Input(artifact.uri, artifact.manifest.digest)

    def next_release(self) -> Release:
        """The release that the spec and the artifacts ask for now."""
        onnx, evaluation = (self.stage(name).artifact for name in ("onnx", "evaluation"))
        if onnx is None or evaluation is None:
            raise NotReadyError("endpoint", "onnx" if onnx is None else "evaluation")
        contract = json.loads(onnx.content("contract.json"))["hash"]
        draft = Release(
            number=0,
            spec=self.name,
            target=self.target,
            artifact=onnx.uri,
            artifact_key=onnx.manifest.key,
            artifact_digest=onnx.manifest.digest,
            contract=contract,
            serving=self.everything["endpoint"] | tls.located(self.loaded),
            evaluation_key=evaluation.manifest.key,
            scores={name: value for name, value in evaluation.manifest.metrics.items() if isinstance(value, float | int)},
            scored_on=checks.scored_on(evaluation.manifest),
        )
        live = self.releases.live()
        number = live.number if live and live.content == draft.content else self.releases.number_for(draft)
        return replace(draft, number=number)

    def located(self, release: Release) -> Release:
        """The release with its artifact where it is now: a store may have moved since."""
        artifact = self.store.find(self.name, "onnx", release.artifact_key)
        return replace(release, artifact=artifact.uri) if artifact else release

    @cached_property
    def releases(self) -> Releases:
        """Wherever they went furthest: in an elder store until they are copied here."""
        return self.store.releases(self.name, self.target)

    def settle(self) -> bool:
        """What is reused is what the next plan compares with; what an elder store holds comes here; this store is remembered.
        False when something there was damaged, and so has to be made again."""
        whole = True
        for stage in KEPT:
            artifact = self.stage(stage).artifact
            if artifact is None:
                continue
            if not self.store.owns(artifact):
                try:
                    copies.adopt(self.store, artifact)
                except DamagedError:
                    self.store.set_aside(artifact)
                    whole = False
                    continue
            self.store.move_head(self.name, self.target, stage, artifact.manifest.key)
        ours = self.store.root.below(f"{self.name}/endpoint/{self.target}")
        if self.releases.at != ours:
            self.releases.copy_to(ours)
        remember_store(self.name, self.store.root)
        return whole

    @property
    def journal(self) -> Path:
        return journal_folder(self.name, self.target)

    def lock(self, *, wait: float = 0.0, waiting: Waiting = lambda _: None) -> AbstractContextManager[None]:
        """One writer per product's artifacts: for as long as a training takes."""
        return self.store.lock(self.name, wait=wait, waiting=waiting)

    def deploying(self, waiting: Waiting = lambda _: None) -> AbstractContextManager[None]:
        """One at a time changes what is live: for as long as a swap takes. Inside `lock`, where both are held."""
        return self.store.lock_at(self.name, self.target, DEPLOYED, waiting)

    def watching(self, waiting: Waiting = lambda _: None) -> AbstractContextManager[None]:
        """One at a time reads the journal."""
        return self.store.lock_at(self.name, self.target, MONITORED, waiting)


@dataclass(frozen=True)
class Stage:
    """One of the seven, for one product."""

    product: Product
    name: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The paths of the spec that it reads."""
        return (HOSTED_READS if self.product.spec.hosted else READS)[self.name]

    @property
    def asset_key(self) -> list[str]:
        return [self.product.name, self.name]

    @property
    def needs(self) -> tuple[str, ...]:
        return NEEDS[self.name]

    @property
    def deps(self) -> list[list[str]]:
        """Upstream asset keys, the base's model in another spec included."""
        own = [[self.product.name, need] for need in self.needs]
        return own + ([[self.base_product.name, "model"]] if self.base_product else [])

    @property
    def base_product(self) -> Product | None:
        """The product whose model this stage reads."""
        return self.product.base_product if self.name in ("features", "model") else None

    @property
    def engine(self) -> Engine:
        engine = self.product.spec.section(self.name).engine  # type: ignore[attr-defined]
        assert isinstance(engine, Engine)
        return engine

    @property
    def place(self) -> Place:
        return self.product.place(self.name)

    @cached_property
    def keyed(self) -> dict[str, Any]:
        """The options in the key; paths in it are paths in the spec, so that a difference has a line."""
        return picked(self.product.keyed, self.reads)

    @property
    def code_version(self) -> str:
        return digest_of([name_of(type(self.engine)), self.engine.version, self.keyed])[:12]

    @cached_property
    def job(self) -> Job:
        """What would be done now. Its key is over the content of what it reads, so that must exist."""
        inputs: dict[str, Input] = {}
        for need in self.needs:
            artifact = self.product.stage(need).artifact
            if artifact is None:
                raise NotReadyError(self.name, need)
            inputs[need] = Input(artifact.uri, artifact.manifest.digest)
        if self.name in ("features", "model") and (base := self.product.base()):
            inputs["base"] = base
        options = picked(self.product.everything, self.reads)
        return self._job(options, self.keyed, inputs)

    def _job(self, options: dict[str, Any], keyed: dict[str, Any], inputs: dict[str, Input]) -> Job:
        product = self.product
        draft = Job(
            spec=product.name,
            stage=self.name,
            engine=name_of(type(self.engine)),
            version=self.engine.version,
            work=self.engine.work,
            options=options,
            keyed=keyed,
            inputs=inputs,
            files=product.sources if self.name == "data" else {},
            secrets=tuple(secret_paths(options)),
        )
        return Job(**{**vars(draft), "output": product.store.at(product.name, self.name, draft.key).uri})

    def watch_job(self, release: Release) -> Job:
        """The job of `monitors`: it reads the journal of a live release."""
        options = picked(self.product.everything, READS["monitors"]) | {"journal": str(self.product.journal)}
        return self._job(options, self.keyed | {"release": release.number, "target": self.product.target}, {})

    @cached_property
    def artifact(self) -> Artifact | None:
        """The complete artifact that the spec asks for now; None when something is missing or changed."""
        try:
            key = self.job.key
        except NotReadyError:
            return None
        return self.product.store.find(self.product.name, self.name, key)

    @cached_property
    def head(self) -> Artifact | None:
        """The artifact that was last made or reused here."""
        return self.product.store.head(self.product.name, self.product.target, self.name)

    def unfit(self, again: Collection[str] = ()) -> list[str]:
        """What does not pass among all that this is made from, but for what is made `again` and what is made from that. Gates are
        not asked: scores that miss them are still scores."""
        found = []
        for name in (name for name in KEPT if name in upstream(self.name) and name != "evaluation"):
            stage = self.product.stage(name)
            if stage.artifact is None or {name, *upstream(name)} & set(again):
                continue
            if failed := [verdict.reason for verdict in stage.verdicts(stage.artifact) if not verdict.passed]:
                found.append(f"{name} does not pass: {'; '.join(failed)}")
        return found

    def verdicts(self, artifact: Artifact) -> list[Verdict]:
        """What the spec demands of this artifact, judged from its manifest."""
        manifest = artifact.manifest
        scored_on = checks.scored_on(manifest) if self.name == "evaluation" else ""
        return checks.judge(self.name, self.product.spec, manifest.metrics, scored_on, self.product.releases.live())
