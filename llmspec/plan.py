"""What would change, and why: a pure function of the spec, the store and, where it was asked, what answers now."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from llmspec import checks
from llmspec.differences import Change, artifact_change, changed_inputs, compared, differences
from llmspec.errors import CallError
from llmspec.estimate import estimate
from llmspec.job import digest_of
from llmspec.prices import Costs, costs
from llmspec.reads import NEEDS, upstream
from llmspec.release import Live
from llmspec.section import KEPT, STAGES
from llmspec.shelf import S3
from llmspec.stage import NotReadyError, Product, Stage

Action = Literal["reuse", "run", "rerun", "may rerun", "deploy", "redeploy", "may redeploy", "restart", "blocked", "skipped"]
QUIET = ("reuse", "skipped")
HOSTED_HINTS = {
    "data": "if cleaning changes no row, nothing below runs",
    "features": "if the prompt stays the same, nothing below runs",
}
HINTS = {"data": "if cleaning changes no row, nothing below runs", "features": "if no token changes, nothing below runs"}


@dataclass(frozen=True)
class Step:
    """What would happen to one stage."""

    stage: str
    action: Action
    why: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    key: str = ""
    """Of the artifact, where it is known before anything runs."""
    seconds: float | None = None
    memory_mb: float | None = None
    basis: str = ""
    hint: str = ""

    @property
    def pending(self) -> bool:
        return self.action not in (*QUIET, "blocked")


@dataclass(frozen=True)
class Plan:
    """Every stage's step, in order."""

    file: str
    name: str
    target: str
    store: str
    spec_digest: str
    steps: list[Step]
    typed: str
    """File, target and selection as a command takes them: a cure that left one out would do something else."""
    costs: Costs | None = None
    """Where something of it is in AWS."""

    @property
    def pending(self) -> list[Step]:
        return [step for step in self.steps if step.pending]

    @property
    def blocked(self) -> list[Step]:
        return [step for step in self.steps if step.action == "blocked"]

    @property
    def seconds(self) -> float:
        return sum(step.seconds or 0 for step in self.pending)

    @property
    def fingerprint(self) -> str:
        """What a saved plan must find again: the spec as resolved, and every decision."""
        return digest_of(
            [self.spec_digest, self.target, [[s.stage, s.action, s.key, s.why, [str(c) for c in s.changes]] for s in self.steps]]
        )

    def to_dict(self) -> dict[str, Any]:
        costs = {"costs": self.costs.to_dict()} if self.costs else {}
        own = {name: value for name, value in asdict(self).items() if name != "costs"}
        return own | costs | {"fingerprint": self.fingerprint, "pending": len(self.pending), "seconds": self.seconds}


def selected(select: str | None) -> tuple[str, ...]:
    """'model' -> itself, 'model+' -> and all below, '+model' -> and all above."""
    if not select:
        return STAGES
    name = select.strip("+")
    if name not in STAGES:
        raise CallError(f"--select {select}: no stage named '{name}' (known: {', '.join(STAGES)})")
    chosen = {name}
    if select.startswith("+"):
        chosen |= upstream(name)
    if select.endswith("+"):
        chosen |= {stage for stage in STAGES if upstream(stage) & chosen}
    return tuple(stage for stage in STAGES if stage in chosen)


def plan(
    product: Product, *, select: str | None = None, force: bool = False, live: Live | None = None, looked: bool = False
) -> Plan:
    """`live` is what was seen to answer, when somebody `looked`; without a look, the pointer is believed."""
    with product.store.steady(product.name, product.target):
        steps = _steps(product, selected(select), force, live, looked)
    loaded = product.loaded
    product.digests.remember()
    where, store = str(loaded.path), str(product.spec.store)
    priced = _costs(product, steps)
    typed = loaded.as_typed + (f" --select {select}" if select else "") + (" --force" if force else "")
    return Plan(where, product.name, product.target, store, digest_of(product.everything), steps, typed, priced)


def _steps(product: Product, chosen: tuple[str, ...], force: bool, live: Live | None, looked: bool) -> list[Step]:
    steps: list[Step] = []
    for name in STAGES:
        stage = product.stage(name)
        if name not in chosen:
            steps.append(Step(name, "skipped", ["not selected"]))
        elif name == "endpoint":
            steps.append(_endpoint(product, steps, live, looked))
        elif name == "monitors":
            steps.append(_monitors(product, _unsettled(name, steps)))
        else:
            steps.append(_step(stage, steps, force))
            if name == "onnx" and product.precision[1] and not product.spec.hosted:
                steps[-1].why.append("{}, {}".format(*product.precision))
    return steps


def _costs(product: Product, steps: list[Step]) -> Costs | None:
    """Of the jobs that are pending, and of a month with the endpoint."""
    pending = {step.stage: step.seconds for step in steps if step.pending}
    return costs(product.spec, pending, tokens=_tokens(product) if product.spec.hosted else None, kept=_kept(product))


def _kept(product: Product) -> int:
    """Bytes in S3 that each stage made or reused last."""
    if not product.store.root.uri.startswith(S3):
        return 0
    heads = [product.stage(name).head for name in KEPT]
    return sum(file.bytes for head in heads if head for file in head.manifest.files.values())


def _tokens(product: Product) -> tuple[int, int] | None:
    """What the last evaluation sent to a hosted model, and what came back."""
    last = product.stage("evaluation").head
    found = last.manifest.metrics if last else {}
    return (found["input_tokens"], found["output_tokens"]) if "input_tokens" in found else None


def _unsettled(name: str, steps: list[Step]) -> dict[str, Action]:
    """What this stage reads that is not there yet, or is not good enough."""
    return {step.stage: step.action for step in steps if step.stage in NEEDS[name] and (step.pending or step.action == "blocked")}


def _blocked(stage: Stage, steps: list[Step]) -> list[str]:
    """Why it cannot be this stage's turn, whether or not what is above it was selected. What is made again is judged then."""
    for step in steps:
        if step.stage in stage.needs and step.action == "blocked":
            return [f"{step.stage} is blocked"]
    return stage.unfit(again={step.stage for step in steps if step.pending})


def _step(stage: Stage, steps: list[Step], force: bool) -> Step:
    if blocked := _blocked(stage, steps):
        return Step(stage.name, "blocked", blocked)
    unsettled = _unsettled(stage.name, steps)
    head = stage.head
    changes = differences(stage, head.manifest) if head else []
    try:
        if stage.name in ("features", "model"):
            stage.product.base()
        key = "" if unsettled else stage.job.key
    except NotReadyError as waiting:
        return Step(stage.name, "blocked", [waiting.fault])
    if key and stage.artifact and not force:
        return _reuse(stage)
    guess = estimate(stage)
    more: dict[str, Any] = {"key": key, "seconds": guess.seconds, "memory_mb": guess.memory_mb, "basis": guess.basis}
    if head is None:
        return Step(stage.name, "run", ["nothing was made yet"], **more)
    if key and stage.artifact:
        return Step(stage.name, "rerun", ["forced"], **more)
    hint = (HOSTED_HINTS if stage.product.spec.hosted else HINTS).get(stage.name, "")
    if changes:
        return Step(stage.name, "rerun", changes=changes, hint=hint, **more)
    if key and head.manifest.key == key:
        return Step(stage.name, "rerun", ["its files are damaged or gone"], **more)
    if key:
        return Step(stage.name, "rerun", [f"{name} changed" for name in changed_inputs(stage, head.manifest)], hint=hint, **more)
    sure = any(action == "run" for action in unsettled.values())
    why = [f"{name} will change" for name in unsettled]
    return Step(stage.name, "rerun" if sure else "may rerun", why, hint="" if sure else hint, **more)


def _reuse(stage: Stage) -> Step:
    artifact = stage.artifact
    assert artifact
    failed = [verdict for verdict in stage.verdicts(artifact) if not verdict.passed]
    if failed and stage.name != "evaluation":
        return Step(stage.name, "blocked", [verdict.reason for verdict in failed], key=artifact.manifest.key)
    told = [artifact.manifest.summary] if artifact.manifest.summary else []
    if not stage.product.store.owns(artifact):
        told.append(f"copied from {artifact.uri.rsplit('/', 3)[0]}")
    return Step(
        stage.name, "reuse", [*told, *(f"does not pass: {verdict.reason}" for verdict in failed)], key=artifact.manifest.key
    )


def _endpoint(product: Product, steps: list[Step], live: Live | None, looked: bool) -> Step:
    if blocked := _blocked(product.stage("endpoint"), steps):
        return Step("endpoint", "blocked", [*blocked, _still(product)])
    unsettled = _unsettled("endpoint", steps)
    now = product.releases.live()
    if unsettled:
        return Step("endpoint", "may redeploy" if now else "deploy", [f"after {' and '.join(unsettled)}", *_gates(product)])
    try:
        asked = product.next_release()
    except NotReadyError as waiting:
        return Step("endpoint", "blocked", [waiting.fault])
    if misnamed := product.releases.misnamed(asked):
        cure = "see `llmspec history`, and name there what is to share the traffic"
        return Step("endpoint", "blocked", [*(f"endpoint.variants: {fault}" for fault in misnamed), cure, _still(product)])
    if now and now.content == asked.content and now.variants != asked.variants:
        changes = compared(product, {"endpoint": now.serving}, {"endpoint": asked.serving})
        return Step("endpoint", "redeploy", [f"release {now.number} stays, and the traffic is shared anew"], changes=changes)
    if now and now.content == asked.content:
        if looked and (live is None or live.release != now.number):
            return Step("endpoint", "restart", [f"release {now.number} should be live and does not answer"])
        if (tried := product.releases.candidate()) and tried.content == now.content:
            return Step("endpoint", "restart", [f"release {now.number} is live, so its candidate's endpoint ends"])
        where = f" at {live.url}" if live else ""
        return Step("endpoint", "reuse", [f"release {now.number} is live{where}"])
    failed = [verdict for verdict in checks.gates(product.spec, asked.scores, asked.scored_on, now) if not verdict.passed]
    if failed:
        return Step("endpoint", "blocked", [*(f"gate: {verdict.reason}" for verdict in failed), _still(product)])
    if now is None:
        return Step("endpoint", "deploy", [f"release {asked.number}", *_gates(product)])
    return Step(
        "endpoint",
        "redeploy",
        [f"release {now.number} → {asked.number}, swapped without dropping a request", *artifact_change(now, asked)],
        changes=compared(product, {"endpoint": now.serving}, {"endpoint": asked.serving}),
    )


def _monitors(product: Product, unsettled: dict[str, Action]) -> Step:
    alarms = len(product.spec.monitors.alarms)
    what = f"{alarms} alarm{'' if alarms == 1 else 's'}"
    if "blocked" in unsettled.values():
        return Step("monitors", "blocked", ["endpoint is blocked"])
    live = product.releases.live()
    if live is None:
        return Step("monitors", "run", [what])
    if unsettled:
        return Step("monitors", "may rerun", [what, "after endpoint"])
    stage = product.stage("monitors")
    found = product.store.find(product.name, "monitors", stage.watch_job(live).key)
    return Step("monitors", "reuse" if found else "run", [what])


def _gates(product: Product) -> list[str]:
    gates = product.spec.evaluation.gates
    return [f"gates: {', '.join(str(gate) for gate in gates)}"] if gates else ["no gates"]


def _still(product: Product) -> str:
    live = product.releases.live()
    return f"the endpoint still serves release {live.number}" if live else "nothing is live"
